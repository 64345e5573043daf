"""Whether one rule may be moved before others: only where no packet meets both.

Never too sure: what is not understood of a rule counts as matching everything.
"""

from __future__ import annotations

from bisect import bisect_left

from fwpolicy.ir.ruleset import Address, AnyPort, IcmpType, L4Proto, Nfproto, PerSource, Port
from fwpolicy.protocols import NAMES
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.ir.ruleset import Match, Rule

    Numbers = frozenset[int] | None

# So many destination ports are looked at one by one.
_FEW = 8
# Families, and the protocols of ports and ICMP types.
_ONE = {number: frozenset((number,)) for number in (4, 6, *NAMES)}


@record
class Reach:
    """No less than the packets that a rule matches; None: any. `ports`: destination ports, if few."""

    families: Numbers
    protocols: Numbers
    ports: Numbers
    sources: Intervals | None
    destinations: Intervals | None


def reach(rule: Rule) -> Reach:
    """What the headers that `rule` looks at say of the packets that it may match."""
    families: Numbers = None
    protocols: Numbers = None
    ports: Numbers = None
    sides: dict[str, Intervals] = {}
    for match in rule.matches:
        if isinstance(match, Address):
            families = _both(families, _ONE[match.family])
            if not (match.negated or match.original or match.set_name):
                sides[match.side] = match.intervals
            continue
        if isinstance(match, Port | AnyPort) and match.side == "dport":
            ports = _few(match.ports)
        families = _both(families, _families(match))
        protocols = _both(protocols, _protocols(match))
    return Reach(families, protocols, ports, sides.get("saddr"), sides.get("daddr"))


def _both(one: Numbers, other: Numbers) -> Numbers:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _families(match: Match) -> Numbers:
    match match:
        case Nfproto(family) | PerSource(family):
            return _ONE[family]
        case IcmpType(protocol):
            return _ONE[4 if protocol == 1 else 6]
        case _:
            return None


def _protocols(match: Match) -> Numbers:
    match match:
        case Port(protocol) | IcmpType(protocol):
            return _ONE[protocol]
        case L4Proto(protocols) | AnyPort(protocols):
            return frozenset(protocols)
        case _:
            return None


def _few(ports: Intervals) -> Numbers:
    if len(ports) == 1 and ports[0][0] == ports[0][1]:
        return frozenset((ports[0][0],))
    if sum(last - first + 1 for first, last in ports) > _FEW:
        return None
    return frozenset(port for first, last in ports for port in range(first, last + 1))


class Passed:
    """The rules that one joining the rule `begun` would have to pass."""

    def __init__(self, begun: Reach) -> None:
        self._begun = begun
        # By destination port; None: those of many ports, or any. And all together, once that is asked.
        self._cells: dict[int | None, _Cell] = {}
        self._all = _Cell()
        self._waiting: list[Reach] = []

    def add(self, other: Reach) -> None:
        if _apart(self._begun.families, other.families) or _apart(self._begun.protocols, other.protocols):
            return
        self._waiting.append(other)
        for port in (None,) if other.ports is None else other.ports:
            cell = self._cells.get(port)
            if cell is None:
                cell = self._cells[port] = _Cell()
            cell.add(other)

    def meets(self, mine: Reach) -> bool:
        """Whether some packet may match both `mine` and one of those added."""
        if mine.ports is None:
            while self._waiting:
                self._all.add(self._waiting.pop())
            return self._all.meets(mine)
        cells = [self._cells[port] for port in (None, *mine.ports) if port in self._cells]
        return any(cell.meets(mine) for cell in cells)


class _Cell:
    """The addresses of many rules together, each side by itself."""

    __slots__ = ("_destinations", "_sources")

    def __init__(self) -> None:
        self._sources: _Union | None = None
        self._destinations: _Union | None = None

    def add(self, other: Reach) -> None:
        self._sources = _joined(self._sources, other.sources)
        self._destinations = _joined(self._destinations, other.destinations)

    def meets(self, mine: Reach) -> bool:
        if self._sources is None or self._destinations is None:
            return False
        return self._sources.meets(mine.sources) and self._destinations.meets(mine.destinations)


class _Union:
    """Merged intervals that grow together; the two families' numbers may collide, on the safe side."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Intervals) -> None:
        self._firsts = [first for first, _ in intervals]
        self._lasts = [last for _, last in intervals]

    def add(self, intervals: Intervals) -> None:
        for first, last in intervals:
            begin, end = bisect_left(self._lasts, first), bisect_left(self._firsts, last + 1)
            if begin < end:
                first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])  # noqa: PLW2901
            self._firsts[begin:end] = [first]
            self._lasts[begin:end] = [last]

    def meets(self, intervals: Intervals | None) -> bool:
        if intervals is None:
            return bool(self._firsts)
        return any(
            bisect_left(self._lasts, first) < bisect_left(self._firsts, last + 1) for first, last in intervals
        )


class _Anything(_Union):
    """Every address; most cells hold it on one side, so it is there once."""

    __slots__ = ()

    def add(self, intervals: Intervals) -> None:
        pass

    def meets(self, intervals: Intervals | None) -> bool:  # noqa: ARG002
        return True


_ANYTHING = _Anything(())


def _joined(union: _Union | None, intervals: Intervals | None) -> _Union:
    if intervals is None:
        return _ANYTHING
    if union is None:
        return _Union(intervals)
    union.add(intervals)
    return union


def _apart(one: Numbers, other: Numbers) -> bool:
    return one is not None and other is not None and one.isdisjoint(other)
