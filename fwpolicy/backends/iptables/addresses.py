"""Address and interface matches in iptables' words: alternatives, one of which a packet meets.

iptables takes `-s`, `-d`, `-i` and `-o` once a rule; a second condition on an address is said with iprange,
one on an interface is worked out here.
"""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, format_address, subtract
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.backends.iptables.sets import EXPANDED, IpSets, elements, network_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.ir.ruleset import Address, Interface

# (where it stands in a rule: "header" or "match", its text)
Part = tuple[str, str]
Alternatives = list[tuple[Part, ...]]

_OPTIONS = {"saddr": "-s", "daddr": "-d", "iifname": "-i", "oifname": "-o"}
_SIDES = {"saddr": "src", "daddr": "dst"}
# More rules than these for the address that was first asked for help nobody; no ipset looks at it.
_MOST_ORIGINAL = 64


def addresses(sets: IpSets, match: Address, first: bool) -> Alternatives:
    """`first`: no other match of the rule has taken this side's option."""
    intervals = sets.members(match)
    if match.original:
        return _original(match, intervals)
    if intervals is None:
        return [_in_set(sets.dynamic(match), match)]
    if match.negated and len(intervals) == 1:
        return [(_within(match, intervals[0], first),)]
    wanted = subtract(EVERYWHERE.of(match.family), intervals) if match.negated else intervals
    if len(wanted) > EXPANDED:
        return [_in_set(sets.static(match, intervals), match)]
    plain = first and not match.negated
    return [(_within(match, each, plain, negated=False),) for each in wanted]


def _in_set(name: str, match: Address) -> tuple[Part, ...]:
    bang = "! " if match.negated else ""
    return (("match", f"-m set {bang}--match-set {name} {_SIDES[match.side]}"),)


def _within(match: Address, interval: Interval, option: bool, negated: bool | None = None) -> Part:
    bang = "! " if (match.negated if negated is None else negated) else ""
    network = network_text(match.family, *interval)
    if option and network is not None:
        return "header", f"{bang}{_OPTIONS[match.side]} {network}"
    first, last = (format_address(match.family, each) for each in interval)
    return "match", f"-m iprange {bang}--{_SIDES[match.side]}-range {first}-{last}"


def _original(match: Address, intervals: Intervals | None) -> Alternatives:
    """What the connection's first packet asked for. conntrack's match knows networks only."""
    if intervals is None or match.negated:
        raise CannotSayError("'published' cannot look up the address first asked for in a dynamic group")
    found = [text for each in intervals for text in elements(match.family, each)]
    if len(found) > _MOST_ORIGINAL:
        raise CannotSayError(
            f"'published' takes at most {_MOST_ORIGINAL} prefixes as the address first asked for"
        )
    return [(("match", f"-m conntrack --ctorigdst {text}"),) for text in found]


def interfaces(matches: Iterable[Interface]) -> Alternatives:
    """All of `matches`, which are about one direction."""
    wanted: list[str] | None = None
    unwanted: list[str] = []
    key = ""
    for match in matches:
        key = match.key
        if match.negated:
            unwanted += match.names
        elif wanted is None:
            wanted = list(match.names)
        else:
            pairs = (_both(one, other) for one in wanted for other in match.names)
            wanted = list(dict.fromkeys(name for name in pairs if name is not None))
    if wanted is None:
        return [_without(key, unwanted)] if unwanted else [()]
    return [(("header", f"{_OPTIONS[key]} {_name(each)}"),) for each in wanted if _is_left(each, unwanted)]


def _without(key: str, unwanted: list[str]) -> tuple[Part, ...]:
    if len(unwanted) > 1:
        raise CannotSayError("an interface that is none of several cannot be said here")
    return (("header", f"! {_OPTIONS[key]} {_name(unwanted[0])}"),)


def _is_left(name: str, unwanted: list[str]) -> bool:
    if any(_covers(each, name) for each in unwanted):
        return False
    if any(_covers(name, each) for each in unwanted):
        raise CannotSayError(f"'{name}' but not one of its interfaces cannot be said")
    return True


def _both(one: str, other: str) -> str | None:
    if _covers(one, other):
        return other
    return one if _covers(other, one) else None


def _covers(pattern: str, name: str) -> bool:
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def _name(name: str) -> str:
    """A last "+" means a prefix to iptables; no name in a policy ends in one, or begins with "!"
    (policy/zones.py)."""
    return f"{name[:-1]}+" if name.endswith("*") else name
