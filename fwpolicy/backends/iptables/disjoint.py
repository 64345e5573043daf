"""Whether no packet can meet two lists of matches. "No" is always a safe answer."""

from __future__ import annotations

from fwpolicy.addresses import merge, subtract
from fwpolicy.backends.iptables.matches import protocols
from fwpolicy.ir.ruleset import Address, IcmpType, Interface, Match, Nfproto, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    Matches = tuple[Match, ...]


def disjoint(one: Matches, other: Matches) -> bool:
    """By protocol, or by any one match of each."""
    first, second = protocols(one), protocols(other)
    if first is not None and second is not None and not first & second:
        return True
    return any(_apart(mine, theirs) for mine in one for theirs in other)


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


def _no_common(one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]) -> bool:
    return subtract(one, other) == one


def _may_meet(one: str, other: str) -> bool:
    shorter, longer = sorted((one.rstrip("*"), other.rstrip("*")), key=len)
    if one.endswith("*") or other.endswith("*"):
        return longer.startswith(shorter)
    return one == other
