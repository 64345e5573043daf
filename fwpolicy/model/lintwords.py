"""What lint found, in words: of a policy's lines in the policy's words, of other rulesets in theirs."""

from __future__ import annotations

from fwpolicy.model.concrete import to_packet
from fwpolicy.model.program import Verdict
from fwpolicy.model.steps import Step
from fwpolicy.model.units import word, word_of
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.errors import Span
    from fwpolicy.model.lint import Finding
    from fwpolicy.model.program import Decided, Rule

# So many others are named in a message; reports for machines name all.
_NAMED = 3
_DOES = {"accept": "accepts", "drop": "drops", "reject": "rejects", "queue": "queues", "return": "returns"}


@record
class Place:
    """Where something is said: `column` is 0 where a whole line is meant, `line` where the file is."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        parts = (self.file, *(str(number) for number in (self.line, self.column) if number))
        return ":".join(parts)


@record
class Report:
    """A finding in words. `span`: of a policy's line. `packet`: PACKET syntax, "" where none is shown."""

    kind: str
    message: str
    at: Place
    span: Span | None
    others: tuple[Place, ...]
    packet: str


def report(finding: Finding) -> Report:
    """The finding in words."""
    first = finding.rules[0]
    step = first.origin if isinstance(first.origin, Step) else None
    rules = (other.rule for other in finding.others if other.rule is not None)
    places = tuple(dict.fromkeys(_place_of(rule) for rule in rules if _is_written(rule)))
    packet = str(to_packet(finding.hook, finding.packet)) if finding.packet is not None else ""
    message = _of_line(finding, step) if step else _of_rule(finding, packet)
    span = step.origin if step else None
    return Report(finding.kind, message, _place_of(first), span, places, packet)


def _is_written(rule: Rule) -> bool:
    """Whether somebody wrote it: steps of the language have no line."""
    return not isinstance(rule.origin, Step) or rule.origin.origin is not None


def _place(decided: Decided) -> Place:
    if decided.rule is not None:
        return _place_of(decided.rule)
    return Place(decided.chain, 0, 0, f"policy {word(decided.kind)}")


def _place_of(rule: Rule) -> Place:
    step = rule.origin
    if isinstance(step, Step) and step.origin is not None:
        return Place(step.origin.file, step.origin.line, step.origin.column, "")
    return Place(rule.where.file, rule.where.line, 0, f"{rule.where.chain}: {rule.where.text}")


# A policy's lines.


def _of_line(finding: Finding, step: Step) -> str:
    if finding.kind == "never-matches":
        return "this line matches nothing: there is no such packet"
    by = _and(dict.fromkeys(map(_line_does, finding.others)))
    if finding.kind in ("shadowed", "redundant"):
        return f"this line adds nothing: {by}"
    if finding.kind == "contradicted" and step.step == "allow" and all(map(_is_block, finding.others)):
        places = _and(dict.fromkeys(str(_place(each)) for each in finding.others))
        return f"this line has no effect: block beats allow, at {places}"
    return f"this line has no effect: {by}"


def _is_block(decided: Decided) -> bool:
    step = decided.rule.origin if decided.rule else None
    return isinstance(step, Step) and step.step == "block"


def _line_does(decided: Decided) -> str:
    """Who does what to packets of the line."""
    step = decided.rule.origin if decided.rule else None
    does = _DOES.get(word(decided.kind), word(decided.kind))
    if not isinstance(step, Step):
        return f"what is left to others is {word(decided.kind)}ed"
    if step.step in ("allow", "block"):
        return f"{'allowed' if step.step == 'allow' else 'blocked'} at {step.origin}"
    if step.step == "default":
        return f"the default {does} it, at {step.origin}"
    if step.origin is not None:
        return f"the role {does} it, at {step.origin}"
    return f"step {step.step} {does} it before any line"


# Rules of other rulesets.


def _of_rule(finding: Finding, packet: str) -> str:
    rule = finding.rules[0]
    is_verdict = isinstance(rule.action, Verdict)
    by = _and(dict.fromkeys(_rule_does(each) for each in finding.others))
    match finding.kind:
        case "never-matches":
            return "this rule matches nothing: no packet that comes here is like this"
        case "shadowed":
            return f"this rule adds nothing: {by} its packets before"
        case "contradicted" | "unreached":
            return f"this rule is never reached: {by} its packets before"
        case "redundant" if is_verdict:
            return f"this rule adds nothing: without it {by} its packets"
        case "redundant":
            return "this rule does nothing: the same happens to its packets without it"
        case "narrower":
            return f"this rule is narrower than it looks: {by} {packet}"
        case _:
            return f"this rule is wider than it looks: it accepts {_widely(finding, packet)}"


def _widely(finding: Finding, packet: str) -> str:
    others = _rules(finding.others)
    return f"{packet}, which {others} would drop" if packet else f"all, so {others} never applies"


def _rules(others: Iterable[Decided]) -> str:
    return _and(dict.fromkeys(_name(each) for each in others))


def _name(decided: Decided) -> str:
    if decided.rule is None:
        return f"policy {word(decided.kind)} of {decided.chain}" if decided.chain else "the end"
    return str(_place(decided))


def _rule_does(decided: Decided) -> str:
    kind = word(decided.kind) if decided.rule is None else word_of(decided.rule)
    return f"{_name(decided)} {_DOES.get(kind, kind)}"


def _and(parts: Iterable[str]) -> str:
    named = list(parts)
    if len(named) > _NAMED:
        named = [*named[: _NAMED - 1], f"{len(named) - _NAMED + 1} more"]
    return " and ".join((", ".join(named[:-1]), named[-1])) if len(named) > 1 else "".join(named)
