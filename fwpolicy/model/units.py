"""What lint judges as a whole: a rule, or all the rules that one line of a policy is."""

from __future__ import annotations

from fwpolicy.model.program import Verdict
from fwpolicy.model.steps import REASONS, Step
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.program import Decided, Program, Rule

RETURN = "return"
# Steps that run before any line, for nearly every packet: whatever a line matches, they take some of it.
BACKGROUND = ("loopback", "invalid", "established", "essential")


class Unit:
    """A rule or a policy's line, and what was seen of it. `reported`: the user wrote it."""

    def __init__(self, number: int, *, reported: bool) -> None:
        self.number = number
        self.reported = reported
        self.rules: list[Rule] = []
        self.entered = self.matched = self.reached = self.changed = False
        # Who takes its packets, before it or in its place.
        self.others: dict[tuple[int, str], Decided] = {}


@record
class Item:
    """A unit's rules in a row of one chain."""

    unit: Unit
    rules: tuple[Rule, ...]


def grouped(program: Program) -> tuple[list[Unit], dict[str, list[Item]]]:
    """(the units, the items of each chain)."""
    units: list[Unit] = []
    lines: dict[object, Unit] = {}
    chains: dict[str, list[Item]] = {}
    for chain in program.chains.values():
        items = chains.setdefault(chain.name, [])
        for rule in chain.rules:
            line = _line(rule)
            unit = lines.get(line) if line else None
            if unit is None:
                unit = Unit(len(units), reported=line is not None or not isinstance(rule.origin, Step))
                units.append(unit)
                if line:
                    lines[line] = unit
            unit.rules.append(rule)
            if items and items[-1].unit is unit:
                items[-1] = Item(unit, (*items[-1].rules, rule))
            else:
                items.append(Item(unit, (rule,)))
    return units, chains


def _line(rule: Rule) -> object:
    """The policy's line that a rule is a leg of; None for rules of other programs, and for those that the
    user did not write as a line."""
    step = rule.origin
    if not isinstance(step, Step) or step.step not in ("allow", "block") or step.reason != REASONS[step.step]:
        return None
    return step.step, step.origin


def is_background(decided: object) -> bool:
    """Whether that is a step before the lines of a policy."""
    rule = getattr(decided, "rule", None)
    return rule is not None and isinstance(rule.origin, Step) and rule.origin.step in BACKGROUND


def word_of(rule: Rule) -> str:
    """What a rule does, in a word."""
    return word(rule.action.kind) if isinstance(rule.action, Verdict) else RETURN


def word(kind: str) -> str:
    """A verdict without what a reject answers."""
    return kind.partition(":")[0]
