"""nft's words for numbers, as listings print them without `-n` (nft(8); `nft describe` prints the tables)."""

from __future__ import annotations

# linux/netfilter/nf_conntrack_common.h: bits.
CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
CT_STATUS = {
    **{"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32},
    **{"dying": 512},
}
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
DIRECTIONS = {"original": 0, "reply": 1}
# linux/netfilter.h NFPROTO_*; the model's families.
NFPROTO = {2: 4, 10: 6, "ipv4": 4, "ipv6": 6, "ip": 4, "ip6": 6}
# Ethertypes; `nft -n -j` prints them with their bytes swapped (0x0800 as 8), the text does not.
ETHERTYPES = {8: 4, 2048: 4, "ip": 4, 56710: 6, 34525: 6, "ip6": 6}
PROTOCOLS = {
    **{"hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9},
    **{"pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36},
    **{"ddp": 37, "idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46},
    **{"gre": 47, "esp": 50, "ah": 51, "skip": 57, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59},
    **{"ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88, "ospf": 89, "ospfigp": 89, "ax.25": 93},
    **{"ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "comp": 108, "vrrp": 112},
    **{"l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "mobility-header": 135, "udplite": 136},
    **{"mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142},
}
ICMP_TYPES = {
    **{"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8},
    **{"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12},
    **{"timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16},
    **{"address-mask-request": 17, "address-mask-reply": 18},
}
ICMPV6_TYPES = {
    **{"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4},
    **{"echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131},
    **{"mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133},
    **{"nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137},
    **{"router-renumbering": 138, "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142},
    **{"mld2-listener-report": 143},
}
ICMP_CODES = {
    **{"net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3},
    **{"frag-needed": 4, "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13},
}
ICMPV6_CODES = {
    **{"no-route": 0, "net-unreachable": 0, "admin-prohibited": 1, "addr-unreachable": 3},
    **{"port-unreachable": 4, "policy-fail": 5, "reject-route": 6},
}
ICMPX_CODES = {
    **{"no-route": 0, "net-unreachable": 0, "port-unreachable": 1, "host-unreachable": 2},
    **{"admin-prohibited": 3},
}
DSCP = {
    **{f"cs{number}": number << 3 for number in range(8)},
    **{f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)},
    **{"be": 0, "lephb": 1, "va": 44, "ef": 46},
}
# The services that listings of Debian 12 name with -S, and that people write.
SERVICES = {
    **{"echo": 7, "discard": 9, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37},
    **{"whois": 43, "tacacs": 49, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70},
    **{"finger": 79, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "nntp": 119},
    **{"ntp": 123, "epmap": 135, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap2": 143},
    **{"imap": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179, "irc": 194, "ldap": 389, "https": 443},
    **{"microsoft-ds": 445, "submissions": 465, "isakmp": 500, "syslog": 514, "printer": 515, "router": 520},
    **{"dhcpv6-client": 546, "dhcpv6-server": 547, "submission": 587, "ipp": 631, "ldaps": 636},
    **{"domain-s": 853, "rsync": 873, "ftps": 990, "imaps": 993, "pop3s": 995, "openvpn": 1194},
    **{"ms-sql-s": 1433, "l2f": 1701, "pptp": 1723, "radius": 1812, "radius-acct": 1813, "nfs": 2049},
    **{"git": 9418, "mysql": 3306, "ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061, "mdns": 5353},
    **{"postgresql": 5432, "amqp": 5672, "redis": 6379, "http-alt": 8080, "zabbix-agent": 10050},
}
# nft(8) "Standard priority names".
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
