"""Groups too large for a rule each as ipsets (ipset(8)), and those that are filled at run time.

A set that the rules know is never emptied: members go into a second one, which then takes its place.
"""

from __future__ import annotations

from fwpolicy.addresses import BITS, format_address, prefix_length, prefixes
from fwpolicy.backends.iptables import names
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.ir.ruleset import Address, DynamicSet, PerSource, Set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.ir.ruleset import Table

# Of so many ranges a rule each: old hosts have no ipset, and a handful of rules costs as much as a look-up.
EXPANDED = 8
# A set in the kernel grows up to this; it takes no memory before it is full.
MOST = 1048576
_FAMILIES = {4: "inet", 6: "inet6"}


class IpSets:
    """The sets of a table, and which of them are used."""

    def __init__(self, table: Table) -> None:
        self._known = {each.name: each for each in table.sets}
        self._static: dict[str, tuple[int, Intervals]] = {}
        limits = {
            match.set_name
            for chain in table.chains
            for rule in chain.rules
            for match in rule.matches
            if isinstance(match, PerSource)
        }
        self._dynamic = [
            each for each in table.sets if isinstance(each, DynamicSet) and each.name not in limits
        ]

    def members(self, match: Address) -> Intervals | None:
        """What the match looks for; None for a set that is filled at run time."""
        if match.set_name is None:
            return match.intervals
        known = self._known[match.set_name]
        return known.intervals if isinstance(known, Set) else None

    def static(self, match: Address, intervals: Intervals) -> str:
        """The name of a set of `intervals`."""
        count = sum(len(elements(match.family, interval)) for interval in intervals)
        if count > MOST:
            raise CannotSayError(f"a set takes {MOST} prefixes, and this one has {count}")
        name = names.static_set(match.set_name or "addresses", (match.family, intervals))
        self._static[name] = (match.family, intervals)
        return name

    def dynamic(self, match: Address) -> str:
        """The name of a set that is filled at run time."""
        name = names.dynamic_set(match.set_name or "")
        if name is None:
            raise CannotSayError(f"'{match.set_name}' is too long a name for a set", "a shorter name")
        return name

    def text(self) -> str:
        """What `ipset restore` is given, any number of times; "" where no set is needed."""
        lines = [line for each in self._dynamic for line in _filled_by_others(each)]
        for name, (family, intervals) in sorted(self._static.items()):
            lines += _filled(name, family, intervals)
        return "\n".join(lines)


def network_text(family: int, first: int, last: int) -> str | None:
    """An address or a prefix as text; None for what is neither."""
    length = prefix_length(family, (first, last))
    if length is None:
        return None
    return format_address(family, first) + ("" if length == BITS[family] else f"/{length}")


def _filled_by_others(each: DynamicSet) -> list[str]:
    name = names.dynamic_set(each.name)
    if name is None:
        return []
    timeout = "" if each.timeout is None else f" timeout {each.timeout}"
    return [f"create {name} hash:ip family {_FAMILIES[each.family]} maxelem {each.size}{timeout} -exist"]


def _filled(name: str, family: int, intervals: Intervals) -> list[str]:
    new = f"{name}-n"
    kind = f"hash:net family {_FAMILIES[family]} maxelem {MOST} -exist"
    members = [text for interval in intervals for text in elements(family, interval)]
    return [
        f"create {name} {kind}",
        f"create {new} {kind}",
        f"flush {new}",
        *(f"add {new} {text}" for text in members),
        f"swap {new} {name}",
        f"destroy {new}",
    ]


def elements(family: int, interval: tuple[int, int]) -> list[str]:
    """An interval as prefixes: hash:net takes no ranges of IPv6, and none of length 0."""
    found = prefixes(family, interval)
    if found == ((0, 0),):
        half = 1 << (BITS[family] - 1)
        found = ((0, 1), (half, 1))
    return [
        format_address(family, network) + ("" if length == BITS[family] else f"/{length}")
        for network, length in found
    ]
