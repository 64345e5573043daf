"""IP protocols by name: the IANA numbers of those that policies, listings and packets have words for."""

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": 58, "sctp": 132}
NAMES = {number: name for name, number in NUMBERS.items()}
WITH_PORTS = ("tcp", "udp", "sctp", "dccp")
