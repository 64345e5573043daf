"""Who there is on a fleet's networks: the groups and zones that its policies name, and the Internet."""

from __future__ import annotations

from fwpolicy.addresses import AddressSet, subtract
from fwpolicy.model.conditions import address, interfaces
from fwpolicy.model.program import And, Not
from fwpolicy.policy.groups import built_in
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.model.program import Expr
    from fwpolicy.policy.vocabulary import Vocabulary

INTERNET, ZONE, GROUP = "internet", "zone", "group"


@record
class Place:
    """`meaning`: the addresses that the name stands for wherever it is used; None of a zone, and of a group
    that different policies take for different addresses."""

    name: str
    kind: str
    meaning: AddressSet | None = None


def places(vocabularies: Iterable[Vocabulary]) -> tuple[Place, ...]:
    """Every place that one of the policies names: the Internet, then zones, then groups, as they come."""
    zones: dict[str, None] = {}
    groups: dict[str, set[AddressSet]] = {}
    for names in vocabularies:
        zones |= dict.fromkeys(name for name, _ in names.zones)
        for name, addresses in names.groups:
            groups.setdefault(name, set()).add(addresses)
    found = [Place(INTERNET, INTERNET), *(Place(name, ZONE) for name in zones)]
    for name, meanings in groups.items():
        if name != INTERNET:
            found.append(Place(name, GROUP, next(iter(meanings)) if len(meanings) == 1 else None))
    return tuple(found)


class Ends:
    """The places as one policy knows them. `kept_out`: who is not meant by a zone."""

    def __init__(self, names: Vocabulary, kept_out: Expr) -> None:
        self._others = Not(kept_out)
        self._zones = dict(names.zones)
        self._groups = {name: addresses for name, addresses in names.groups if name != INTERNET}
        self._strangers = _without(built_in(INTERNET), self._groups.values())

    def end(self, place: Place, side: str) -> Expr | None:
        """What packets from the place ("saddr") or to it ("daddr") have; None where the policy cannot say."""
        if place.kind == ZONE:
            known = self._zones.get(place.name)
            if known is None:
                return None
            return (
                And((interfaces("iif", known), self._others)) if side == "saddr" else interfaces("oif", known)
            )
        addresses = self._addresses(place)
        return None if addresses is None else address(side, addresses)

    def knows(self, place: Place) -> bool:
        """Whether the policy itself names the place."""
        return place.kind == INTERNET or place.name in (self._zones if place.kind == ZONE else self._groups)

    def _addresses(self, place: Place) -> AddressSet | None:
        if place.kind == INTERNET:
            return self._strangers
        return self._groups.get(place.name, place.meaning)


def _without(whole: AddressSet, groups: Iterable[AddressSet]) -> AddressSet:
    """`whole` but for the groups, of which those that are all of it count for nothing."""
    for group in groups:
        left = AddressSet(subtract(whole.v4, group.v4), subtract(whole.v6, group.v6))
        if left.v4 and left.v6:
            whole = left
    return whole
