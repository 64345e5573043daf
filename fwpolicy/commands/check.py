"""fwpolicy check: what a pipeline runs on a pull request."""

from __future__ import annotations

import sys

from fwpolicy.commands import lint, operands
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.errors import Problem
    from fwpolicy.policy.model import Policy

# With more lines check would take longer to find idle ones than for all the rest: that is what lint is for.
_LINTED = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.fleet_arguments(parser)
    operands.prove_argument(parser)
    operands.offline_argument(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    operands.require_operands("check", options)
    if options.all:
        from fwpolicy.commands import fleetcheck  # noqa: PLC0415

        return fleetcheck.run(options)
    policy = operands.read_policy(options.policy)
    compiled(policy, proved=not options.no_prove)
    tests = operands.require_tests(policy)
    # What it finds is no failure: the policy does what it says.
    idle = lint.unsaid(policy) if _lines(policy) <= _LINTED and (options.json or not options.quiet) else []
    if options.json:
        _print_json(policy, tests, idle, proved=not options.no_prove)
    elif not options.quiet:
        operands.warn(policy)
        for problem in idle:
            print(problem.render(), file=sys.stderr)
        print(_sentence(policy, tests, proved=not options.no_prove))
    return 0


def _lines(policy: Policy) -> int:
    return sum(len(section.allow) + len(section.block) for section in policy.sections)


def compiled(policy: Policy, proved: bool) -> None:
    """For each of the policy's backends. Raises PolicyError, CheckFailedError."""
    if "iptables" in policy.backends:
        from fwpolicy.deploy import xtproof  # noqa: PLC0415

        with operands.quoting():
            texts = xtproof.compiled(policy)
        if proved:
            xtproof.prove_compiled(policy, None, texts)
    if "nft" not in policy.backends:
        return
    if not proved:
        compile_ruleset(policy)
        return
    from fwpolicy.deploy import proof  # noqa: PLC0415

    proof.prove_compiled(policy, None, proof.compiled(policy))


def _sentence(policy: Policy, tests: int, proved: bool) -> str:
    parts = [f"role ntp: {policy.ntp.mode}"] if policy.ntp else []
    parts += [f"{section.hook}: default {section.default}" for section in policy.sections]
    kind = " (an overlay: it can only close)" if policy.is_overlay else ""
    held = f"; {counted(tests, 'test')} held" if tests else ""
    ok = "ok and proved" if proved else "ok"
    return f"{policy.name}: {ok}, {', '.join(parts)}{kind}{held}"


def _print_json(policy: Policy, tests: int, idle: list[Problem], proved: bool) -> None:
    problems = [operands.problem_json(problem) for problem in (*policy.warnings, *idle)]
    report = {"ok": True, "changed": False, "policy": policy.name, "problems": problems, "tests": tests}
    operands.print_json(report | {"proved": proved})
