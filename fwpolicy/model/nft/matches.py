"""A match of a rule -> a condition over the model's fields, with everything that it implies."""

from __future__ import annotations

from itertools import product

from fwpolicy.addresses import merge, subtract
from fwpolicy.model import fields
from fwpolicy.model.nft import canonical, render, values, words
from fwpolicy.model.nft.keys import NEXT_HEADER, TRACKED, WITH_PORTS, Key, implied_protocols, key
from fwpolicy.model.nft.tables import filled_at_run_time
from fwpolicy.model.nft.values import Unclear, many, unwrapped
from fwpolicy.model.program import And, Lit, Not, Or, Tuples
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.model.nft.tables import Table
    from fwpolicy.model.program import Expr

    Json = Any
    Row = tuple[Interval, ...]


@record
class Scope:
    """Where matches are read: the table, the names of its sets that rules fill, a cache of the others'
    members by name and kind of key."""

    table: Table
    written: frozenset[str]
    cache: dict[tuple[str, object], Intervals]
    # What each limiter that was met lets through, by field.
    limiters: dict[str, str]


_OPERATORS = ("==", "!=", "<", ">", "<=", ">=", "in", "!")


def condition(scope: Scope, match: Json, protocols: frozenset[int] | None) -> Expr:
    """What has to be true for the match; `protocols` as for keys.key."""
    left, operator, right = canonical.left(match["left"]), match["op"], match["right"]
    match = match | {"left": left}
    if operator not in _OPERATORS:
        raise Missing(f"no operator {operator}")
    if "concat" in left:
        return _concatenation(scope, match, protocols)
    if left == {"ct": {"key": "status"}}:
        return _status(match)
    if left == {"meta": {"key": "time"}}:
        return _time(match)
    of = key(left, scope.table.family, protocols)
    if (name := _named(right)) and _is_dynamic(scope, name):
        return _member(scope, left, of, name, negated=operator == "!=")
    try:
        return And((*of.guards, _literal(scope, of, operator, right)))
    except Unclear:
        return And((*of.guards, *_implied(left, match), _opaque(scope, match)))


def _named(right: Json) -> str | None:
    return right[1:] if isinstance(right, str) and right.startswith("@") else None


def _is_dynamic(scope: Scope, name: str) -> bool:
    of = scope.table.sets.get(name)
    if of is None:
        raise Missing(f"no set {name}")
    return name in scope.written or filled_at_run_time(of)


class Missing(ValueError):  # noqa: N818
    """What a rule names is not there: a set, a map, a limit, an operator."""


def _member(scope: Scope, left: Json, of: Key, name: str, *, negated: bool) -> Expr:
    field = fields.member(f"{scope.table.name} {name}", of.dynamic or render.expression(left))
    return And((*of.guards, Lit(field, ((0, 0),) if negated else ((1, 1),))))


def _opaque(scope: Scope, match: Json) -> Lit:
    """Equal to the same words only. A named set is written out: its name says nothing of its members."""
    left, right = match["left"], match["right"]
    if (name := _named(right)) and not _is_dynamic(scope, name):
        right = {"set": scope.table.sets[name].get("elem", [])}
    elif name:
        right = f"@{scope.table.name} {name}"
    return Lit(fields.opaque(_text({"left": left, "op": match["op"], "right": right})), ((1, 1),))


def _text(match: Json) -> str:
    """The match in one spelling."""
    left, operator = match["left"], match["op"]
    if "&" in left:
        left = {"&": [left["&"][0], canonical.right(left["&"][0], left["&"][1])]}
    return render.match(left, operator, render.value(canonical.right(match["left"], match["right"])))


def _implied(left: Json, match: Json) -> tuple[Expr, ...]:
    if match["op"] not in ("==", "in"):
        return ()
    try:
        found = implied_protocols(left, many(NEXT_HEADER, _members(match["right"])))
    except Unclear:
        return ()
    return (found,) if found else ()


def _members(right: Json) -> list[Json]:
    if isinstance(right, dict) and "set" in right:
        members: list[Json] = right["set"]
        return members
    return [right]


# One field.


def _literal(scope: Scope, of: Key, operator: str, right: Json) -> Lit:
    if of.field is None or of.decode is None:
        raise Unclear(right)
    if operator in ("<", ">", "<=", ">="):
        return Lit(of.field, _compared(of, operator, right))
    if operator in ("in", "!"):
        if of.test is None:
            raise Unclear(right)
        found = merge(of.test(right))
    else:
        found = _decoded(scope, of, right)
    return Lit(of.field, subtract(of.domain, found) if operator in ("!=", "!") else _within(of, found))


def _within(of: Key, found: Intervals) -> Intervals:
    """What nothing can be is no part of a condition: `meta nfproto 4` has no 5 in between."""
    if found and of.domain[0][0] <= found[0][0] and found[-1][1] <= of.domain[-1][1]:
        return found
    return subtract(found, subtract(found, of.domain))


def _decoded(scope: Scope, of: Key, right: Json) -> Intervals:
    name = _named(right)
    if name is None:
        return many(of.decode, _members(right)) if of.decode else ()
    where = (name, of.decode)
    if where not in scope.cache and of.decode:
        scope.cache[where] = many(of.decode, scope.table.sets[name].get("elem", ()))
    return scope.cache[where]


# Numbers that are no bit masks, to compare with < and >.
_ORDERED = ("ttl", "length", "dscp", "skuid", "skgid")


def _compared(of: Key, operator: str, right: Json) -> Intervals:
    ordered = of.bits is not None or of.field in _ORDERED
    if of.decode is None or not ordered:
        raise Unclear(right)
    ((first, last),) = of.decode(right) or ((0, 1),)
    if first != last:
        raise Unclear(right)
    low, high = of.domain[0][0], of.domain[-1][1]
    bounds = {
        "<": (low, first - 1),
        "<=": (low, first),
        ">": (first + 1, high),
        ">=": (first, high),
    }[operator]
    return (bounds,) if bounds[0] <= bounds[1] else ()


# Several fields.


def _concatenation(scope: Scope, match: Json, protocols: frozenset[int] | None) -> Expr:
    right, negated = match["right"], match["op"] == "!="
    name = _named(right)
    keys = keys_of(scope, match["left"], protocols, _keys_of_members(scope, right))
    guards = tuple(guard for each in keys for guard in each.guards)
    if name and _is_dynamic(scope, name):
        whole = fields.member(f"{scope.table.name} {name}", render.expression(match["left"]))
        return And((*guards, Lit(whole, ((0, 0),) if negated else ((1, 1),))))
    members = scope.table.sets[name].get("elem", ()) if name else _members(right)
    try:
        if match["op"] not in ("==", "!="):
            raise Unclear(match["op"])
        found = tuples(keys, members)
    except Unclear:
        return And((*guards, _opaque(scope, match)))
    return And((*guards, Not(found) if negated else found))


def _keys_of_members(scope: Scope, right: Json) -> list[Json]:
    name = _named(right)
    if name is not None and name not in scope.table.sets:
        raise Missing(f"no set {name}")
    return scope.table.sets[name].get("elem", []) if name else _members(right)


_L4PROTOS = ({"meta": {"key": "l4proto"}}, {"payload": {"protocol": "ip", "field": "protocol"}})


def keys_of(scope: Scope, left: Json, protocols: frozenset[int] | None, members: Iterable[Json]) -> list[Key]:
    """The keys of a left side, one for each part of a concatenation."""
    parts = left.get("concat", [left])
    said = next((number for number, part in enumerate(parts) if part in _L4PROTOS), None)
    if protocols is None and said is not None:
        # `meta l4proto . th dport`: each member says the protocol of its port.
        protocols = _protocols_of(said, members)
    return [key(part, scope.table.family, protocols) for part in parts]


def _protocols_of(index: int, members: Iterable[Json]) -> frozenset[int] | None:
    try:
        found = many(NEXT_HEADER, (_parts(member)[index] for member in members))
    except (Unclear, IndexError):
        return None
    known = frozenset(number for first, last in found for number in range(first, last + 1))
    return known if known <= WITH_PORTS else None


def _parts(member: Json) -> list[Json]:
    member = unwrapped(member)
    parts: list[Json] = member["concat"] if isinstance(member, dict) and "concat" in member else [member]
    return parts


def tuples(keys: list[Key], members: Iterable[Json]) -> Expr:
    """One of `members` has what the keys look at; Unclear if a part of one is."""
    if len(keys) == 1:
        (of,) = keys
        if of.field is None or of.decode is None:
            raise Unclear(of)
        return Lit(of.field, _within(of, many(of.decode, members)))
    names = []
    for of in keys:
        if of.field is None or of.decode is None:
            raise Unclear(of)
        names.append(of.field)
    if len(set(names)) < len(names):
        raise Unclear(names)
    rows: list[Row] = []
    for member in members:
        parts = _parts(member)
        if len(parts) != len(keys):
            raise Unclear(member)
        found = [of.decode(part) for of, part in zip(keys, parts, strict=True) if of.decode]
        if all(len(each) == 1 for each in found):
            rows.append(tuple(each[0] for each in found))
        else:
            rows += product(*found)
    return Tuples(tuple(names), tuple(rows))


# What is no single field.


def _status(match: Json) -> Expr:
    """`ct status`: two bits are fields of their own, the others opaque; exact values are as well.

    Every connection has other bits, too (confirmed, seen-reply): equal to `dnat` alone it seldom is.
    """
    try:
        bits = values.bit_value(words.CT_STATUS, match["right"])
    except Unclear:
        bits = 0
    if match["op"] not in ("in", "!") or not bits:
        return And((TRACKED, Lit(fields.opaque(_text(match)), ((1, 1),))))
    parts = [Lit(_status_field(1 << n), ((1, 1),)) for n in range(32) if bits >> n & 1]
    one: Expr = parts[0] if len(parts) == 1 else Or(tuple(parts))
    return And((TRACKED, Not(one) if match["op"] == "!" else one))


def _status_field(bit: int) -> str:
    names = {words.CT_STATUS[name]: name for name in ("dnat", "snat")}
    return names.get(bit) or fields.opaque(f"ct status {bit}")


def _time(match: Json) -> Expr:
    """Seconds since 1970, UTC. The kernel compares nanoseconds: `<= N` ends with N's first one."""
    operator, right = match["op"], match["right"]
    last = fields.universe("time")[0][1]
    bounds: list[Interval]
    if operator == "==" and isinstance(right, dict) and "range" in right:
        first, end = right["range"]
        bounds = [(_moment(first), _moment(end) - 1)]
    elif operator in ("<", "<="):
        bounds = [(0, _moment(right) - 1)]
    elif operator in (">", ">="):
        bounds = [(_moment(right), last)]
    else:
        return Lit(fields.opaque(_text(match)), ((1, 1),))
    return Lit("time", tuple(each for each in bounds if each[0] <= each[1]))


def _moment(text: Json) -> int:
    if isinstance(text, int):
        return text
    from calendar import timegm  # noqa: PLC0415
    from time import strptime  # noqa: PLC0415

    return timegm(strptime(text, "%Y-%m-%d %H:%M:%S"))
