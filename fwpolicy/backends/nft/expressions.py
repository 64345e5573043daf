"""Rules of an `nft -n -j` listing as the IR has them, the opposite of words.py (libnftables-json(5))."""

from __future__ import annotations

from fwpolicy.addresses import BITS, AddressError, collect, merge, parse
from fwpolicy.ir.maps import CounterMap, Element, VerdictMap
from fwpolicy.ir.ruleset import (
    LOOPBACK,
    Accept,
    Address,
    AnyPort,
    Before,
    ClampMss,
    Continue,
    CtCount,
    CtState,
    CtStatus,
    DestinationNat,
    DestinationType,
    Drop,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    LimitName,
    Log,
    Masquerade,
    Match,
    Nfproto,
    NtpMode,
    OriginalPort,
    PerSource,
    Port,
    Rate,
    Reject,
    Return,
    Rule,
    SourceNat,
    TcpSyn,
    Verdict,
)
from fwpolicy.protocols import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from fwpolicy.addresses import Intervals

    Json = Any

_FAMILIES = {"ip": 4, "ip6": 6}
# linux/netfilter.h NFPROTO_IPV4, NFPROTO_IPV6.
_NFPROTO = {2: 4, 10: 6, "ipv4": 4, "ipv6": 6}
# nft(8) "ct state"; the bits of linux/netfilter/nf_conntrack_common.h, and of its enum ip_conntrack_status.
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_DNAT = (32, "dnat")
# RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST of linux/rtnetlink.h, in our order.
_TYPES = {2: "local", 3: "broadcast", 5: "multicast"}
# The NTP mode: a byte to mask, or as nft 1.1 lists it.
_NTP_BYTE = {"base": "th", "offset": 64, "len": 8}
_NTP_BITS = {"base": "th", "offset": 69, "len": 3}
_MEMORY = ("limit", "ct count", "set")
_SLASH_64 = ((1 << 64) - 1) << 64
# Port unreachable of each family where a rule names it so (RFC 792, RFC 4443), and its one family.
_UNREACHABLE = {("icmpx", 1): None, ("icmp", 3): 4, ("icmpv6", 4): 6}


class UnknownExpressionError(ValueError):
    """The listing says something that the IR has no word for."""


def rule(body: Json) -> Rule:
    """One rule; without an origin. Raises UnknownExpressionError."""
    matches: list[Match] = []
    counter: str | CounterMap | None = None
    log: Log | None = None
    verdict: Verdict | None = None
    for expression in body["expr"]:
        ((kind, value),) = expression.items()
        if verdict is not None:
            raise UnknownExpressionError(f"{kind} after a verdict in {body['chain']}")
        if kind == "match":
            _add(_match(value), matches)
        elif kind in _MEMORY:
            matches.append(_memory(kind, value))
        elif kind == "counter":
            counter = _counter(value, body["chain"])
        elif kind == "log":
            log = _log(value)
        else:
            verdict = _verdict(kind, value)
            matches += _elided(kind, value, matches)
    step, _, comment = body.get("comment", "").partition(": ")
    return Rule(tuple(matches), verdict or Continue(), step, None, counter, comment or None, log)


def _add(found: Match, matches: list[Match]) -> None:
    """`th dport` joins the guard before it, and is refused without."""
    if isinstance(found, AnyPort):
        guard = matches.pop() if matches else None
        if not isinstance(guard, L4Proto):
            raise UnknownExpressionError(f"th {found.side} without a protocol")
        found = AnyPort(guard.protocols, found.side, found.ports)
    matches.append(found)


def _counter(value: Json, chain: str) -> str | CounterMap:
    if isinstance(value, dict) and set(value) == {"map"}:
        return CounterMap(*_lookup(value["map"]))
    if not isinstance(value, str):
        raise UnknownExpressionError(f"a counter without a name in {chain}")
    return value


def _log(value: Json) -> Log:
    if value is None or set(value) - {"prefix", "group"} or "prefix" not in value:
        raise UnknownExpressionError(f"log {value}")
    return Log(value["prefix"], value.get("group"))


def _elided(kind: str, value: Json, matches: list[Match]) -> list[Match]:
    """The family that `reject with icmp` is about, where the listing leaves it out."""
    family = _UNREACHABLE.get(_reject_code(value)) if kind == "reject" and value else None
    said = any(getattr(match, "family", None) == family or isinstance(match, IcmpType) for match in matches)
    return [Nfproto(family)] if family and not said else []


def _reject_code(value: Json) -> tuple[str, int]:
    code = value.get("expr", -1)
    number = {"icmpx": 1, "icmp": 3, "icmpv6": 4}.get(value["type"], -1)
    return value["type"], number if code == "port-unreachable" else code


def _verdict(kind: str, value: Json) -> Verdict:
    simple: dict[str, Verdict] = {"accept": Accept(), "drop": Drop(), "return": Return()}
    if kind in simple:
        return simple[kind]
    if kind == "jump":
        return Jump(value["target"])
    if kind == "reject":
        if value and value.get("type") == "tcp reset":
            return Reject("tcp-reset")
        # icmpx code 1 is port-unreachable (linux/netfilter/nf_tables.h), and nft's default.
        if not value or _reject_code(value) in _UNREACHABLE:
            return Reject("port-unreachable")
    if kind == "vmap":
        return VerdictMap(*_lookup(value))
    found = _translation(kind, value)
    if found is None:
        raise UnknownExpressionError(f"{kind} {value if value else ''}".strip())
    return found


def _translation(kind: str, value: Json) -> Verdict | None:
    maxseg = {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}
    if kind == "masquerade" and not value:
        return Masquerade()
    if kind == "mangle" and value == maxseg:
        return ClampMss()
    if kind not in ("snat", "dnat") or not isinstance(value.get("addr"), str):
        return None
    family, address, _ = parse(value["addr"])
    if kind == "snat" and set(value) <= {"family", "addr"}:
        return SourceNat(family, address)
    if kind == "dnat" and set(value) <= {"family", "addr", "port"}:
        return DestinationNat(family, address, value.get("port"))
    return None


def _memory(kind: str, value: Json) -> Match:
    if kind == "limit":
        return LimitName(value) if isinstance(value, str) else rate(value)
    if kind == "ct count" and set(value) == {"val"}:
        return CtCount(value["val"])
    if kind == "set" and len(value.get("stmt", ())) == 1:
        ((inner, bound),) = value["stmt"][0].items()
        found = _memory(inner, bound)
        family = _source_family(value["elem"])
        if (
            family
            and isinstance(found, Rate | CtCount)
            and value["op"] == ("update" if isinstance(found, Rate) else "add")
        ):
            return PerSource(family, value["set"].removeprefix("@"), found)
    raise UnknownExpressionError(f"{kind} {value}")


def _source_family(element: Json) -> int | None:
    if element == {"payload": {"protocol": "ip", "field": "saddr"}}:
        return 4
    masked = element.get("&")
    if masked and masked[0] == {"payload": {"protocol": "ip6", "field": "saddr"}}:
        return 6 if parse(masked[1])[1] == _SLASH_64 else None
    return None


def rate(value: Json) -> Rate:
    """A limit's rate; "inv" would be `over`."""
    if set(value) - {"rate", "per", "burst"}:
        raise UnknownExpressionError(f"limit {value}")
    return Rate(value["rate"], value["per"], value["burst"])


def _match(value: Json) -> Match:
    left, right = value["left"], value["right"]
    ((kind, key),) = left.items()
    found: Match | None
    if value["op"] not in ("==", "!=", "in", "<"):
        raise UnknownExpressionError(f"match {value}")
    if value["op"] == "<":
        found = Before(_time(right)) if key == {"key": "time"} else None
    else:
        found = _membership(kind, key, right, negated=value["op"] == "!=")
    if found is None or (value["op"] == "!=" and not getattr(found, "negated", False)):
        raise UnknownExpressionError(f"match {value}")
    return found


def _time(value: Json) -> int:
    """`meta time` in a listing: a date in the time zone of whoever listed it, which must be UTC."""
    if isinstance(value, int):
        return value
    import time  # noqa: PLC0415
    from calendar import timegm  # noqa: PLC0415

    return timegm(time.strptime(value, "%Y-%m-%d %H:%M:%S"))


def _membership(kind: str, key: Json, right: Json, *, negated: bool) -> Match | None:
    members = _members(right)
    if (kind, key) in (("payload", _NTP_BITS), ("&", [{"payload": _NTP_BYTE}, 7])):
        return NtpMode(tuple(sorted(members)), negated)
    if kind == "payload":
        return _payload(key, right, members, negated)
    if kind == "&" and "payload" in key[0] and "protocol" in key[0]["payload"]:
        return _masked(key[0]["payload"], key[1], right, negated)
    if kind == "meta":
        return _meta(key["key"], members, negated)
    if kind == "ct":
        return _ct(key, right, members, negated)
    if kind == "fib" and key["result"] == "type":
        return _destination_type(key["flags"], members, negated)
    return None


def _members(right: Json) -> list[Json]:
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    return right if isinstance(right, list) else [right]


def _meta(key: str, members: list[Json], negated: bool) -> Match | None:
    if key in ("iifname", "oifname"):
        return Interface(key, tuple(members), negated)
    if key in ("iif", "oif") and tuple(members) == LOOPBACK:
        return Interface(f"{key}name", LOOPBACK, negated)
    if key == "nfproto" and len(members) == 1:
        return Nfproto(_NFPROTO[members[0]])
    if key == "l4proto":
        return L4Proto(tuple(sorted(NUMBERS[m] if m in NUMBERS else int(m) for m in members)))
    return None


def _ct(key: Json, right: Json, members: list[Json], negated: bool) -> Match | None:
    if key == {"key": "state"}:
        return CtState(tuple(sorted(str(_STATES.get(state, state)) for state in members)))
    if key == {"key": "status"} and len(members) == 1 and members[0] in _DNAT:
        return CtStatus("dnat")
    if key.get("dir") != "original":
        return None
    if key["key"] == "proto-dst" and len(members) == 1:
        ((first, last),) = _port_ranges(members)
        return OriginalPort(first, last)
    protocol, _, field = key["key"].partition(" ")
    if protocol in _FAMILIES and field in ("saddr", "daddr"):
        return _address(_FAMILIES[protocol], field, right, negated, original=True)
    return None


def _destination_type(flags: Json, members: list[Json], negated: bool) -> Match | None:
    flags = {flags} if isinstance(flags, str) else set(flags)
    known = [name for number, name in _TYPES.items() if number in members or name in members]
    if flags not in ({"daddr"}, {"daddr", "iif"}) or len(known) != len(members):
        return None
    return DestinationType(tuple(known), "iif" in flags, negated)


def _payload(key: Json, right: Json, members: list[Json], negated: bool) -> Match | None:
    protocol, field = key.get("protocol"), key.get("field")
    if protocol in _FAMILIES and field in ("saddr", "daddr"):
        return _address(_FAMILIES[protocol], field, right, negated)
    if (protocol, field) == ("tcp", "flags") and members in ([2], ["syn"]):
        return TcpSyn()
    if protocol in ("icmp", "icmpv6") and field == "type":
        return IcmpType(NUMBERS[protocol], tuple(sorted(members)))
    if protocol == "th" and field in ("sport", "dport"):
        return AnyPort((), field, merge(_port_ranges(members)))
    if protocol in NUMBERS and field in ("sport", "dport"):
        return Port(NUMBERS[protocol], field, merge(_port_ranges(members)))
    return None


def _port_ranges(members: list[Json]) -> list[tuple[int, int]]:
    ranges = [tuple(m["range"]) if isinstance(m, dict) else (m, m) for m in members]
    if not all(isinstance(bound, int) for each in ranges for bound in each):
        raise UnknownExpressionError(f"port {members}")
    return ranges


def _address(family: int, side: str, right: Json, negated: bool, original: bool = False) -> Address:
    if isinstance(right, str) and right.startswith("@"):
        return Address(family, side, (), right[1:], negated, original)
    return Address(family, side, intervals(_members(right), family), None, negated, original)


def _masked(key: Json, mask: Json, right: Json, negated: bool) -> Match | None:
    """An address's prefix, looked up in a set."""
    family = _FAMILIES.get(key["protocol"])
    if family is None or key["field"] not in ("saddr", "daddr") or str(right)[:1] != "@":
        return None
    bits = BITS[family]
    hosts = (1 << bits) - 1 - parse(mask)[1]
    prefix = bits - hosts.bit_length()
    if hosts & (hosts + 1):
        raise UnknownExpressionError(f"mask {mask}")
    return Address(family, key["field"], (), right[1:], negated, prefix=prefix)


def _lookup(value: Json) -> tuple[tuple[str, ...], str]:
    """(fields, name of the map)."""
    key, data = value["key"], value["data"]
    parts = key.get("concat", [key])
    if not isinstance(data, str) or not all("payload" in part for part in parts):
        raise UnknownExpressionError(f"map {value}")
    return tuple(f"{part['payload']['protocol']} {part['payload']['field']}" for part in parts), data[1:]


def element(member: Json, holds: str) -> Element:
    """One element of a map."""
    key, to = member
    comment = None
    if isinstance(key, dict) and "elem" in key:
        comment, key = key["elem"].get("comment"), key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    if holds == "verdict":
        if set(to) != {"jump"}:
            raise UnknownExpressionError(f"verdict {to}")
        to = to["jump"]["target"]
    return Element(tuple(_interval(part) for part in parts), to, comment)


def _interval(part: Json) -> tuple[int, int]:
    bounds = part["range"] if isinstance(part, dict) and "range" in part else [part]
    if all(isinstance(bound, int) for bound in bounds):
        return bounds[0], bounds[-1]
    return parse(_address_text(part))[1:]


def intervals(members: Iterable[Json], family: int) -> Intervals:
    """The elements of a set of addresses."""
    try:
        return collect(parse(_address_text(member)) for member in members).of(family)
    except (AddressError, KeyError, TypeError) as error:
        raise UnknownExpressionError(f"address element: {error}") from None


def _address_text(member: Json) -> str:
    if isinstance(member, str):
        return member
    if "elem" in member:
        return _address_text(member["elem"]["val"])
    if "prefix" in member:
        return f"{member['prefix']['addr']}/{member['prefix']['len']}"
    first, last = member["range"]
    return f"{first}-{last}"
