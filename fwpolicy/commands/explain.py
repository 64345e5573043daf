"""fwpolicy explain: what happens to a packet, and which line says so."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.commands.given import signers_argument
from fwpolicy.errors import FwpolicyError
from fwpolicy.model.steps import Step
from fwpolicy.model.units import word
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.subject import Subject
    from fwpolicy.model.explain import Case
    from fwpolicy.model.program import Program
    from fwpolicy.model.question import Question


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="POLICY", help=operands.SUBJECT)
    parser.add_argument(
        "packet", nargs="+", metavar="PACKET", help="as in: udp/123 from 203.0.113.9:4000 (docs/cli.md)"
    )
    signers_argument(parser)
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.model.explain import BEFORE, cases, redirections  # noqa: PLC0415
    from fwpolicy.model.packet import PacketError  # noqa: PLC0415
    from fwpolicy.model.question import parse, zoned  # noqa: PLC0415

    try:
        question = parse(" ".join(options.packet))
    except PacketError as error:
        raise FwpolicyError(f"PACKET: {error}") from None
    subject = operands.read_subject(options.subject, options)
    question = zoned(question, subject.names)
    found = cases(subject.program, question, subject.names)
    if not found:
        raise FwpolicyError(f"no such packet can be: {question.packet}")
    emitted = _emitted(subject)
    told = [_told(case, subject, emitted, question) for case in found]
    sent = redirections(subject.program, question, subject.names)
    earlier = replace(question, hook=BEFORE[question.hook][0]) if sent else question
    first = [_told(case, subject, emitted, earlier) | {"verdict": case.decided.kind} for case in sent]
    if options.json:
        report = told[0] if len(told) == 1 else {"hook": question.hook, "cases": told}
        report |= {"redirected": first} if first else {}
        operands.print_json({"changed": False, "unmodelled": _unmodelled(subject), **report}, in_order=True)
    elif not options.quiet:
        for case, each in zip(found, told, strict=True):
            if len(found) > 1:
                print(" or ".join(case.when) + ":")
            _print(case, each, "  " if len(found) > 1 else "")
        for case, each in zip(sent, first, strict=True):
            which = " or ".join(case.when)
            print(f"but a new connection{f' {which}' if which else ''} is redirected before that:")
            _print(case, each, "  ")
        for where in _unmodelled(subject):
            print(f"not followed by the model: {where}")
    return 0


def _emitted(subject: Subject) -> Program | None:
    """What a policy compiles to."""
    if subject.policy is None:
        return None
    from fwpolicy.deploy.proof import compiled, program_of  # noqa: PLC0415

    return program_of(compiled(subject.policy))


def _told(case: Case, subject: Subject, emitted: Program | None, question: Question) -> dict[str, object]:
    """A case as docs/cli.md says it."""
    rule = case.decided.rule
    verdict = word(case.decided.kind)
    told: dict[str, object] = {"verdict": verdict, "hook": question.hook}
    if rule is not None and isinstance(rule.origin, Step):
        span = rule.origin.origin
        told |= {
            "step": rule.origin.step,
            "origin": operands.place_json(span) if span else None,
            "rule": _compiled(case, emitted, question),
            "reason": rule.origin.reason,
        }
    elif rule is not None:
        where = rule.where
        place = {"file": where.file, "line": where.line, "column": 1} if where.line else None
        told |= {"step": where.chain, "origin": place, "rule": where.text, "reason": "this rule decides"}
    elif subject.policy is not None:
        reason = f"the policy has no '{question.hook}': left to others"
        told |= {"verdict": "undecided", "step": "default", "origin": None, "rule": None, "reason": reason}
    else:
        chain = case.decided.chain
        reason = f"the policy of chain {chain}" if chain else "no chain says anything about it"
        told |= {"step": chain or "none", "origin": None, "rule": None, "reason": reason}
    return {"when": list(case.when), **told} if case.when else told


def _compiled(case: Case, emitted: Program | None, question: Question) -> str | None:
    """The rule of the compiled ruleset that decides the case's packet."""
    if emitted is None:
        return None
    from fwpolicy.deploy.proof import deciding_rule  # noqa: PLC0415

    return deciding_rule(emitted, question.hook, case.packet, question.spent)


def _print(case: Case, told: dict[str, object], indent: str) -> None:
    print(f"{indent}{told['verdict']}: {told['reason']} (step {told['step']})")
    rule = case.decided.rule
    if rule is not None and isinstance(rule.origin, Step):
        if rule.origin.origin is not None:
            print(f"{indent}  {operands.quoted(rule.origin.origin)}")
        if told["rule"]:
            print(f"{indent}  compiled to: {told['rule']}")
    elif rule is not None:
        print(f"{indent}  {rule.where}")


def _unmodelled(subject: Subject) -> list[str]:
    return [str(where) for where in subject.program.unmodelled]
