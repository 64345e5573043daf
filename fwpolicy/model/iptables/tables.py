"""Which option belongs to which match or target, under all its names (iptables-extensions(8))."""

from __future__ import annotations


def _names(text: str) -> dict[str, str]:
    """`sport|source-port dport`: every name leads to the first of its kind."""
    return {name: group.split("|")[0] for group in text.split() for name in group.split("|")}


STANDARD = {
    **dict.fromkeys(("-s", "--source", "--src"), "source"),
    **dict.fromkeys(("-d", "--destination", "--dst"), "destination"),
    **dict.fromkeys(("-i", "--in-interface"), "in"),
    **dict.fromkeys(("-o", "--out-interface"), "out"),
    **dict.fromkeys(("-p", "--protocol", "--proto"), "protocol"),
    **dict.fromkeys(("-f", "--fragment", "--fragments"), "fragment"),
    **dict.fromkeys(("-m", "--match"), "match"),
    **dict.fromkeys(("-j", "--jump"), "jump"),
    **dict.fromkeys(("-g", "--goto"), "goto"),
    **dict.fromkeys(("-c", "--set-counters"), "counters"),
    **dict.fromkeys(("-4", "--ipv4"), "ipv4"),
    **dict.fromkeys(("-6", "--ipv6"), "ipv6"),
}

# How many words follow, whatever they look like: a comment may begin with "-". All other values end where
# an option begins.
ARITY = {
    **dict.fromkeys(("fragment", "ipv4", "ipv6"), 0),
    **dict.fromkeys(("counters", "tcp-flags", "match-set"), 2),
    **dict.fromkeys(("comment", "log-prefix", "nflog-prefix", "ulog-prefix", "string", "hex-string"), 1),
    **dict.fromkeys(("name", "helper", "hashlimit-name", "path", "u32", "bytecode", "object-pinned"), 1),
}

_PORTS = "sport|source-port dport|destination-port"
# Modules that the model looks into. Of any other, all that follows is one opaque condition.
MATCH_OPTIONS = {
    "tcp": _names(f"{_PORTS} tcp-flags syn tcp-option"),
    "udp": _names(_PORTS),
    "sctp": _names(f"{_PORTS} chunk-types"),
    "dccp": _names(f"{_PORTS} dccp-types dccp-option"),
    "icmp": _names("icmp-type"),
    "icmp6": _names("icmpv6-type|icmp6-type"),
    "multiport": _names("sports|source-ports dports|destination-ports ports"),
    "state": _names("state"),
    "conntrack": _names(
        "ctstate ctproto ctorigsrc ctorigdst ctreplsrc ctrepldst ctorigsrcport ctorigdstport "
        "ctreplsrcport ctrepldstport ctstatus ctexpire ctdir"
    ),
    "comment": _names("comment"),
    "iprange": _names("src-range dst-range"),
    "addrtype": _names("src-type dst-type limit-iface-in limit-iface-out"),
    "pkttype": _names("pkt-type"),
    "mark": _names("mark"),
    "connmark": _names("mark"),
    "owner": _names("uid-owner gid-owner socket-exists suppl-groups"),
    "ttl": _names("ttl-eq|ttl ttl-lt ttl-gt"),
    "hl": _names("hl-eq|hl hl-lt hl-gt"),
    "dscp": _names("dscp dscp-class"),
    "tos": _names("tos"),
    "length": _names("length"),
    "u32": _names("u32"),
    "set": _names(
        "match-set return-nomatch update-counters update-subcounters packets-eq packets-lt packets-gt "
        "bytes-eq bytes-lt bytes-gt"
    ),
    "time": _names(
        "datestart datestop timestart timestop monthdays weekdays kerneltz contiguous utc localtz"
    ),
}

# The match that `-p` brings in with the first option of its.
TRANSPORT = {
    **dict.fromkeys(("tcp", "6"), "tcp"),
    **dict.fromkeys(("udp", "17"), "udp"),
    **dict.fromkeys(("sctp", "132"), "sctp"),
    **dict.fromkeys(("dccp", "33"), "dccp"),
    **dict.fromkeys(("icmp", "1"), "icmp"),
    **dict.fromkeys(("icmpv6", "ipv6-icmp", "icmp6", "58"), "icmp6"),
}

_NAT = "random random-fully persistent"
TARGET_OPTIONS = {
    "LOG": _names(
        "log-level log-prefix log-tcp-sequence log-tcp-options log-ip-options log-uid log-macdecode"
    ),
    "NFLOG": _names("nflog-group nflog-prefix nflog-range nflog-size nflog-threshold"),
    "ULOG": _names("ulog-nlgroup ulog-prefix ulog-cprange ulog-qthreshold"),
    "AUDIT": _names("type"),
    "REJECT": _names("reject-with"),
    "MARK": _names("set-mark set-xmark and-mark or-mark xor-mark"),
    "CONNMARK": _names(
        "set-mark set-xmark save-mark restore-mark and-mark or-mark xor-mark mask nfmask ctmask "
        "left-shift-mark right-shift-mark"
    ),
    "CT": _names("notrack helper timeout ctevents expevents zone zone-orig zone-reply"),
    "TPROXY": _names("on-port on-ip tproxy-mark"),
    "DSCP": _names("set-dscp set-dscp-class"),
    "TOS": _names("set-tos and-tos or-tos xor-tos"),
    "TTL": _names("ttl-set ttl-dec ttl-inc"),
    "HL": _names("hl-set hl-dec hl-inc"),
    "TEE": _names("gateway oif"),
    "SET": _names("add-set del-set map-set exist timeout map-mark map-prio map-queue"),
    "NFQUEUE": _names("queue-num queue-balance queue-bypass queue-cpu-fanout"),
    "MASQUERADE": _names(f"to-ports {_NAT}"),
    "SNAT": _names(f"to-source {_NAT}"),
    "DNAT": _names(f"to-destination {_NAT}"),
    "REDIRECT": _names(f"to-ports {_NAT}"),
    "NETMAP": _names("to"),
    "TCPMSS": _names("set-mss clamp-mss-to-pmtu"),
    "TCPOPTSTRIP": _names("strip-options"),
    "ECN": _names("ecn-tcp-remove ecn-tcp-cwr ecn-tcp-ece ecn-ip-ect"),
    "CLASSIFY": _names("set-class"),
    "CHECKSUM": _names("checksum-fill"),
    "SECMARK": _names("selctx"),
    "CONNSECMARK": _names("save restore"),
    "IDLETIMER": _names("timeout label alarm"),
    "LED": _names("led-trigger-id led-delay led-always-blink"),
    "RATEEST": _names("rateest-name rateest-interval rateest-ewmalog"),
    "HMARK": _names(
        "hmark-tuple hmark-mod hmark-offset hmark-src-prefix hmark-dst-prefix hmark-sport-mask "
        "hmark-dport-mask hmark-spi-mask hmark-proto-mask hmark-rnd"
    ),
    "DNPT": _names("src-pfx dst-pfx"),
    "SNPT": _names("src-pfx dst-pfx"),
}
