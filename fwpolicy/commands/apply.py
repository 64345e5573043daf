"""fwpolicy apply: a plan, carried out."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands, plantext, savedplans
from fwpolicy.commands.plan import planned, same_as_apply

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.savedplan import SavedPlan


def arguments(parser: argparse.ArgumentParser) -> None:
    same_as_apply(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.host.lock import locked, whole  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    saved = savedplans.saved_in(options.policy)
    if saved:
        name, options = options.policy[0], savedplans.options_of(saved, options)
    machine = operands.machine_of(options)
    require_root(machine.live, "apply")
    with locked(operands.lock_place(machine)), entered(options.netns):
        plan = _as_shown(name, saved, options, machine) if saved else planned(options, machine)
        if not plan.changed and not plan.refusals:
            _report_unchanged(options, plan)
            return 0
        from fwpolicy.deploy.apply import carry_out  # noqa: PLC0415

        quiet = options.json or options.quiet
        with whole():
            applied = carry_out(
                plan, machine, tuple(options.policy), operands.now(), _silence if quiet else _tell
            )
    if options.json:
        deleted = [plantext.flow_text(flow) for flow in applied.purged]
        report = plantext.as_json(plan) | {"generation": applied.generation, "connections": deleted}
        operands.print_json(report)
    elif not options.quiet:
        for note in (*plan.notes, *(f"foreign: {each}" for each in plan.foreign)):
            print(f"note: {note}", file=sys.stderr)
        print(f"applied {plan.policy.name}: generation {applied.generation}")
    return 0


def _as_shown(name: str, saved: SavedPlan, options: argparse.Namespace, machine: Machine) -> Plan:
    """The plan made anew. Raises HostError where anything is not as it was then."""
    from fwpolicy.deploy.savedplan import facts_of, require_same  # noqa: PLC0415

    sources: dict[str, str] = {}
    plan = planned(options, machine, sources)
    require_same(name, saved, sources, facts_of(plan, machine))
    return plan


def _report_unchanged(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        operands.print_json(plantext.as_json(plan))
    elif not options.quiet:
        print(f"{plan.policy.name}: nothing to change")


def _tell(step: str) -> None:
    print(step)


def _silence(step: str) -> None:
    """Nobody listens."""
