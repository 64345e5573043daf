"""Lines that say nothing new: warnings, for what is harmless and still hardly meant."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, AddressSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.errors import Span
    from fwpolicy.policy.model import Match, Rule
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.services import Service

# How warnings begin that say of a whole line what lint would say again.
SAID = (
    *("this line says what", "this line has no effect", "this line matches nothing"),
    "this exception covers its whole line",
)
_NONE: frozenset[object] = frozenset()


def warn_of_repeats(allow: tuple[Rule, ...], block: tuple[Rule, ...], names: Names) -> None:
    """Lines of one section that are there twice, and allowed ones that a blocked one beats."""
    blocked: dict[object, Rule] = {}
    for rule in block:
        first = blocked.setdefault(_whole(rule), rule)
        if first is not rule:
            names.warn(f"this line says what {first.origin} says", rule.origin)
    allowed: dict[object, Rule] = {}
    for rule in allow:
        first = allowed.setdefault(_whole(rule), rule)
        if first is not rule:
            names.warn(f"this line says what {first.origin} says", rule.origin)
        elif blocked:
            beating = blocked.get((_meaning(rule.match), rule.families, _NONE, None, None))
            if beating is not None:
                names.warn(f"this line has no effect: block beats allow, at {beating.origin}", rule.origin)


def warn_of_hole(span: Span, hole: Match, match: Match, names: Names) -> None:
    """An exception that takes the whole line away, or nothing of it."""
    if match.incoming or match.outgoing or hole.incoming or hole.outgoing:
        from fwpolicy.policy.zones import overlap  # noqa: PLC0415  (most lines name no zone)

        if not (overlap(match.incoming, hole.incoming) and overlap(match.outgoing, hole.outgoing)):
            names.warn("this exception is outside of its line's zones, so it excepts nothing", span)
            return
    sides = tuple(zip(_sides(match), _sides(hole), strict=True))
    known = not (match.source_dynamic or match.destination_dynamic)
    if known and not (hole.source_dynamic or hole.destination_dynamic):
        for here, there in sides:
            if here and there and _outside(here, there):
                names.warn("this exception is outside of its line's addresses, so it excepts nothing", span)
                return
    if known and _covers(hole, match) and all(_within(here, there) for here, there in sides):
        names.warn("this exception covers its whole line, which then matches nothing", span)


def _covers(hole: Match, match: Match) -> bool:
    """Whether `hole` covers `match`, but for the addresses."""
    beside = (match.sports, hole.sports), (match.incoming, hole.incoming), (match.outgoing, hole.outgoing)
    same = all(theirs is None or mine == theirs for mine, theirs in beside)
    return same and match.published == hole.published and _serves(match.services, hole.services)


def _whole(rule: Rule) -> object:
    return _meaning(rule.match), rule.families, _holes(rule), rule.limit, rule.expires


def _meaning(match: Match) -> tuple[object, ...]:
    """In numbers and texts: they are found among ten thousand without a call for each record."""
    services = match.services
    served = services and (_served(services[0]) if len(services) == 1 else frozenset(map(_served, services)))
    # A group's name and not its addresses: a thousand lines may name one of a hundred thousand.
    addresses = (
        match.source_group or _members(match.source),
        match.destination_group or _members(match.destination),
    )
    dynamic = match.source_dynamic, match.destination_dynamic
    return served, addresses, dynamic, match.sports, match.incoming, match.outgoing, match.published


def _served(service: Service) -> tuple[object, ...]:
    return service.protocol, service.ports, service.icmp_types, service.family


def _members(addresses: AddressSet | None) -> tuple[Intervals, Intervals] | None:
    return None if addresses is None else (addresses.v4, addresses.v6)


def _holes(rule: Rule) -> frozenset[object]:
    return frozenset(_meaning(hole) for hole in rule.holes) if rule.holes else _NONE


def _sides(match: Match) -> tuple[AddressSet, AddressSet]:
    everywhere = (EVERYWHERE if part is None else part for part in (match.source, match.destination))
    source, destination = everywhere
    return source, destination


def _within(part: AddressSet, whole: AddressSet) -> bool:
    """Ends at the first interval that is not: most exceptions are a few of many addresses."""
    return all(
        _touching(whole.of(family), interval) == interval for family in (4, 6) for interval in part.of(family)
    )


def _outside(one: AddressSet, other: AddressSet) -> bool:
    for family in (4, 6):
        few, many = sorted((one.of(family), other.of(family)), key=len)
        if any(_touched(many, interval) for interval in few):
            return False
    return True


def _touched(intervals: Intervals, interval: Interval) -> bool:
    first, last = _touching(intervals, interval)
    return first <= last


def _touching(intervals: Intervals, interval: Interval) -> Interval:
    """What the first of `intervals` that ends at or after `interval`'s start has in common with it."""
    low, high = 0, len(intervals)
    while low < high:
        middle = (low + high) // 2
        if intervals[middle][1] < interval[0]:
            low = middle + 1
        else:
            high = middle
    if low == len(intervals):
        return 1, 0
    return max(intervals[low][0], interval[0]), min(intervals[low][1], interval[1])


def _serves(wanted: tuple[Service, ...] | None, excepted: tuple[Service, ...] | None) -> bool:
    """Whether every service of `wanted` is named in `excepted` too."""
    return excepted is None or (wanted is not None and set(wanted) <= set(excepted))


def is_empty(match: Match) -> bool:
    """A group without members, now or at run time, matches nothing."""
    for addresses, dynamic in match.sides:
        if addresses is not None and not (addresses.v4 or addresses.v6 or dynamic):
            return True
    return False
