"""Matches on transport headers. All of them say no for a fragment that is not the first, negated or not:
the kernel's functions return before they look at the "!" (xt_tcpudp.c, xt_multiport.c)."""

from __future__ import annotations

from fwpolicy import protocols
from fwpolicy.addresses import merge
from fwpolicy.model import fields
from fwpolicy.model.iptables import names
from fwpolicy.model.iptables.basics import READABLE, flag, masked, negate, only
from fwpolicy.model.program import ALWAYS, NEVER, And, Lit, NotModelledError, Or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.basics import Context
    from fwpolicy.model.iptables.words import Option, Options
    from fwpolicy.model.program import Expr

FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
SYN_MASK = FLAGS["FIN"] | FLAGS["SYN"] | FLAGS["RST"] | FLAGS["ACK"]
_MODULES = {"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33, "icmp": 1, "icmp6": 58}
# Multiport's own list: those whose header begins with two ports.
_WITH_PORTS = {names.PROTOCOLS[name] for name in (*protocols.WITH_PORTS, "udplite")}
MOST_PORTS = 15  # XT_MULTI_PORTS; a range takes two
_ALL_CODES = (0, 255)


def transport(module: str, context: Context, options: Options) -> Expr:
    """`-m tcp`, udp, sctp, dccp, icmp and icmp6."""
    if context.protocol != _MODULES[module]:
        raise NotModelledError(f"'-m {module}' needs '-p {module}'")
    parts = [_option(module, context, option) for option in options]
    return And((READABLE, *parts))


def _option(module: str, context: Context, option: Option) -> Expr:
    name, negated, _ = option
    match name:
        case "sport" | "dport":
            return negate(Lit(name, (names.ports(only(option)),)), negated)
        case "syn":
            return negate(_tcp_flags(SYN_MASK, FLAGS["SYN"]), flag(option) is False)
        case "tcp-flags":
            return negate(_tcp_flags(*_flags(option)), negated)
        case "icmp-type":
            return negate(_icmp(4, only(option)), negated)
        case "icmpv6-type":
            return negate(_icmp(context.family, only(option)), negated)
    return _opaque(module, option)


def _opaque(module: str, option: Option) -> Expr:
    name, negated, values = option
    return negate(Lit(fields.opaque(" ".join((module, name, *values))), fields.YES), negated)


def _flags(option: Option) -> tuple[int, int]:
    name, _, values = option
    if len(values) != 2:
        raise NotModelledError(f"'--{name}' takes a mask and what must be set in it")
    mask, wanted = (_flag_bits(text) for text in values)
    return mask, wanted


def _flag_bits(text: str) -> int:
    bits = 0
    for name in text.upper().split(","):
        if name not in FLAGS:
            raise NotModelledError(f"'{name}' is no TCP flag")
        bits |= FLAGS[name]
    return bits


def _tcp_flags(mask: int, wanted: int) -> Expr:
    found = masked(8, wanted, mask)
    return Lit("tcpflags", found) if found else NEVER


def _icmp(family: int, text: str) -> Expr:
    kind, first, last = names.icmp_type(family, text)
    # 255 is "any" by number, too, but for IPv4 only (icmp_match).
    if family == 4 and kind == 255:
        return ALWAYS
    of_kind = Lit("icmptype", ((kind, kind),))
    return of_kind if (first, last) == _ALL_CODES else And((of_kind, Lit("icmpcode", ((first, last),))))


def multiport(context: Context, options: Options) -> Expr:
    """`--ports` is source OR destination, and its "!" negates the union."""
    if context.protocol not in _WITH_PORTS:
        raise NotModelledError("'-m multiport' needs '-p tcp', udp, udplite, sctp or dccp")
    if len(options) != 1:
        raise NotModelledError("'-m multiport' takes one of --sports, --dports, --ports")
    option = options[0]
    name, negated, _ = option
    ranges = [names.ports(text) for text in only(option).split(",")]
    if sum(1 if first == last else 2 for first, last in ranges) > MOST_PORTS:
        raise NotModelledError(f"'-m multiport' takes {MOST_PORTS} ports, a range being two")
    ports = merge(ranges)
    found: Expr = Lit(name.removesuffix("s"), ports)
    if name == "ports":
        found = Or((Lit("sport", ports), Lit("dport", ports)))
    return And((READABLE, negate(found, negated)))
