"""Left sides: which field of the model an expression looks at, and what it implies.

A protocol's fields imply the protocol, and in families with both, `icmp` and `icmpv6` the address family:
nft adds these matches to the bytecode and leaves them out of its listings (seen, 1.0.6).
"""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.nft import values, words
from fwpolicy.model.program import Lit
from fwpolicy.protocols import NUMBERS
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.nft.values import Decode
    from fwpolicy.model.program import Expr

    Json = Any


@record
class Key:
    """`guards` hold whenever the match does, negated or not. `field` is None for what stays opaque.

    `decode`: a right side's value -> the field's values. `test`: what `in`, nft's test of single bits,
    makes of it. `domain`: what the field can be where the expression can be read at all. `bits`: its width
    if it is a number that can be masked. `dynamic`: what its membership in a set is called.
    """

    guards: tuple[Expr, ...] = ()
    field: str | None = None
    decode: Decode | None = None
    test: Decode | None = None
    domain: Intervals = ()
    bits: int | None = None
    dynamic: str | None = None


IPV4, IPV6 = Lit("nfproto", ((4, 4),)), Lit("nfproto", ((6, 6),))
READABLE = Lit("th", ((1, 1),))
# No connection, no answer: nft_ct_get_eval breaks off for invalid and untracked packets.
TRACKED = Lit("ctstate", fields.states("new", "established", "related"))
# `skuid` needs a socket; a forwarded packet has none.
SOCKET = Lit(fields.opaque("meta skuid exists"), ((1, 1),))
WITH_PORTS = frozenset((6, 17, 33, 132, 136))
_TRANSPORTS = NUMBERS | {"udplite": 136}
_FAMILY = {"ip": IPV4, "ip6": IPV6}
_ICMP = {"icmp": (1, IPV4), "icmpv6": (58, IPV6)}
_TYPES_OF = {
    ("icmp", "id"): (0, 8),
    ("icmp", "sequence"): (0, 8),
    ("icmp", "mtu"): (3,),
    ("icmp", "gateway"): (5,),
    ("icmpv6", "id"): (128, 129),
    ("icmpv6", "sequence"): (128, 129),
    ("icmpv6", "mtu"): (2,),
    ("icmpv6", "parameter-problem"): (4,),
}
UNKNOWN = Key()
# Extension headers: behind them stands another one (ipv6_ext_hdr).
_EXTENSIONS = frozenset((0, 43, 44, 50, 51, 59, 60, 135, 139, 140))


def protocol(number: int) -> Lit:
    return Lit("l4proto", ((number, number),))


def _key(field: str, decode: Decode, *guards: Expr, bits: int | None = None) -> Key:
    return Key(guards, field, decode, domain=fields.universe(field), bits=bits)


_PORT = values.numbers(words.SERVICES, 65535)
_BYTE = values.numbers({}, 255)
_L4PROTO = values.numbers(words.PROTOCOLS, 255)
_MARK = values.numbers({}, (1 << 32) - 1)
_USER = values.numbers({"root": 0}, (1 << 32) - 1)
_ADDRESS = {"ip": values.addresses(32), "ip6": values.addresses(128)}
_DIGIT = {"ip": "4", "ip6": "6"}


def _address(word: str, side: str) -> Key:
    bits = 32 if word == "ip" else 128
    key = _key(f"{side}{_DIGIT[word]}", _ADDRESS[word], _FAMILY[word], bits=bits)
    return replace(key, dynamic=side)


def _payloads() -> dict[tuple[str, str], Key]:
    """By protocol and field; the guards of ICMP for families with both."""
    found = {(word, side): _address(word, side) for word in _FAMILY for side in ("saddr", "daddr")}
    for name, number in _TRANSPORTS.items():
        for side in ("sport", "dport"):
            found[name, side] = _key(side, _PORT, protocol(number), READABLE, bits=16)
    for name, (number, family) in _ICMP.items():
        types = words.ICMP_TYPES if name == "icmp" else words.ICMPV6_TYPES
        codes = words.ICMP_CODES if name == "icmp" else words.ICMPV6_CODES
        guards = (family, protocol(number), READABLE)
        found[name, "type"] = _key("icmptype", values.numbers(types, 255), *guards, bits=8)
        found[name, "code"] = _key("icmpcode", values.numbers(codes, 255), *guards, bits=8)
    found["tcp", "flags"] = Key(
        (protocol(6), READABLE), "tcpflags", values.tcp_flags, values.tcp_flags_of, ((0, 255),), 8
    )
    found["ip", "protocol"] = _key("l4proto", _L4PROTO, IPV4)
    found["ip", "ttl"] = _key("ttl", _BYTE, IPV4)
    found["ip6", "hoplimit"] = _key("ttl", _BYTE, IPV6)
    found["ip", "length"] = _key("length", values.numbers({}, 65535), IPV4)
    for word, family in _FAMILY.items():
        found[word, "dscp"] = _key("dscp", values.numbers(words.DSCP, 63), family)
    return found


_PAYLOADS = _payloads()
_METAS: Mapping[str, Key] = {
    "nfproto": _key("nfproto", values.families(words.NFPROTO)),
    "protocol": _key("nfproto", values.families(words.ETHERTYPES)),
    "l4proto": _key("l4proto", _L4PROTO),
    "mark": _key("mark", _MARK, bits=32),
    "iif": _key("iif", values.interface),
    "oif": _key("oif", values.interface),
    "iifname": _key("iif", values.interface_name),
    "oifname": _key("oif", values.interface_name),
    "pkttype": _key("pkttype", values.numbers({name: n for n, name in enumerate(fields.PACKET_TYPES)}, 7)),
    "length": _key("length", values.numbers({}, 65535)),
    "skuid": _key("skuid", _USER, SOCKET),
    "skgid": _key("skgid", _USER, SOCKET),
}
_ADDRESS_TYPES = values.numbers({name: n for n, name in enumerate(fields.ADDRESS_TYPES)}, 11)
_FIBS = {
    ("daddr",): _key("daddrtype", _ADDRESS_TYPES),
    ("daddr", "iif"): _key("daddrtype_iif", _ADDRESS_TYPES),
    ("saddr",): _key("saddrtype", _ADDRESS_TYPES),
}
_STATE = Key((), "ctstate", values.state, values.states_of, ((0, 4),))
_CTS: Mapping[str, Key] = {
    "direction": _key("ctdir", values.numbers(words.DIRECTIONS, 1), TRACKED),
    "mark": _key("ctmark", _MARK, TRACKED, bits=32),
    "protocol": Key((TRACKED,)),
}
_ORIGINALS: Mapping[str, Key] = {
    f"{word} {side}": replace(
        _key(f"orig{side}{_DIGIT[word]}", _ADDRESS[word], TRACKED, family), dynamic=f"orig{side}"
    )
    for word, family in _FAMILY.items()
    for side in ("saddr", "daddr")
} | {"proto-dst": _key("origport", _PORT, TRACKED)}
# RFC 5905 7.3: the low three bits of the payload's first byte. Not read, it equals no number and differs
# from none.
_NTP_BYTE = {"base": "th", "offset": 64, "len": 8}
_NTP_MODE = Key((protocol(17),), "ntpmode", values.numbers({}, 7), domain=((0, 7),))


def key(left: Json, family: str, protocols: frozenset[int] | None) -> Key:
    """What `left` is. `family` is the table's; `protocols`: what the matches before leave of `l4proto`."""
    ((kind, of),) = left.items()
    if kind == "payload":
        return _payload(of, family, protocols)
    if kind == "&":
        return _masked(of[0], of[1], family, protocols)
    if kind == "meta":
        return _METAS.get(of["key"], UNKNOWN)
    if kind == "ct":
        return _ct(of)
    if kind == "fib" and of["result"] == "type":
        flags = of["flags"]
        return _FIBS.get((flags,) if isinstance(flags, str) else tuple(flags), UNKNOWN)
    return UNKNOWN


def _payload(of: Json, family: str, protocols: frozenset[int] | None) -> Key:
    if "protocol" not in of:
        return UNKNOWN
    name, field = of["protocol"], of["field"]
    if name == "th" and field in ("sport", "dport"):
        # Without a guard it reads whatever bytes are there, those of an ICMP message as well.
        guarded = protocols is not None and protocols <= WITH_PORTS
        return _key(field, _PORT, READABLE, bits=16) if guarded else UNKNOWN
    found = _PAYLOADS.get((name, field)) or _unknown_payload(name, field)
    if name in _ICMP and family in ("ip", "ip6"):
        return replace(found, guards=found.guards[1:])
    return found


def _unknown_payload(name: str, field: str) -> Key:
    """What a protocol's other fields imply; those of ICMP that only some types have imply these."""
    if name in _ICMP:
        number, family = _ICMP[name]
        types = _TYPES_OF.get((name, field))
        more = (READABLE, Lit("icmptype", fields.values(*types))) if types else ()
        return Key((family, protocol(number), *more))
    if name in _FAMILY:
        return Key((_FAMILY[name],))
    return Key((protocol(_TRANSPORTS[name]),)) if name in _TRANSPORTS else UNKNOWN


def _ct(of: Json) -> Key:
    name = of["key"]
    if name == "state":
        return _STATE
    if of.get("dir") == "original" and name in _ORIGINALS:
        return _ORIGINALS[name]
    found = _CTS.get(name)
    return found if found and "dir" not in of else Key((TRACKED,))


def _masked(inner: Json, mask: Json, family: str, protocols: frozenset[int] | None) -> Key:
    if inner == {"payload": _NTP_BYTE} and mask == 7:
        return _NTP_MODE if protocols == frozenset((17,)) else UNKNOWN
    if inner == {"payload": {"protocol": "ip", "field": "frag-off"}}:
        return _fragment(mask)
    if inner == {"ct": {"key": "state"}}:
        decode = values.states_under(values.bit_value(words.CT_STATES, mask))
        return replace(_STATE, decode=decode, test=None)
    of = key(inner, family, protocols)
    if of.bits is None or of.decode is None:
        return Key(of.guards)
    try:
        number = _mask(of, mask)
    except values.Unclear:
        return Key(of.guards)
    decode = values.masked(of.decode, number, of.bits)
    return replace(of, decode=decode, test=None, bits=None, dynamic=None)


def _mask(of: Key, mask: Json) -> int:
    if of.field == "tcpflags":
        return values.bit_value(words.TCP_FLAGS, mask)
    decode = of.decode
    ((number, last),) = decode(mask) if decode else ((0, 1),)
    if number != last:
        raise values.Unclear(mask)
    return number


def _fragment(mask: Json) -> Key:
    """`ip frag-off & 0x1fff`: the offset, which only the first fragment has at 0."""
    if mask != 0x1FFF:
        return Key((IPV4,))

    def decode(member: Json) -> Intervals:
        if member != 0:
            raise values.Unclear(member)
        return ((0, 0),)

    return Key((IPV4,), "fragment", decode, domain=((0, 1),))


def implied_protocols(left: Json, found: Intervals) -> Expr | None:
    """`ip6 nexthdr tcp`: the first header, and where it is no extension header, the last one, too."""
    if left != {"payload": {"protocol": "ip6", "field": "nexthdr"}}:
        return None
    known = [number for first, last in found for number in range(first, last + 1)]
    return Lit("l4proto", found) if _EXTENSIONS.isdisjoint(known) else None


NEXT_HEADER = _L4PROTO
