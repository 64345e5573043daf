"""fwpolicy diff: which traffic a change allows, and which it denies."""

from __future__ import annotations

from fwpolicy.commands import difftext, operands
from fwpolicy.commands.given import signers_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


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
    found = tuple(changes(*comparable(old, new), joined(new.names, old.names)))
    if options.json:
        operands.print_json({"changed": False, "changes": difftext.as_json(found)}, in_order=True)
    elif not options.quiet:
        print("\n".join(difftext.as_text(found) or ["no difference: every packet meets the same end"]))
        for subject in (old, new):
            for where in subject.program.unmodelled:
                print(f"not followed by the model: {where}")
    return 2 if found else 0
