"""Places in policies, as messages tell them: with the line itself, read where it came from."""

from __future__ import annotations

from fwpolicy.deploy.counters import line_texts
from fwpolicy.model.steps import Step
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Problem, Span
    from fwpolicy.fleet.unit import Reading
    from fwpolicy.model.program import Rule


def located(problem: Problem, reading: Reading) -> str:
    """The problem with its source line."""
    if problem.text is None and problem.span is not None:
        problem = replace(problem, text=line_of(problem.span, reading) or None)
    return problem.render()


def decider(rule: Rule | None, reading: Reading) -> str:
    """What decides: the policy's line with its place, else the step."""
    origin = rule.origin if rule else None
    if not isinstance(origin, Step):
        return "nobody: the policy leaves it to others"
    span = origin.origin
    if span is None:
        return f"step {origin.step}: {origin.reason}"
    return f"{span.file}:{span.line}: {line_of(span, reading).strip()}"


def line_of(span: Span, reading: Reading) -> str:
    """The line at `span`, "" where it cannot be read."""
    return line_texts(reading.tree.read)(span)
