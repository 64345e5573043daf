"""Whether no packet can meet two lists of matches. "No" is always a safe answer."""

from __future__ import annotations

from bisect import bisect_left
from heapq import merge as merged

from fwpolicy.addresses import merge, subtract
from fwpolicy.backends.iptables.matches import protocols
from fwpolicy.ir.ruleset import Address, IcmpType, Interface, Match, Nfproto, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwpolicy.addresses import Intervals

    Matches = tuple[Match, ...]


def disjoint(one: Matches, other: Matches) -> bool:
    """By protocol, or by any one match of each."""
    first, second = protocols(one), protocols(other)
    if first is not None and second is not None and not first & second:
        return True
    return any(_apart(mine, theirs) for mine in one for theirs in other)


# More ports than these are looked at one by one: a range of thousands would be thousands of entries.
_FEW = 64


class Index:
    """Which of many lists of matches could be about the packets of another one; those about other ports are
    not even looked at."""

    def __init__(self, lists: Sequence[Matches]) -> None:
        self._lists = lists
        self._general: list[int] = []
        self._of_ports: dict[tuple[int, int], list[int]] = {}
        for place, matches in enumerate(lists):
            keys = _keys(matches)
            if keys is None:
                self._general.append(place)
            for key in keys or ():
                self._of_ports.setdefault(key, []).append(place)

    def first(self, matches: Matches, start: int) -> int:
        """The first place, from `start` on, that is not disjoint; how many there are, where none is."""
        for place in self._candidates(matches, start):
            if not disjoint(matches, self._lists[place]):
                return place
        return len(self._lists)

    def _candidates(self, matches: Matches, start: int) -> Iterable[int]:
        keys = _keys(matches)
        if keys is None:
            return range(start, len(self._lists))
        lists = [self._general, *(self._of_ports.get(key, []) for key in keys)]
        return merged(*(each[bisect_left(each, start) :] for each in lists))


def _keys(matches: Matches) -> list[tuple[int, int]] | None:
    """The (protocol, destination port) pairs that are all that a list is about; None where they are many."""
    for match in matches:
        if isinstance(match, Port) and match.side == "dport":
            if sum(last - first + 1 for first, last in match.ports) > _FEW:
                return None
            return [(match.protocol, port) for a, b in match.ports for port in range(a, b + 1)]
    return None


def _apart(one: Match, other: Match) -> bool:
    match one, other:
        case Port(protocol, side, ports), Port(also, other_side, more):
            return protocol == also and side == other_side and _no_common(merge(ports), merge(more))
        case IcmpType(protocol, types), IcmpType(also, more_types):
            return protocol == also and not set(types) & set(more_types)
        case Interface(key, names, False), Interface(other_key, more_names, False):
            return key == other_key and not any(_may_meet(a, b) for a in names for b in more_names)
        case Address(family, side, intervals, None, False, False), Address(
            also, other_side, more, None, False, False
        ):
            same = family == also and side == other_side
            return family != also or (same and _no_common(merge(intervals), merge(more)))
        case (
            (Nfproto(family), Nfproto(also))
            | (Nfproto(family), Address(also))
            | (
                Address(family),
                Nfproto(also),
            )
        ):
            return family != also
        case _:
            return False


def _no_common(one: Intervals, other: Intervals) -> bool:
    return subtract(one, other) == one


def _may_meet(one: str, other: str) -> bool:
    shorter, longer = sorted((one.rstrip("*"), other.rstrip("*")), key=len)
    if one.endswith("*") or other.endswith("*"):
        return longer.startswith(shorter)
    return one == other
