"""Differences of traffic, for people and for programs (docs/cli.md)."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.model.concrete import to_packet
from fwpolicy.model.program import spoken
from fwpolicy.model.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Decided

# More classes than these of one change are not shown: --json has them all.
SHOWN = 3


def as_text(found: Sequence[Change], *, counted: bool = True) -> list[str]:
    """A heading for each direction, and below it the changes with who decides and an example. `counted`:
    every class is there."""
    lines = []
    for what in dict.fromkeys(change.what for change in found):
        lines.append(f"newly {what}")
        lines += [line for change in found if change.what == what for line in _change(change, counted)]
    return lines


def _change(change: Change, counted: bool) -> list[str]:
    lines = [f"  {line}" for line in change.classes[:SHOWN]]
    if len(change.classes) > SHOWN:
        more = len(change.classes) - SHOWN
        lines.append(f"  ... and {more} more classes" if counted else "  ... and more: --json has them all")
    return [
        *lines,
        f"      now {spoken(change.new.kind)} by {_decider(change.new)}",
        f"      before {spoken(change.old.kind)} by {_decider(change.old)}",
        f"      for example: {to_packet(change.hook, change.packet)}",
    ]


def _decider(decided: Decided) -> str:
    rule = decided.rule
    if rule is None:
        return f"the policy of chain {decided.chain}" if decided.chain else "nobody"
    if not isinstance(rule.origin, Step):
        return str(rule.where)
    span = rule.origin.origin
    return f"step {rule.origin.step}" if span is None else operands.quoted(span)


def as_json(found: Sequence[Change]) -> list[dict[str, object]]:
    return [
        {
            "now": change.what,
            "hook": change.hook,
            "classes": list(change.classes),
            "old": {"verdict": change.old.kind, "by": _decider(change.old)},
            "new": {"verdict": change.new.kind, "by": _decider(change.new)},
            "packet": str(to_packet(change.hook, change.packet)),
        }
        for change in found
    ]
