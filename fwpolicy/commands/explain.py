"""fwpolicy explain: what happens to a packet, and which line says so."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.commands.given import signers_argument
from fwpolicy.errors import FwpolicyError
from fwpolicy.model.steps import Step
from fwpolicy.model.units import word
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.subject import Subject
    from fwpolicy.model.explain import Case
    from fwpolicy.model.program import Program
    from fwpolicy.model.question import Question

    Told = tuple[Case, dict[str, object]]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="POLICY", help=operands.SUBJECT)
    parser.add_argument(
        "packet",
        nargs="+",
        metavar="WORD",
        help="one packet, in words: udp/123 from 203.0.113.9:4000 (docs/cli.md, PACKET)",
    )
    signers_argument(parser)
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    subject = operands.read_subject(options.subject, options)
    question = _question(" ".join(options.packet), subject)
    answer = _answer(subject, question)
    if options.json:
        operands.print_json({"changed": False, **_as_json(answer, question)}, in_order=True)
    elif not options.quiet:
        _print_all(answer)
    return 0


@record
class Answer:
    """Cases, each with what docs/cli.md says of it: as asked, as they are `today` if lines have expired, and
    what is `sent` elsewhere before. `unmodelled`, `notes`: what the answer does without."""

    asked: tuple[Told, ...]
    today: tuple[Told, ...]
    sent: tuple[Told, ...]
    unmodelled: tuple[str, ...]
    notes: tuple[str, ...]


def _question(text: str, subject: Subject) -> Question:
    from fwpolicy.model.packet import PacketError  # noqa: PLC0415
    from fwpolicy.model.question import parse, zoned  # noqa: PLC0415
    from fwpolicy.model.unasked import unknown_group  # noqa: PLC0415

    try:
        question = zoned(parse(text, subject.names), subject.names)
    except PacketError as error:
        raise FwpolicyError(f"PACKET: {error}") from None
    declared = [group.name for group in subject.policy.dynamic] if subject.policy else []
    wrong = unknown_group(subject.program, question, declared)
    if wrong is not None:
        raise FwpolicyError(f"PACKET: {wrong}")
    return question


def _answer(subject: Subject, question: Question) -> Answer:
    from time import time  # noqa: PLC0415

    from fwpolicy.model.explain import BEFORE, cases, redirections, today  # noqa: PLC0415
    from fwpolicy.model.unasked import notes  # noqa: PLC0415

    found = cases(subject.program, question, subject.names)
    if not found:
        raise FwpolicyError(f"no such packet can be: {question.packet}")
    emitted = _emitted(subject)

    def told(each: tuple[Case, ...]) -> tuple[Told, ...]:
        every = tuple((case, _told(case, subject, emitted, question)) for case in each)
        return _together(every) if every else ()

    sent = redirections(subject.program, question, subject.names)
    earlier = replace(question, hook=BEFORE[question.hook][0]) if sent else question
    return Answer(
        told(found),
        told(today(subject.program, question, int(time()), subject.names) or ()),
        tuple(
            (case, _told(case, subject, emitted, earlier) | {"verdict": case.decided.kind}) for case in sent
        ),
        tuple(str(where) for where in subject.program.unmodelled),
        tuple(notes(subject.program, question, subject.names)) if subject.policy else (),
    )


def _together(every: tuple[Told, ...]) -> tuple[Told, ...]:
    """Those with one answer as one case, without a word of which it is where that is all."""
    alike: dict[str, list[Told]] = {}
    for case, told in every:
        alike.setdefault(repr(told | {"when": None}), []).append((case, told))
    if len(alike) == 1:
        case, told = every[0]
        return ((replace(case, when=()), {key: told[key] for key in told if key != "when"}),)
    return tuple(_joined(group) for group in alike.values())


def _joined(group: list[Told]) -> Told:
    when = tuple(word for case, _ in group for word in case.when)
    case, told = group[0]
    return replace(case, when=when), told | {"when": list(when)}


def _as_json(answer: Answer, question: Question) -> dict[str, object]:
    asked, today, sent = ([told for _, told in each] for each in (answer.asked, answer.today, answer.sent))
    report = asked[0] if len(asked) == 1 else {"hook": question.hook, "cases": asked}
    report |= {"redirected": sent} if sent else {}
    report |= {"today": today} if today else {}
    return {"unmodelled": list(answer.unmodelled), "notes": list(answer.notes), **report}


def _print_all(answer: Answer) -> None:
    _print_cases(answer.asked, "")
    if answer.today:
        print("but that is before any line expires; today:")
        _print_cases(answer.today, "  ")
    for case, each in answer.sent:
        which = " or ".join(case.when)
        print(f"but a new connection{f' {which}' if which else ''} is redirected before that:")
        _print(case, each, "  ")
    for where in answer.unmodelled:
        print(f"not followed by the model: {where}")
    for note in answer.notes:
        print(f"note: {note}")


def _print_cases(told: tuple[Told, ...], indent: str) -> None:
    for case, each in told:
        if len(told) > 1:
            print(f"{indent}{' or '.join(case.when)}:")
        _print(case, each, f"{indent}  " if len(told) > 1 else indent)


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
