"""`nft -n -j list` -> Ruleset, the opposite of render.

Numeric: plain -j prints code 0 as a name. With TZ=UTC: a listing has `meta time` in local time, which
is not even one time where a clock is set back (Europe/London, 25 October 2026, 01:00).

Whatever is not understood is refused by name, never skipped (docs/architecture.md).
"""

from __future__ import annotations

from functools import partial
from itertools import compress, islice
from operator import ne

from fwpolicy.addresses import merge
from fwpolicy.addresslists import packed
from fwpolicy.backends.nft.elements import from_text
from fwpolicy.backends.nft.expressions import UnknownExpressionError, element, intervals, rate, rule
from fwpolicy.ir.maps import CounterMap, Map, VerdictMap
from fwpolicy.ir.ruleset import (
    Address,
    AnyPort,
    Base,
    Chain,
    DynamicSet,
    IcmpType,
    Interface,
    L4Proto,
    LimitObject,
    Match,
    Nfproto,
    PerSource,
    Port,
    Reject,
    Rule,
    Ruleset,
    Set,
    Table,
    WithMemory,
)
from fwpolicy.protocols import NUMBERS
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fwpolicy.addresses import Interval, Intervals

    Json = Any
    # How many are the same, of either from a place on.
    Shared = Callable[[int, int], int]

_TYPES = {"ipv4_addr", "ipv6_addr", "inet_service"}

__all__ = ["UnknownExpressionError", "alike", "difference", "normal_form", "read", "same"]


def read(listing: Json, family: str, name: str) -> Table | None:
    """Table `family name` of a listing (the object that libnftables returns), or None if it is not there.

    Raises UnknownExpressionError. Chains and sets come in listing order, rules without origin.
    """
    objects = [next(iter(entry.items())) for entry in listing["nftables"]]
    table = next((b for k, b in objects if k == "table" and (b["family"], b["name"]) == (family, name)), None)
    if table is None:
        return None
    if "flags" in table:
        raise UnknownExpressionError(_flagged(table))
    _only(table, "table")
    mine = [(k, b) for k, b in objects if b.get("family") == family and b.get("table") == name]
    rules: dict[str, list[Rule]] = {}
    bodies: dict[str, list[Json]] = {"set": [], "chain": [], "counter": [], "limit": [], "map": []}
    for kind, body in mine:
        if kind == "rule":
            rules.setdefault(body["chain"], []).append(rule(body))
        elif kind in bodies:
            bodies[kind].append(body)
        else:
            raise UnknownExpressionError(f"{kind} {body.get('name', '')}")
    return Table(
        family,
        name,
        tuple(_set(body) for body in bodies["set"]),
        tuple(_chain(body, tuple(rules.get(body["name"], ()))) for body in bodies["chain"]),
        tuple(body["name"] for body in bodies["counter"]),
        tuple(_limit(body) for body in bodies["limit"]),
        tuple(_map(body) for body in bodies["map"]),
    )


def _flagged(table: Json) -> str:
    """Ours never is."""
    if table["flags"] == ["dormant"]:
        return f"table {table['name']} is dormant: it filters nothing"
    return f"table {table['name']} with flags: {table['flags']}"


# What each object of a listing may say; a chain's device, say, means something else.
_KEYS = {
    "table": frozenset(("family", "name", "handle")),
    "set": frozenset(("family", "name", "table", "type", "handle", "flags", "elem", "size", "timeout")),
    "chain": frozenset(("family", "table", "name", "handle", "type", "hook", "prio", "policy")),
}


def _only(body: Json, what: str) -> None:
    strange = [key for key in body if key not in _KEYS[what]]
    if strange:
        raise UnknownExpressionError(f"{what} {body.get('name', '')} with {strange[0]}: {body[strange[0]]}")


def _set(body: Json) -> Set | DynamicSet:
    _only(body, "set")
    family = {"ipv4_addr": 4, "ipv6_addr": 6}.get(body["type"] if isinstance(body["type"], str) else "")
    flags = set(body.get("flags", ()))
    if family is None or flags - {"interval", "timeout", "dynamic"}:
        raise UnknownExpressionError(f"set {body['name']} of type {body['type']} {' '.join(flags)}")
    if "timeout" in body and "size" not in body:
        raise UnknownExpressionError(f"set {body['name']} with timeout {body['timeout']}")
    # 1.0.6 leaves "dynamic" out of its JSON; only these sets of ours have a size.
    if "size" in body:
        timeout = body.get("timeout", 0) if "timeout" in flags else None
        return DynamicSet(body["name"], family, timeout, body["size"])
    return Set(body["name"], family, _members(body.get("elem", ()), family))


def _members(elem: Json, family: int) -> Intervals:
    """nft's list, or a text of ours (elements.py), which keeps what the kernel holds as it holds it."""
    if not isinstance(elem, str):
        return intervals(elem, family)
    try:
        return from_text(family, elem)
    except ValueError as error:
        raise UnknownExpressionError(f"elements: {error}") from None


def _map(body: Json) -> Map:
    types = tuple(body["type"]) if isinstance(body["type"], list) else (body["type"],)
    strange = set(body.get("flags", ())) - {"interval"}
    if set(types) - _TYPES or body["map"] not in ("counter", "verdict") or strange:
        raise UnknownExpressionError(f"map {body['name']} of type {body['type']} : {body['map']}")
    elements = tuple(element(member, body["map"]) for member in body.get("elem", ()))
    return Map(body["name"], types, body["map"], elements)


def _limit(body: Json) -> LimitObject:
    return LimitObject(
        body["name"], rate({key: body[key] for key in ("rate", "per", "burst", "inv") if key in body})
    )


def _chain(body: Json, rules: tuple[Rule, ...]) -> Chain:
    _only(body, "chain")
    base = Base(body["hook"], body["prio"], body["policy"], body["type"]) if "hook" in body else None
    return Chain(body["name"], rules, base)


def same(one: Ruleset, other: Ruleset) -> bool:
    """Have they the same normal form? Of sets of addresses, only what one lacks is joined and compared."""
    if len(one.tables) != len(other.tables):
        return False
    pairs = [_apart(*tables) for tables in zip(one.tables, other.tables, strict=True)]
    ones, others = zip(*pairs, strict=True) if pairs else ((), ())
    return normal_form(Ruleset(ones)) == normal_form(Ruleset(others))


def _apart(one: Table, other: Table) -> tuple[Table, Table]:
    """Both, their sets of addresses without what is in both."""
    theirs = {each.name: each for each in other.sets}
    ours: dict[str, Set] = {}
    for each in one.sets:
        its = theirs.get(each.name)
        if isinstance(each, Set) and isinstance(its, Set):
            gone, new = difference(each, its)
            ours[each.name] = replace(each, intervals=gone)
            theirs[each.name] = replace(its, intervals=new)
    mine = tuple(ours.get(each.name, each) for each in one.sets)
    return replace(one, sets=mine), replace(other, sets=tuple(theirs.values()))


# A plan asks twice of the same two; of 100,000 each, hashing them takes 60 ms.
_ANSWERED: list[tuple[Intervals, Intervals, tuple[Intervals, Intervals]]] = []
_MOST_ANSWERED = 16
_MOST_STEPS = 64


def difference(before: Set, after: Set) -> tuple[Intervals, Intervals]:
    """(what only `before` has, what only `after` has), in order, as it is written there."""
    had, has = before.intervals, after.intervals
    if had is has:
        return (), ()
    for one, other, answer in _ANSWERED:
        if one is had and other is has:
            return answer
    answer = _difference(had, has, _shared(before, after))
    _ANSWERED[_MOST_ANSWERED - 1 :] = []
    _ANSWERED.insert(0, (had, has, answer))
    return answer


def alike(one: Set | DynamicSet | None, other: Set | DynamicSet) -> bool:
    """Are they the same, with the same elements?"""
    if not isinstance(one, Set) or not isinstance(other, Set):
        return one == other
    same_kind = (one.name, one.family) == (other.name, other.family)
    return same_kind and difference(one, other) == ((), ())


def _difference(had: Intervals, has: Intervals, shared: Shared) -> tuple[Intervals, Intervals]:
    """Most often little has changed, and both are in order: what they share is compared, not hashed."""
    only, new = _step_by_step(had, has, shared)
    if not set(only).isdisjoint(new):
        only, new = [*set(had).difference(has)], [*set(has).difference(had)]
    return tuple(sorted(only)), tuple(sorted(new))


def _step_by_step(had: Intervals, has: Intervals, shared: Shared) -> tuple[list[Interval], list[Interval]]:
    """(left over of the one, left over of the other), once pairs of the same are taken out: of two in order
    what either has alone. After so many steps the rest is left over as a whole."""
    only: list[Interval] = []
    new: list[Interval] = []
    at, other = 0, 0
    for _ in range(_MOST_STEPS):
        number = shared(at, other)
        at, other = at + number, other + number
        if at == len(had) or other == len(has):
            break
        if had[at] < has[other]:
            only.append(had[at])
            at += 1
        else:
            new.append(has[other])
            other += 1
    return [*only, *had[at:]], [*new, *has[other:]]


def _shared(before: Set, after: Set) -> Shared:
    if before.family == after.family == 4:
        return partial(_shared_bytes, packed(before.intervals), packed(after.intervals))
    return partial(_shared_intervals, before.intervals, after.intervals)


def _shared_intervals(one: Intervals, other: Intervals, at: int, begin: int) -> int:
    most = min(len(one) - at, len(other) - begin)
    return next(compress(range(most), map(ne, islice(one, at, None), islice(other, begin, None))), most)


def _shared_bytes(ours: bytes, theirs: bytes, at: int, begin: int) -> int:
    low, high = 0, min(len(ours) // 8 - at, len(theirs) // 8 - begin)
    while low < high:
        middle = (low + high + 1) // 2
        if ours[8 * (at + low) : 8 * (at + middle)] == theirs[8 * (begin + low) : 8 * (begin + middle)]:
            low = middle
        else:
            high = middle - 1
    return low


def normal_form(ruleset: Ruleset) -> dict[str, Json]:
    """What two rulesets must share to be the same.

    Left out: the order of sets, of chains and of the matches of a rule that have no memory; matches
    that nft itself implies and so leaves out of listings; what counters count and dynamic sets hold.
    """
    return {
        f"{table.family} {table.name}": {
            "sets": {each.name: _normal_set(each) for each in table.sets},
            "chains": {
                chain.name: (chain.base, tuple(_normal_rule(each) for each in chain.rules))
                for chain in table.chains
            },
            "counters": frozenset(table.counters),
            "limits": {limit.name: limit.rate for limit in table.limits},
            "maps": {each.name: normal_map(each) for each in table.maps},
        }
        for table in ruleset.tables
    }


def _normal_set(each: Set | DynamicSet) -> object:
    return (each.family, merge(each.intervals)) if isinstance(each, Set) else each


def normal_map(each: Map) -> tuple[object, ...]:
    """What two maps must share to be the same: not the order of elements, nor where they come from."""
    return (each.types, each.holds, {element.key: (element.to, element.comment) for element in each.elements})


def _normal_rule(each: Rule) -> tuple[object, ...]:
    matches = {_normal_match(match) for match in each.matches if not isinstance(match, WithMemory)}
    memory = tuple(match for match in each.matches if isinstance(match, WithMemory))
    matches -= {implied for match in each.matches for implied in _implied(match)}
    for lookup in (each.counter, each.verdict):
        if isinstance(lookup, CounterMap | VerdictMap):
            matches -= {implied for field in lookup.fields for implied in _implied_by_field(field)}
    if each.verdict == Reject("tcp-reset"):
        matches.discard(L4Proto((6,)))
    return (frozenset(matches), memory, each.verdict, each.counter, each.step, each.comment, each.log)


def _implied(match: Match) -> tuple[Match, ...]:
    """What a match makes sure of by itself (nft(8), "PAYLOAD EXPRESSIONS")."""
    match match:
        case AnyPort(protocols):
            return (L4Proto(protocols),)
        case Port(protocol):
            return (L4Proto((protocol,)),)
        case IcmpType(protocol):
            return (L4Proto((protocol,)), Nfproto(4 if protocol == 1 else 6))
        case Address(family, original=False) | PerSource(family):
            return (Nfproto(family),)
        case _:
            return ()


def _implied_by_field(field: str) -> tuple[Match, ...]:
    if field.startswith("ip"):
        return (Nfproto(6 if field.startswith("ip6") else 4),)
    return (L4Proto((NUMBERS[field.partition(" ")[0]],)),)


def _normal_match(match: Match) -> Match:
    if isinstance(match, AnyPort):
        return AnyPort(tuple(sorted(match.protocols)), match.side, merge(match.ports))
    if isinstance(match, Port):
        return Port(match.protocol, match.side, merge(match.ports))
    if isinstance(match, Interface):
        return Interface(match.key, tuple(sorted(match.names)), match.negated)
    return match
