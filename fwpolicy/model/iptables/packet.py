"""Matches on the packet and its addresses: iprange, addrtype, pkttype, mark, ttl, dscp, length, u32."""

from __future__ import annotations

import re

from fwpolicy import addresses
from fwpolicy.model import fields
from fwpolicy.model.iptables import names
from fwpolicy.model.iptables.basics import address_range, flag, masked, masked_text, negate, only
from fwpolicy.model.program import NEVER, And, Lit, NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.basics import Context
    from fwpolicy.model.iptables.words import Option, Options
    from fwpolicy.model.program import Expr

# libxt_pkttype.c
_PACKET_TYPES = {"unicast": "host", "bcast": "broadcast", "mcast": "multicast", "otherhost": "other"}
# What __ipv6_addr_type calls neither unicast nor anything else: unspecified, IPv4-mapped, multicast.
_MULTICAST6 = addresses.of("ff00::/8").v6
_NO_UNICAST6 = addresses.of("::", "::ffff:0:0/96", "ff00::/8").v6
_ADDRESSES6 = {
    "multicast": _MULTICAST6,
    "unicast": addresses.subtract(addresses.EVERYWHERE.v6, _NO_UNICAST6),
    "unspec": addresses.of("::").v6,
}
_ROUTED6 = ("local", "anycast", "unreachable")
# tos_values.c; their mask leaves out two bits of the precedence, not those of ECN.
_TOS = {"minimize-delay": "0x10/0x3f", "maximize-throughput": "0x08/0x3f", "normal-service": "0x00/0x3f"}
_TOS |= {"maximize-reliability": "0x04/0x3f", "minimize-cost": "0x02/0x3f"}
_DSCP_CLASSES = {"BE": 0, "EF": 46} | {f"CS{number}": 8 * number for number in range(8)}
_DSCP_CLASSES |= {f"AF{kind}{drop}": 8 * kind + 2 * drop for kind in range(1, 5) for drop in range(1, 4)}


def iprange(context: Context, options: Options) -> Expr:
    """`--src-range A-B`, `--dst-range A-B`."""
    parts = []
    for option in options:
        field = "saddr" if option[0] == "src-range" else "daddr"
        found = Lit(f"{field}{context.family}", address_range(context.family, only(option)))
        parts.append(negate(found, option[1]))
    return And(tuple(parts))


def addrtype(context: Context, options: Options) -> Expr:
    """What an address is to this host, or to the interface that the packet came in by."""
    limits = [option[0] for option in options if option[0].startswith("limit-iface") and flag(option)]
    parts = [
        negate(_addrtype(context.family, option[0][:3], only(option), limits), option[1])
        for option in options
        if not option[0].startswith("limit-iface")
    ]
    if not parts:
        raise NotModelledError("'-m addrtype' asks nothing")
    return And(tuple(parts))


def _addrtype(family: int, side: str, text: str, limits: list[str]) -> Expr:
    wanted = text.lower().split(",")
    if unknown := set(wanted) - set(fields.ADDRESS_TYPES):
        raise NotModelledError(f"'{unknown.pop()}' is no type of address")
    if family == 6:
        return _addrtype6(side, wanted, limits)
    return _routed(side, wanted, limits)


def _routed(side: str, wanted: list[str], limits: list[str]) -> Expr:
    if not limits or (limits == ["limit-iface-in"] and side == "dst"):
        field = f"{side[0]}addrtype" + ("_iif" if limits else "")
        return Lit(field, fields.values(*(fields.ADDRESS_TYPES.index(name) for name in wanted)))
    # One condition for each type, of which an address has one: what is asked of two of them stays a union.
    text = f"addrtype {side}-type {','.join(sorted(wanted))} {' '.join(sorted(limits))}"
    return Lit(fields.opaque(text), fields.YES)


def _addrtype6(side: str, wanted: list[str], limits: list[str]) -> Expr:
    """Multicast and unicast are looked up in the address itself, and two of them mean both at once
    (xt_addrtype.c, match_type6), unlike in IPv4."""
    if unknown := set(wanted) - set(_ADDRESSES6) - set(_ROUTED6):
        raise NotModelledError(f"IPv6 has no addresses of type '{unknown.pop()}'")
    parts: list[Expr] = [Lit(f"{side[0]}addr6", _ADDRESSES6[name]) for name in wanted if name in _ADDRESSES6]
    routed = [name for name in wanted if name in _ROUTED6]
    if routed:
        parts.append(_routed(side, routed, limits))
    return And(tuple(parts))


def pkttype(_: Context, options: Options) -> Expr:
    """Unicast to this host, broadcast, multicast."""
    name = only(_one(options, "pkttype")).lower()
    name = _PACKET_TYPES.get(name, name)
    if name not in fields.PACKET_TYPES:
        raise NotModelledError(f"'{name}' is no type of packet")
    return negate(Lit("pkttype", fields.values(fields.PACKET_TYPES.index(name))), options[0][1])


def mark(_: Context, options: Options) -> Expr:
    """`--mark VALUE[/MASK]`."""
    option = _one(options, "mark")
    return negate(masked_text("mark", 32, only(option)), option[1])


def ttl(_: Context, options: Options) -> Expr:
    """`--ttl-eq`, `--ttl-lt`, `--ttl-gt`, and the same of IPv6's hop limit."""
    option = _one(options, "ttl")
    value = names.number(only(option), 255)
    match option[0][-2:]:
        case "lt":
            found: Expr = Lit("ttl", ((0, value - 1),)) if value else NEVER
        case "gt":
            found = Lit("ttl", ((value + 1, 255),)) if value < 255 else NEVER
        case _:
            found = Lit("ttl", ((value, value),))
    return negate(found, option[1])


def dscp(_: Context, options: Options) -> Expr:
    """By number or by class."""
    option = _one(options, "dscp")
    text = only(option)
    if option[0] == "dscp-class":
        if text.upper() not in _DSCP_CLASSES:
            raise NotModelledError(f"'{text}' is no DSCP class")
        value = _DSCP_CLASSES[text.upper()]
    else:
        value = names.number(text, 63, "DSCP")
    return negate(Lit("dscp", ((value, value),)), option[1])


def tos(_: Context, options: Options) -> Expr:
    """`--tos VALUE/MASK`: exact where the mask leaves out the two ECN bits, which are no field here."""
    option = _one(options, "tos")
    text = _TOS.get(only(option).lower(), only(option))
    value_text, slash, mask_text = text.partition("/")
    if slash and not (bits := names.number(mask_text, 255)) & 3:
        found = masked(6, names.number(value_text, 255) >> 2, bits >> 2)
        return negate(Lit("dscp", found) if found else NEVER, option[1])
    return negate(Lit(fields.opaque(f"tos {text.lower()}"), fields.YES), option[1])


def length(_: Context, options: Options) -> Expr:
    """Of the whole packet, IP header included."""
    option = _one(options, "length")
    return negate(Lit("length", (names.span(only(option), 65535, "length"),)), option[1])


# IPv4's header length skipped, then the first byte of the UDP payload, then its low three bits.
_NTP_MODE = re.compile(r"(?:0x)?0+>>(?:22|0x16)&0x3[cC]@(?:0x)?8>>(?:24|0x18)&(?:0x)?0*7=([^&@]+)")
# IPv6: the header that follows is UDP's, and then the same byte of its payload. Where another one stands in
# between, the mode counts as one that cannot be read.
_NTP_MODE6 = re.compile(
    r"(?:0x)?4>>(?:0x)?8&0x[fF]{2}=(?:17|0x11)&&(?:48|0x30)>>(?:24|0x18)&(?:0x)?0*7=([^&@]+)"
)


def u32(context: Context, options: Options) -> Expr:
    """The one test of a payload that has a field: the NTP mode in UDP."""
    option = _one(options, "u32")
    text = "".join(only(option).split())
    found = (_NTP_MODE if context.family == 4 else _NTP_MODE6).fullmatch(text)
    if not found or context.protocol != 17 or not context.readable:
        return negate(Lit(fields.opaque(f"u32 {text.lower()}"), fields.YES), option[1])
    modes = [names.span(part, 7, "NTP mode") for part in found[1].split(",")]
    return negate(Lit("ntpmode", addresses.merge(modes)), option[1])


def _one(options: Options, module: str) -> Option:
    if len(options) != 1:
        raise NotModelledError(f"'-m {module}' takes one option")
    return options[0]
