"""A rule as keys of a map: what it looks for exactly, and what is left of it."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import product

from fwpolicy.ir.ruleset import Address, NtpMode, OriginalPort, Port, WithMemory
from fwpolicy.protocols import NAMES
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.ir.ruleset import Match, Rule

    Key = tuple[Interval, ...]

# What a map looks up, by (protocol or family, side).
_FIELDS = {(number, side): f"{name} {side}" for number, name in NAMES.items() for side in ("sport", "dport")}
_FIELDS |= {(4, side): f"ip {side}" for side in ("saddr", "daddr")}
_FIELDS |= {(6, side): f"ip6 {side}" for side in ("saddr", "daddr")}
# A rule of more keys is a set of its own already, and as an element no better.
_MOST = 64
_FEW = 8
# What depends on the order of the matches.
_ORDERED = NtpMode | OriginalPort | WithMemory


@record
class Keyed:
    """A rule taken apart: `fields` and `keys` for a map, `rest` for the rule that looks it up.

    `firsts`: what `keys` have in their first field. `exact`: a hash can hold the keys; else the map has
    intervals.
    """

    fields: tuple[str, ...]
    keys: tuple[Key, ...]
    firsts: Intervals
    rest: tuple[Match, ...]
    exact: bool


def shared(rules: Iterable[Rule]) -> frozenset[Match]:
    """Networks that many rules have in common, where all have few: better looked at once, before a hash."""
    counts: dict[Match, int] = {}
    for rule in rules:
        for match in rule.matches:
            if isinstance(match, Address) and _in_place(match) and not _single(match.intervals):
                counts[match] = counts.get(match, 0) + 1
                if len(counts) > _FEW:
                    return frozenset()
    return frozenset(match for match, count in counts.items() if count >= _FEW // 2)


def keyed(rule: Rule, beside: frozenset[Match] = frozenset()) -> Keyed | None:
    """None where the rule has no key, or depends on the order of its matches. `beside`: no key of a map."""
    fields: list[str] = []
    members: list[Intervals] = []
    rest: list[Match] = []
    count, exact = 1, True
    for match in rule.matches:
        if isinstance(match, Port):
            field = _FIELDS[match.protocol, match.side]
            values = _spelt(match.ports)
        elif isinstance(match, Address) and _in_place(match) and not (beside and match in beside):
            field, values = _FIELDS[match.family, match.side], match.intervals
        elif isinstance(match, _ORDERED):
            return None
        else:
            rest.append(match)
            continue
        if field in fields:
            return None
        fields.append(field)
        members.append(values)
        count *= len(values)
        exact = exact and _single(values)
    if not fields or not 0 < count <= _MOST:
        return None
    return Keyed(tuple(fields), tuple(product(*members)), members[0], tuple(rest), exact)


def _in_place(match: Address) -> bool:
    """A named set is a group of the policy: it stays, and is looked up beside the map."""
    return not (match.set_name or match.negated or match.original)


def _single(intervals: Intervals) -> bool:
    if len(intervals) == 1:
        ((first, last),) = intervals
        return first == last
    return all(first == last for first, last in intervals)


def _spelt(ports: Intervals) -> Intervals:
    """Short ranges port by port: a hash can hold them."""
    if _single(ports) or any(last - first >= _FEW // 2 for first, last in ports):
        return ports
    return tuple((port, port) for first, last in ports for port in range(first, last + 1))


def crowded(intervals: Iterable[Interval]) -> set[Interval]:
    """Those that meet another one."""
    found = set()
    farthest = (-1, -1)
    for each in sorted(intervals):
        if each[0] <= farthest[1]:
            found.add(each)
            found.add(farthest)
        if each[1] > farthest[1]:
            farthest = each
    return found


class Room:
    """The keys of one map, none of which may overlap another."""

    # Keys of one first field are compared one by one, up to so many.
    _MOST_ALIKE = 256

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.hash: set[Key] = set()
        self._firsts: list[Interval] = []
        self._alike: dict[Interval, list[Key]] = {}

    def overlapped(self, key: Key) -> bool:
        if self.exact:
            return key in self.hash
        same = self._alike.get(key[0])
        if same is not None:
            return len(same) >= self._MOST_ALIKE or any(_overlap(key[1:], other[1:]) for other in same)
        return any(_meet(key[0], near) for near in self._near(key[0]))

    def take(self, key: Key) -> None:
        if self.exact:
            self.hash.add(key)
            return
        alike = self._alike.get(key[0])
        if alike is not None:
            alike.append(key)
            return
        self._alike[key[0]] = [key]
        insort(self._firsts, key[0])

    def _near(self, interval: Interval) -> list[Interval]:
        """The neighbours, which overlap if any does."""
        where = bisect_left(self._firsts, interval)
        return self._firsts[max(where - 1, 0) : where + 1]


def _meet(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _overlap(one: Key, other: Key) -> bool:
    return all(_meet(a, b) for a, b in zip(one, other, strict=True))
