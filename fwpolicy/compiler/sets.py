"""Address matches, and the named sets behind them."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, AddressSet
from fwpolicy.addresslists import compact
from fwpolicy.ir.ruleset import Address, DynamicSet, Match, Nfproto, Set
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.policy.model import DynamicGroup


class Sets:
    """Collects the named sets of a table; the same name with other members gets a number.

    `dynamic` groups come first: their names are for scripts to fill, and never change.
    """

    def __init__(self, dynamic: tuple[DynamicGroup, ...] = ()) -> None:
        self._by_name: dict[str, Set | DynamicSet] = {}
        for group in dynamic:
            for family in (4, 6):
                self.fresh(DynamicSet(f"{group.name}_v{family}", family, group.timeout))

    @property
    def all(self) -> tuple[Set | DynamicSet, ...]:
        return tuple(self._by_name.values())

    def match(
        self,
        family: int,
        side: str,
        addresses: AddressSet,
        name: str | None,
        negated: bool = False,
        original: bool = False,
    ) -> Match:
        """`addresses` of `family` as one match: the family alone, a named set, or in place."""
        intervals = addresses.of(family)
        if is_whole(family, intervals):
            return Nfproto(family)
        if name is None:
            return Address(family, side, intervals, None, negated, original)
        return Address(family, side, (), self._named(name, family, intervals), negated, original)

    def fresh(self, wanted: DynamicSet) -> str:
        """The name of a new set like `wanted`, filled at run time. Never one that is there, however alike:
        whom a limit counts is not whom a group lets in."""
        number, name = 1, wanted.name
        while name in self._by_name:
            number += 1
            name = f"{wanted.name}_{number}"
        self._by_name[name] = replace(wanted, name=name)
        return name

    def _named(self, name: str, family: int, intervals: Intervals) -> str:
        number, intervals = 1, compact(family, intervals)
        while True:
            candidate = f"{name}_v{family}" if number == 1 else f"{name}_v{family}_{number}"
            known = self._by_name.setdefault(candidate, Set(candidate, family, intervals))
            if isinstance(known, Set) and known.family == family and known.intervals == intervals:
                return candidate
            number += 1


def is_whole(family: int, intervals: Intervals) -> bool:
    """Every address of the family."""
    return intervals == (EVERYWHERE.v4 if family == 4 else EVERYWHERE.v6)
