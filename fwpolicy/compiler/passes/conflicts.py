"""Whether one rule may be moved before another: only where no packet meets both."""

from __future__ import annotations

from fwpolicy.ir.ruleset import Address, AnyPort, IcmpType, L4Proto, Nfproto, PerSource, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Intervals
    from fwpolicy.ir.ruleset import Rule

FAMILIES = frozenset((4, 6))
_ANY_PORT = (1 << 65536) - 1
# More single addresses than this are not looked at one by one.
_FEW = 64


class Reach:
    """No less than the packets that a rule matches: families, protocols, destination ports, sources.

    `protocols` None: any. `ports`: a bit for each destination port; all, where there may be none. `sources`
    None: any; otherwise single addresses.
    """

    __slots__ = ("families", "ports", "protocols", "sources")

    def __init__(self, rule: Rule) -> None:
        self.families: frozenset[int] = FAMILIES
        self.protocols: frozenset[int] | None = None
        self.ports = _ANY_PORT
        self.sources: tuple[int, ...] | None = None
        for match in rule.matches:
            match match:
                case Nfproto(family) | PerSource(family):
                    self.families &= {family}
                case Address():
                    self.families &= {match.family}
                    self._source(match)
                case L4Proto(protocols):
                    self._only(protocols)
                case IcmpType(protocol):
                    self._only((protocol,))
                    self.families &= {4 if protocol == 1 else 6}
                case Port(protocol, side, ports):
                    self._only((protocol,))
                    self._ports(side, ports)
                case AnyPort(protocols, side, ports):
                    self._only(protocols)
                    self._ports(side, ports)
                case _:
                    pass

    def _only(self, protocols: Iterable[int]) -> None:
        mine = frozenset(protocols)
        self.protocols = mine if self.protocols is None else self.protocols & mine

    def _ports(self, side: str, ports: Intervals) -> None:
        if side == "dport":
            self.ports &= mask(ports)

    def _source(self, match: Address) -> None:
        plain = match.side == "saddr" and not (match.negated or match.original or match.set_name)
        if plain and len(match.intervals) <= _FEW and all(a == b for a, b in match.intervals):
            self.sources = tuple(first for first, _ in match.intervals)


class Passed:
    """The reach of many rules together; what it says of one more is at least as much as is true."""

    def __init__(self) -> None:
        # (family, protocol or None) -> [destination ports, sources or None for any]
        self._known: dict[tuple[int, int | None], tuple[int, set[int] | None]] = {}

    def add(self, reach: Reach) -> None:
        for family in reach.families:
            for protocol in (None,) if reach.protocols is None else reach.protocols:
                ports, sources = self._known.get((family, protocol), (0, set()))
                if sources is not None:
                    if reach.sources is None:
                        sources = None
                    else:
                        sources.update(reach.sources)
                self._known[family, protocol] = (ports | reach.ports, sources)

    def meets(self, reach: Reach) -> bool:
        """Whether some packet may match both `reach` and one of those added."""
        for (family, protocol), (ports, sources) in self._known.items():
            if family not in reach.families:
                continue
            if None not in (protocol, reach.protocols) and protocol not in (reach.protocols or ()):
                continue
            if not ports & reach.ports:
                continue
            apart = sources is not None and reach.sources is not None and sources.isdisjoint(reach.sources)
            if not apart:
                return True
        return False


def mask(ports: Intervals) -> int:
    """A bit for each port."""
    found = 0
    for first, last in ports:
        found |= (1 << (last + 1)) - (1 << first)
    return found
