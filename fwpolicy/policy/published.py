"""`published` lines that keep nobody out: only `forward`, or a block, stops what is redirected."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Match, Rule, Section
    from fwpolicy.policy.names import Names

_HINT = "write forward: {default: drop}, or block it: published: true, and this line's conditions as 'except'"


def warn_of_open_doors(sections: tuple[Section, ...], names: Names) -> None:
    """Of each line that lets some in where all the others pass, too."""
    by_hook = {section.hook: section for section in sections}
    entry, passed_on = by_hook.get("input"), by_hook.get("forward")
    if entry is None or entry.default == "accept":
        return
    if passed_on and (passed_on.default != "accept" or passed_on.block):
        return
    lines = [rule for rule in entry.allow if rule.match.published and _is_for_some(rule)]
    closing = [rule.match for rule in entry.block if rule.match.published]
    why = "its default is accept" if passed_on else "there is none"
    for rule in lines:
        if not any(_same_ports(rule.match, each) for each in closing):
            message = f"where this is redirected to a container 'forward' lets everybody in: {why}"
            names.warn(message, rule.origin, _HINT)


def _is_for_some(rule: Rule) -> bool:
    """Whether it lets less in than everybody who asks, at any time."""
    match = rule.match
    somebody = any(addresses not in (None, EVERYWHERE) or dynamic for addresses, dynamic in match.sides)
    sometimes = rule.holes or rule.limit or rule.expires is not None
    return bool(somebody or sometimes or match.incoming or match.sports)


def _same_ports(one: Match, other: Match) -> bool:
    return any(
        here.protocol == there.protocol and first <= end and start <= last
        for here in one.services or ()
        for there in other.services or ()
        for first, last in here.ports
        for start, end in there.ports
    )
