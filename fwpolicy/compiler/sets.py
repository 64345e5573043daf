"""Address matches, and the named sets behind them."""

from __future__ import annotations

from fwpolicy.addresses import BITS, AddressSet
from fwpolicy.ir.ruleset import Address, Match, Nfproto, Set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals


class Sets:
    """Collects the named sets of a table; the same name with other members gets a number."""

    def __init__(self) -> None:
        self._by_name: dict[str, Set] = {}

    @property
    def all(self) -> tuple[Set, ...]:
        return tuple(self._by_name.values())

    def match(
        self, family: int, side: str, addresses: AddressSet, name: str | None, negated: bool = False
    ) -> Match:
        """`addresses` of `family` as one match: the family alone, a named set, or in place."""
        intervals = addresses.of(family)
        if is_whole(family, intervals):
            return Nfproto(family)
        if name is None:
            return Address(family, side, intervals, negated=negated)
        return Address(family, side, set_name=self._named(name, family, intervals), negated=negated)

    def _named(self, name: str, family: int, intervals: Intervals) -> str:
        number = 1
        while True:
            candidate = f"{name}_v{family}" if number == 1 else f"{name}_v{family}_{number}"
            known = self._by_name.setdefault(candidate, Set(candidate, family, intervals))
            if known.family == family and known.intervals == intervals:
                return candidate
            number += 1


def is_whole(family: int, intervals: Intervals) -> bool:
    """Every address of the family."""
    return intervals == ((0, (1 << BITS[family]) - 1),)
