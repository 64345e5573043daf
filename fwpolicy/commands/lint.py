"""fwpolicy lint: lines that do nothing, or something else than it seems."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands
from fwpolicy.commands.given import signers_argument
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from fwpolicy.errors import Problem
    from fwpolicy.model.lintwords import Place, Report
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

    TextAt = Callable[[str, int], str]

FOUND = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policy",
        nargs="*",
        metavar="POLICY",
        help=f"{operands.SUBJECT}; several policies merge; with --all the inventory, or its folder (.)",
    )
    signers_argument(parser)
    parser.add_argument("--all", action="store_true", help="every host of an inventory (docs/fleet.md)")
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    operands.require_operands("lint", options)
    if options.all:
        from fwpolicy.commands import fleetlint  # noqa: PLC0415

        return fleetlint.run(options)
    if len(options.policy) == 1:
        subject = operands.read_subject(options.policy[0], options)
        if subject.policy is None:
            return tell(subject.title, of_program(subject.program), options)
        return tell(subject.policy.name, of_policy(subject.policy), options)
    policy = operands.read_policy(options.policy)
    return tell(policy.name, of_policy(policy), options)


def tell(name: str, found: tuple[Report, ...], options: argparse.Namespace) -> int:
    """Print what was found in what is called `name`; the exit code."""
    text_at = operands.line_reader()
    if options.json:
        said = [as_json(each, text_at) for each in found]
        operands.print_json({"changed": False, "name": name, "findings": said})
    elif not options.quiet:
        for each in found:
            print(rendered(each, text_at), file=sys.stderr)
        print(f"{name}: {sentence(len(found))}")
    return FOUND if found else 0


def sentence(number: int) -> str:
    return counted(number, "finding") if number else "every line counts"


def of_policy(policy: Policy) -> tuple[Report, ...]:
    """What lint says of a policy."""
    from fwpolicy.model import of_policy as reader  # noqa: PLC0415

    found = of_program(reader.of_policy(policy))
    return tuple(sorted(found, key=lambda each: (each.at.file, each.at.line, each.at.column)))


def of_program(program: Program) -> tuple[Report, ...]:
    """What lint says of any ruleset."""
    from fwpolicy.model.lint import findings  # noqa: PLC0415
    from fwpolicy.model.lintwords import report  # noqa: PLC0415
    from fwpolicy.model.looks import looks  # noqa: PLC0415

    return tuple(report(finding) for finding in (*findings(program), *looks(program)))


def unsaid(policy: Policy) -> list[Problem]:
    """What lint says of a policy and its warnings do not, as more of them."""
    from fwpolicy.errors import Problem  # noqa: PLC0415
    from fwpolicy.model.program import TooLargeError  # noqa: PLC0415
    from fwpolicy.policy.repeats import SAID  # noqa: PLC0415

    warned = (each.span for each in policy.warnings if each.message.startswith(SAID))
    said = {(span.file, span.line) for span in warned if span}
    text_at = operands.line_reader()
    try:
        found = of_policy(policy)
    except TooLargeError as error:
        return [Problem(f"lint: {error}", severity="warning")]
    return [_problem(each, text_at) for each in found if (each.at.file, each.at.line) not in said]


def _problem(found: Report, text_at: TextAt) -> Problem:
    from fwpolicy.errors import Problem  # noqa: PLC0415

    text = text_at(found.at.file, found.at.line) or None
    return Problem(found.message, found.span, text, _others(found.others, text_at), "warning")


def rendered(found: Report, text_at: TextAt) -> str:
    """FILE:LINE:COL: warning: MESSAGE, the line, and the others' lines."""
    if found.span is not None:
        return _problem(found, text_at).render()
    lines = [f"{found.at}: warning: {found.message}", f"  {found.at.text}"]
    others = _others(found.others, text_at)
    return "\n".join([*lines, *([f"  hint: {others}"] if others else [])])


def _others(places: Iterable[Place], text_at: TextAt) -> str | None:
    """The other lines, each with its place."""
    texts = ((place, _text(place, text_at)) for place in places)
    return "\n        ".join(f"{place}: {text}" for place, text in texts if text) or None


def _text(place: Place, text_at: TextAt) -> str:
    return place.text or text_at(place.file, place.line).strip()


def as_json(found: Report, text_at: TextAt) -> dict[str, object]:
    return {
        "kind": found.kind,
        "message": found.message,
        "at": _place_json(found.at, text_at),
        "others": [_place_json(place, text_at) for place in found.others],
        "packet": found.packet or None,
    }


def _place_json(place: Place, text_at: TextAt) -> dict[str, object]:
    line, column = place.line or None, place.column or None
    return {"file": place.file, "line": line, "column": column, "text": _text(place, text_at)}
