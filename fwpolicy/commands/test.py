"""fwpolicy test: the policy's own `tests:`, each with what became of it."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.errors import Problem
    from fwpolicy.policy.model import Policy, Test

FAILED = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.policy_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.model.expect import failure  # noqa: PLC0415

    policy = operands.read_policy(options.policy)
    found = [(test, failure(policy, test)) for test in policy.tests]
    failed = [problem for _, problem in found if problem is not None]
    if options.json:
        operands.print_json(
            {"changed": False, "policy": policy.name, "tests": [_told(*each) for each in found]}
        )
    else:
        _print(policy, found, failed, options.quiet)
    return FAILED if failed else 0


def _print(
    policy: Policy, found: list[tuple[Test, Problem | None]], failed: list[Problem], quiet: bool
) -> None:
    for test, problem in found:
        if problem is not None:
            print(operands.located(problem))
        elif not quiet:
            print(f"held: {operands.quoted(test.origin)}")
    if not found and not quiet:
        print(f"{policy.name}: no tests; write some, as in: tests: [{{deny: ssh, from: any}}]")
    elif not quiet:
        print(f"{policy.name}: {len(found) - len(failed)} held, {len(failed)} failed")


def _told(test: Test, problem: Problem | None) -> dict[str, object]:
    return {
        "held": problem is None,
        "at": operands.place_json(test.origin),
        "message": problem.message if problem else None,
        "hint": problem.hint if problem else None,
    }
