"""The built-in services, and what a service's text means.

Names and ports as /etc/services and the products' own documentation have them; a service is a
list of `proto/port[-port]`, `ip/PROTOCOL`, `icmp/TYPE` or `icmpv6/TYPE`.
"""

from __future__ import annotations

from fwpolicy.protocols import EXTENSION_HEADERS, NUMBERS, WITH_PORTS
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals

_FAMILY = {"icmp": 4, "icmpv6": 6}
# As ping, nft and iptables call them (IANA's registries of ICMP types), for hints: the language has numbers.
_TYPES = {
    "icmp": {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
        "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
        "timestamp-request": 13, "timestamp-reply": 14, "address-mask-request": 17, "address-mask-reply": 18,
    },
    "icmpv6": {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
        "echo-request": 128, "echo-reply": 129, "router-solicitation": 133, "nd-router-solicit": 133,
        "router-advertisement": 134, "nd-router-advert": 134, "neighbor-solicitation": 135,
        "nd-neighbor-solicit": 135, "neighbor-advertisement": 136, "nd-neighbor-advert": 136,
    },
}  # fmt: skip

BUILT_IN = {
    "afp": "tcp/548",
    "ah": "ip/51",
    "amqp": "tcp/5672",
    "amqps": "tcp/5671",
    "bacula": "tcp/9101-9103",
    "bgp": "tcp/179",
    "bittorrent": "tcp/6881-6889 udp/6881-6889",
    "ceph-mon": "tcp/3300 tcp/6789",
    "ceph-osd": "tcp/6800-7300",
    "chrony-cmd": "udp/323",
    "consul": "tcp/8300-8302 udp/8301-8302 tcp/8500 tcp/8600 udp/8600",
    "cups": "tcp/631 udp/631",
    "dhcp-client": "udp/68",
    "dhcp-server": "udp/67",
    "dhcpv6-client": "udp/546",
    "dhcpv6-server": "udp/547",
    "dns": "udp/53 tcp/53",
    "dns-over-quic": "udp/853",
    "dns-over-tls": "tcp/853",
    "docker-registry": "tcp/5000",
    "elasticsearch": "tcp/9200 tcp/9300",
    "esp": "ip/50",
    "etcd": "tcp/2379-2380",
    "ftp": "tcp/21",
    "git": "tcp/9418",
    "grafana": "tcp/3000",
    "gre": "ip/47",
    "http": "tcp/80",
    "http3": "udp/443",
    "https": "tcp/443",
    "iax2": "udp/4569",
    "ident": "tcp/113",
    "igmp": "ip/2",
    "imap": "tcp/143",
    "imaps": "tcp/993",
    "ipmi": "udp/623",
    "ipsec": "udp/500 udp/4500 ip/50",
    "ipsec-nat": "udp/4500",
    "irc": "tcp/6667",
    "ircs": "tcp/6697",
    "isakmp": "udp/500",
    "iscsi": "tcp/3260",
    "jenkins": "tcp/8080",
    "kafka": "tcp/9092",
    "kerberos": "tcp/88 udp/88",
    "kube-apiserver": "tcp/6443",
    "kubelet": "tcp/10250",
    "l2tp": "udp/1701",
    "ldap": "tcp/389",
    "ldaps": "tcp/636",
    "llmnr": "udp/5355 tcp/5355",
    "mdns": "udp/5353",
    "memcached": "tcp/11211",
    "mongodb": "tcp/27017",
    "mosh": "udp/60000-61000",
    "mqtt": "tcp/1883",
    "mqtts": "tcp/8883",
    "ms-rdp": "tcp/3389 udp/3389",
    "mssql": "tcp/1433",
    "munin": "tcp/4949",
    "mysql": "tcp/3306",
    "nebula": "udp/4242",
    "netbios": "udp/137-138 tcp/139",
    "nfs": "tcp/2049",
    "node-exporter": "tcp/9100",
    "nrpe": "tcp/5666",
    "ntp": "udp/123",
    "nts-ke": "tcp/4460",
    "openvpn": "udp/1194 tcp/1194",
    "ospf": "ip/89",
    "ping": "icmp/8 icmpv6/128",
    "pop3": "tcp/110",
    "pop3s": "tcp/995",
    "postgresql": "tcp/5432",
    "pptp": "tcp/1723",
    "prometheus": "tcp/9090",
    "puppet": "tcp/8140",
    "quic": "udp/443",
    "rabbitmq": "tcp/5672 tcp/25672 tcp/4369",
    "radius": "udp/1812-1813",
    "redis": "tcp/6379",
    "rpcbind": "tcp/111 udp/111",
    "rsync": "tcp/873",
    "rtp": "udp/10000-20000",
    "rtsp": "tcp/554",
    "salt-master": "tcp/4505-4506",
    "samba": "tcp/139 tcp/445 udp/137-138",
    "sieve": "tcp/4190",
    "sip": "udp/5060 tcp/5060",
    "sips": "tcp/5061",
    "smtp": "tcp/25",
    "smtps": "tcp/465",
    "snmp": "udp/161",
    "snmp-trap": "udp/162",
    "squid": "tcp/3128",
    "ssdp": "udp/1900",
    "ssh": "tcp/22",
    "stun": "udp/3478 tcp/3478",
    "submission": "tcp/587",
    "submissions": "tcp/465",
    "syncthing": "tcp/22000 udp/22000 udp/21027",
    "syslog": "udp/514 tcp/514",
    "syslog-tls": "tcp/6514",
    "tailscale": "udp/41641",
    "telnet": "tcp/23",
    "tftp": "udp/69",
    "traceroute": "udp/33434-33534",
    "transmission": "tcp/51413 udp/51413",
    "turn": "udp/3478 tcp/3478",
    "vnc": "tcp/5900-5903",
    "vrrp": "ip/112",
    "whois": "tcp/43",
    "winrm": "tcp/5985-5986",
    "wireguard": "udp/51820",
    "wsdd": "udp/3702 tcp/5357",
    "xmpp-client": "tcp/5222",
    "xmpp-server": "tcp/5269",
    "zabbix-agent": "tcp/10050",
    "zabbix-server": "tcp/10051",
}


@record
class Service:
    """One protocol of a service.

    `protocol`: IANA number. `ports`: destination ports as (first, last), empty for all.
    `icmp_types`: likewise for ICMP. `family`: 4 or 6 where the protocol exists in one only.
    """

    protocol: int
    ports: Intervals = ()
    icmp_types: tuple[int, ...] = ()
    family: int | None = None


class ServiceError(ValueError):
    """The text is not `proto/port`; the message says what is wrong, `hint` what is meant perhaps."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def number(text: str, low: int, high: int, what: str, hint: str | None = None) -> int:
    """A decimal number in low..high. Raises ServiceError: YAML 1.1's octal and base 60 among the rest.

    `hint`: what a word stands for perhaps.
    """
    if not text.isdigit() or not text.isascii():
        if not text:
            raise ServiceError(f"{what} is missing", hint)
        raise ServiceError(f"{what} '{text}' is not a number", hint or _number_hint(text))
    if text[0] == "0" and len(text) > 1:
        stripped = text.lstrip("0")
        hint = f"write {stripped}" if stripped else None
        raise ServiceError(f"{what} '{text}' has a leading zero, which YAML 1.1 reads as octal", hint)
    value = int(text) if len(text) <= 6 else high + 1
    if not low <= value <= high:
        raise ServiceError(f"{what} {text} is out of range: {low} to {high}")
    return value


def _number_hint(text: str) -> str | None:
    if ":" in text:
        return f"a range is written with '-': {text.replace(':', '-')}"
    return "a list is written [tcp/80, tcp/443]" if "," in text else None


def ports(text: str) -> tuple[int, int]:
    """`PORT` or `FIRST-LAST`. Raises ServiceError."""
    if text.isdigit() and text.isascii() and text[0] != "0" and (port := int(text[:6])) <= 65535:
        return port, port
    first_text, dash, last_text = text.partition("-")
    first = number(first_text, 1, 65535, "the port")
    last = number(last_text, 1, 65535, "the range's last port") if dash else first
    if first > last:
        raise ServiceError(f"the port range {text} runs backwards", f"write {last}-{first}")
    return first, last


def parse(text: str) -> Service:
    """`proto/port[-port]`, `ip/N`, `icmp/TYPE` or `icmpv6/TYPE`. Raises ServiceError."""
    protocol, slash, rest = text.partition("/")
    if not slash:
        raise _no_service(text)
    if protocol in WITH_PORTS:
        try:
            return Service(NUMBERS[protocol], (ports(rest),))
        except ServiceError as error:
            raise ServiceError(str(error), _port_hint(protocol, rest) or error.hint) from None
    if protocol in _FAMILY:
        icmp_type = number(rest, 0, 255, "the ICMP type", _type_hint(protocol, rest))
        return Service(NUMBERS[protocol], (), (icmp_type,), _FAMILY[protocol])
    if protocol == "ip":
        protocol_number = number(rest, 0, 255, "the IP protocol", _protocol_hint(rest))
        return Service(protocol_number, family=4 if protocol_number in EXTENSION_HEADERS else None)
    raise _no_protocol(text, protocol, rest)


def _port_hint(protocol: str, word: str) -> str | None:
    """For what stands in a port's place."""
    if word.lower() in ("*", "any", "all"):
        return f"{protocol}/1-65535 is all of {protocol}"
    if spec := BUILT_IN.get(word.lower()):
        return f"'{word.lower()}' is a service, and stands alone: {spec.replace(' ', ', ')}"
    parts = word.replace(",", " ").split()
    if len(parts) > 1 and all(part.replace("-", "").isdigit() for part in parts):
        return f"a list is written [{', '.join(f'{protocol}/{part}' for part in parts)}]"
    return None


def _type_hint(protocol: str, word: str) -> str | None:
    found = _TYPES[protocol].get(word.lower())
    return None if found is None else f"write {protocol}/{found}"


def _protocol_hint(word: str) -> str | None:
    name = word.lower()
    if name in NUMBERS:
        some = f"; some of it is {name}/PORT" if name in WITH_PORTS else ""
        return f"ip/{NUMBERS[name]} is all of {name}{some}"
    spec = BUILT_IN.get(name, "")
    return f"write {spec}" if spec.startswith("ip/") else None


def _no_service(text: str) -> ServiceError:
    """Why a text without '/' is none."""
    if text.isascii() and text.isdigit():
        hint = f"write tcp/{text}, udp/{text}, sctp/{text} or dccp/{text}"
        return ServiceError(f"port {text} without a protocol", hint)
    if text in WITH_PORTS:
        return ServiceError(f"'{text}' without a port", f"{text}/1-65535 is all of {text}")
    if text in _FAMILY:
        hint = f"'ping' is a service; ip/{NUMBERS[text]} is all of {text}"
        return ServiceError(f"'{text}' without a type", hint)
    first, colon, last = text.partition(":")
    if colon and first.isdigit() and last.isdigit():
        hint = f"a range is tcp/{first}-{last}; YAML 1.1 would read a base 60 number here"
        return ServiceError(f"'{text}' is not a service", hint)
    return ServiceError(f"unknown service '{text}'")


def _no_protocol(text: str, protocol: str, rest: str) -> ServiceError:
    if rest in NUMBERS and protocol.isdigit():
        return ServiceError(f"'{text}' is the wrong way round", f"write {rest}/{protocol}")
    if protocol.isdigit() or protocol == "":
        return ServiceError(f"'{text}' has no protocol", f"write tcp/{rest} or udp/{rest}")
    if protocol[0] == "!":
        hint = f"an exception is a key of the rule, as in: except: {{service: {text[1:].strip()}}}"
    elif protocol.lower() in (*NUMBERS, "ip"):
        hint = f"write {protocol.lower()}/{rest}"
    elif protocol in BUILT_IN:
        hint = f"'{protocol}' is a service: it stands alone, without a port"
    else:
        hint = "ports belong to tcp, udp, sctp or dccp; ip/N is any other protocol"
    return ServiceError(f"unknown protocol '{protocol}'", hint)


def built_in(name: str) -> tuple[Service, ...] | None:
    """The built-in service `name`, or None."""
    specs = BUILT_IN.get(name)
    return tuple(parse(spec) for spec in specs.split()) if specs else None
