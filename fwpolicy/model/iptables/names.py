"""Names for numbers: protocols, ports, ICMP types. iptables-save prints numbers, people write names.

No look-up in /etc/protocols and /etc/services: a text means the same on every machine that reads it.
"""

from __future__ import annotations

from fwpolicy import protocols
from fwpolicy.model.program import NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Interval

# "all" is no protocol: 0, as for the kernel.
PROTOCOLS = protocols.NUMBERS | {
    **{"all": 0, "ip": 0, "hopopt": 0, "igmp": 2, "ipencap": 4, "ipip": 4, "egp": 8, "igp": 9, "rdp": 27},
    **{"ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ipv6-crypt": 50},
    **{"ah": 51, "ipv6-auth": 51, "skip": 57, "ipv6-icmp": 58, "icmp6": 58, "ipv6-nonxt": 59},
    **{"ipv6-opts": 60, "eigrp": 88, "ospf": 89, "ospfigp": 89, "etherip": 97, "encap": 98, "pim": 103},
    **{
        "ipcomp": 108,
        "vrrp": 112,
        "l2tp": 115,
        "isis": 124,
        "mh": 135,
        "ipv6-mh": 135,
        "mobility-header": 135,
    },
    **{"udplite": 136, "mpls-in-ip": 137, "hip": 139},
}

PORTS = {
    **{"echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "ftp-data": 20, "ftp": 21, "ssh": 22},
    **{"telnet": 23, "smtp": 25, "time": 37, "whois": 43, "tacacs": 49, "domain": 53, "bootps": 67},
    **{"bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80, "kerberos": 88},
    **{"pop3": 110, "sunrpc": 111, "auth": 113, "ident": 113, "nntp": 119, "ntp": 123, "epmap": 135},
    **{"netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161},
    **{"snmp-trap": 162, "snmptrap": 162, "bgp": 179, "irc": 194, "ldap": 389, "https": 443},
    **{"microsoft-ds": 445, "submissions": 465, "urd": 465, "ssmtp": 465, "isakmp": 500, "syslog": 514},
    **{"printer": 515, "route": 520, "router": 520, "dhcpv6-client": 546, "dhcpv6-server": 547, "rtsp": 554},
    **{
        "submission": 587,
        "ipp": 631,
        "ldaps": 636,
        "domain-s": 853,
        "rsync": 873,
        "imaps": 993,
        "pop3s": 995,
    },
    **{"socks": 1080, "openvpn": 1194, "ms-sql-s": 1433, "l2f": 1701, "radius": 1812, "radius-acct": 1813},
    **{"nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389, "svn": 3690, "ipsec-nat-t": 4500, "sip": 5060},
    **{"sip-tls": 5061, "xmpp-client": 5222, "xmpp-server": 5269, "mdns": 5353, "postgresql": 5432},
    **{"amqp": 5672, "x11": 6000, "redis": 6379, "http-alt": 8080, "webcache": 8080, "bacula-dir": 9101},
}

# (type, first code, last code), as `iptables -p icmp -h` prints them.
_ALL = (0, 255)
_ICMP = {
    "any": (255, *_ALL),
    **{"echo-reply": (0, *_ALL), "pong": (0, *_ALL), "destination-unreachable": (3, *_ALL)},
    **{"network-unreachable": (3, 0, 0), "host-unreachable": (3, 1, 1), "protocol-unreachable": (3, 2, 2)},
    **{"port-unreachable": (3, 3, 3), "fragmentation-needed": (3, 4, 4), "source-route-failed": (3, 5, 5)},
    **{"network-unknown": (3, 6, 6), "host-unknown": (3, 7, 7), "network-prohibited": (3, 9, 9)},
    **{"host-prohibited": (3, 10, 10), "tos-network-unreachable": (3, 11, 11)},
    **{"tos-host-unreachable": (3, 12, 12), "communication-prohibited": (3, 13, 13)},
    **{"host-precedence-violation": (3, 14, 14), "precedence-cutoff": (3, 15, 15)},
    **{"source-quench": (4, *_ALL), "redirect": (5, *_ALL), "network-redirect": (5, 0, 0)},
    **{"host-redirect": (5, 1, 1), "tos-network-redirect": (5, 2, 2), "tos-host-redirect": (5, 3, 3)},
    **{"echo-request": (8, *_ALL), "ping": (8, *_ALL), "router-advertisement": (9, *_ALL)},
    **{"router-solicitation": (10, *_ALL), "time-exceeded": (11, *_ALL), "ttl-exceeded": (11, *_ALL)},
    **{"ttl-zero-during-transit": (11, 0, 0), "ttl-zero-during-reassembly": (11, 1, 1)},
    **{"parameter-problem": (12, *_ALL), "ip-header-bad": (12, 0, 0), "required-option-missing": (12, 1, 1)},
    **{"timestamp-request": (13, *_ALL), "timestamp-reply": (14, *_ALL)},
    **{"address-mask-request": (17, *_ALL), "address-mask-reply": (18, *_ALL)},
}
_ICMPV6 = {
    **{"destination-unreachable": (1, *_ALL), "no-route": (1, 0, 0), "communication-prohibited": (1, 1, 1)},
    **{"beyond-scope": (1, 2, 2), "address-unreachable": (1, 3, 3), "port-unreachable": (1, 4, 4)},
    **{"failed-policy": (1, 5, 5), "reject-route": (1, 6, 6), "packet-too-big": (2, *_ALL)},
    **{"time-exceeded": (3, *_ALL), "ttl-exceeded": (3, *_ALL), "ttl-zero-during-transit": (3, 0, 0)},
    **{"ttl-zero-during-reassembly": (3, 1, 1), "parameter-problem": (4, *_ALL), "bad-header": (4, 0, 0)},
    **{"unknown-header-type": (4, 1, 1), "unknown-option": (4, 2, 2)},
    **{"echo-request": (128, *_ALL), "ping": (128, *_ALL), "echo-reply": (129, *_ALL), "pong": (129, *_ALL)},
    **{"mld-listener-query": (130, *_ALL), "mld-listener-report": (131, *_ALL)},
    **{"mld-listener-done": (132, *_ALL), "mld-listener-reduction": (132, *_ALL)},
    **{"router-solicitation": (133, *_ALL), "router-advertisement": (134, *_ALL)},
    **{"neighbour-solicitation": (135, *_ALL), "neighbor-solicitation": (135, *_ALL)},
    **{"neighbour-advertisement": (136, *_ALL), "neighbor-advertisement": (136, *_ALL)},
    **{"redirect": (137, *_ALL)},
}
ICMP_TYPES = {4: _ICMP, 6: _ICMPV6}


def number(text: str, top: int, what: str = "number") -> int:
    """A number as strtoul reads it with base 0: decimal, 0x and, with a leading 0, octal."""
    try:
        octal = len(text) > 1 and text[0] == "0" and text[1] not in "xX"
        value = int(text, 8 if octal else 0)
    except ValueError:
        raise NotModelledError(f"'{text}' is no {what}") from None
    if not 0 <= value <= top:
        raise NotModelledError(f"{what} '{text}' is not within 0 to {top}")
    return value


def span(text: str, top: int, what: str, separator: str = ":") -> Interval:
    """`A`, `A:B`, `:B` or `A:`, ends included."""
    first_text, colon, last_text = text.partition(separator)
    first = number(first_text, top, what) if first_text or not colon else 0
    last = (number(last_text, top, what) if last_text else top) if colon else first
    if first > last:
        raise NotModelledError(f"the range '{text}' runs backwards")
    return first, last


def protocol(text: str) -> int:
    """A protocol by number or by name, in whatever case."""
    if text.isdecimal():
        return number(text, 255, "protocol")
    found = PROTOCOLS.get(text.lower())
    if found is None:
        raise NotModelledError(f"protocol '{text}' is not known here; write its number")
    return found


def port(text: str) -> int:
    """A port by number or by name."""
    if text.isdecimal():
        return number(text, 65535, "port")
    found = PORTS.get(text)
    if found is None:
        raise NotModelledError(f"port '{text}' is not known here; write its number")
    return found


def ports(text: str) -> Interval:
    """`A`, `A:B`, `:B` or `A:` of ports."""
    first_text, colon, last_text = text.partition(":")
    first = port(first_text) if first_text or not colon else 0
    last = (port(last_text) if last_text else 65535) if colon else first
    if first > last:
        raise NotModelledError(f"the range of ports '{text}' runs backwards")
    return first, last


def icmp_type(family: int, text: str) -> tuple[int, int, int]:
    """(type, first code, last code) of `NAME`, `N` or `N/C`."""
    if text[:1].isdigit():
        kind, slash, code = text.partition("/")
        codes = (number(code, 255, "ICMP code"),) * 2 if slash else _ALL
        return number(kind, 255, "ICMP type"), *codes
    table, name = ICMP_TYPES[family], text.lower()
    if name in table:
        return table[name]
    # An unambiguous beginning will do, in whatever case (xtables_parse_icmp).
    found = {table[known] for known in table if known.startswith(name)}
    if len(found) != 1:
        raise NotModelledError(f"'{text}' is no ICMP type of IPv{family}")
    return found.pop()
