"""fwpolicy apply: a plan, carried out."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands, plantext
from fwpolicy.commands.plan import arguments, planned
from fwpolicy.deploy.purge import flow_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.plan import Plan


__all__ = ["arguments", "run"]


def run(options: argparse.Namespace) -> int:
    from fwpolicy.host.lock import locked, whole  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = operands.machine_of(options)
    require_root(machine.live, "apply")
    with locked(operands.lock_place(machine)), entered(options.netns):
        plan = planned(options, machine)
        if not plan.changed and not plan.refusals:
            _report_unchanged(options, plan)
            return 0
        from fwpolicy.deploy.apply import carry_out  # noqa: PLC0415

        quiet = options.json or options.quiet
        with whole():
            applied = carry_out(plan, machine, tuple(options.policy), _now(), _silence if quiet else _tell)
    if options.json:
        deleted = [flow_text(flow) for flow in applied.purged]
        report = plantext.as_json(plan) | {"generation": applied.generation, "connections": deleted}
        operands.print_json(report)
    elif not options.quiet:
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"applied {plan.policy.name}: generation {applied.generation}")
    return 0


def _report_unchanged(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        operands.print_json(plantext.as_json(plan))
    elif not options.quiet:
        print(f"{plan.policy.name}: nothing to change")


def _tell(step: str) -> None:
    print(step)


def _silence(step: str) -> None:
    """Nobody listens."""


def _now() -> str:
    import time  # noqa: PLC0415

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
