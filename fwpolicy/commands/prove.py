"""fwpolicy prove: equal for every packet, or a packet that shows the difference."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.commands.given import signers_argument
from fwpolicy.errors import CheckFailedError, FwpolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.subject import Subject


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="POLICY", help=operands.SUBJECT)
    parser.add_argument(
        "--against", metavar="WHAT", help="live, or any other operand; without it what POLICY compiles to"
    )
    signers_argument(parser)
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:

    failure = None
    subject = operands.read_subject(options.subject, options)
    other = operands.read_subject(options.against, options) if options.against else None
    try:
        _prove(subject, other)
    except CheckFailedError as error:
        failure = error
    if options.json:
        operands.print_json({"changed": False, "equal": failure is None, "message": str(failure or "")})
    elif failure is None and not options.quiet:
        print(f"proved: {other.title if other else 'what it compiles to'} does what {subject.title} does")
    if failure is not None:
        if not options.json:
            raise failure
        return failure.exit_code
    return 0


def _prove(subject: Subject, other: Subject | None) -> None:
    from fwpolicy.deploy import proof  # noqa: PLC0415

    if other is not None:
        proof.prove_subjects(subject, other)
    elif subject.policy is not None:
        from fwpolicy.commands import check  # noqa: PLC0415

        check.compiled(subject.policy, proved=True)
    else:
        raise FwpolicyError(f"{subject.title} is no policy: say against what, as in --against live")
