"""fwpolicy diff: which traffic a change allows, and which it denies."""

from __future__ import annotations

from fwpolicy.commands import difftext, operands
from fwpolicy.commands.given import signers_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_SAME = "no difference: every packet meets the same end"
_SAME_TO_THE_MODEL = "no difference but what the model does not follow"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help=f"{operands.SUBJECT}; with --all git:REV")
    parser.add_argument("new", nargs="?", metavar="NEW", help="the same; with --all an inventory (.)")
    operands.fleet_arguments(parser, policies=False)
    signers_argument(parser)
    parser.add_argument(
        "--risk", type=int, choices=(1, 2, 3), help="--all: exit with 3 if anything is at least so risky"
    )
    operands.host_arguments(parser)
    operands.offline_argument(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    if options.all:
        from fwpolicy.commands import fleetdiff  # noqa: PLC0415

        return fleetdiff.run(options)
    if options.risk:
        options.parsers()["diff"].error("--risk goes with --all")
    if options.new is None:
        options.parsers()["diff"].error("the following arguments are required: NEW")
    from fwpolicy.deploy.proof import comparable  # noqa: PLC0415
    from fwpolicy.model.compare import changes  # noqa: PLC0415
    from fwpolicy.policy.vocabulary import joined  # noqa: PLC0415

    old = operands.read_subject(options.old, options)
    new = operands.read_subject(options.new, options)
    compared = comparable(old, new)
    found = tuple(changes(*compared, joined(new.names, old.names)))
    unmodelled = [str(where) for subject in (old, new) for where in subject.program.unmodelled]
    if options.json:
        report = {"changed": False, "unmodelled": unmodelled, "changes": difftext.as_json(found)}
        operands.print_json(report, in_order=True)
    elif not options.quiet:
        same = _SAME_TO_THE_MODEL if any(program.unmodelled for program in compared) else _SAME
        lines = difftext.as_text(found) or [same]
        print("\n".join([*lines, *(f"not followed by the model: {where}" for where in unmodelled)]))
    return 2 if found else 0
