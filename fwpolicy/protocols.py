"""IP protocols by name: the IANA numbers of those that policies, listings and packets have words for."""

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": 58, "sctp": 132}
NAMES = {number: name for name, number in NUMBERS.items()}
# What IPv6 has between its header and the protocol's (ipv6_ext_hdr, ipv6_find_hdr): no packet's protocol.
EXTENSION_HEADERS = (0, 43, 44, 60)
AH = 51
WITH_PORTS = ("tcp", "udp", "sctp", "dccp")
