"""fwpolicy apply: a plan, carried out, and taken back unless somebody confirms it."""

from __future__ import annotations

import sys

from fwpolicy.commands import operands, plantext, savedplans, who
from fwpolicy.commands.plan import planned, same_as_apply

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.apply import Applied, Asked
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.savedplan import SavedPlan

# Long enough to open another connection, short enough to wait for.
_ASKED_FOR = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    same_as_apply(parser)
    ask = parser.add_mutually_exclusive_group()
    text = "take it back after TIME (60s) unless confirmed"
    ask.add_argument("--confirm", metavar="TIME", type=operands.seconds, help=text)
    ask.add_argument("--no-confirm", action="store_true", help="let it count at once")


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.apply import carry_out  # noqa: PLC0415
    from fwpolicy.deploy.confirm import require_settled  # noqa: PLC0415
    from fwpolicy.host.lock import whole  # noqa: PLC0415

    saved = savedplans.saved_in(options.policy)
    if saved:
        name, options = options.policy[0], savedplans.options_of(saved, options)
    with operands.at_work(options, "apply") as machine:
        tell = operands.teller(options)
        require_settled(machine, tell)
        plan = _as_shown(name, saved, options, machine) if saved else planned(options, machine)
        if not plan.changed and not plan.refusals:
            _report_unchanged(options, plan)
            return 0
        asked = _asked(options)
        with whole():
            applied = carry_out(plan, machine, tuple(options.policy), operands.now(), tell, asked)
    _report(options, plan, applied, asked)
    return 0


def _as_shown(name: str, saved: SavedPlan, options: argparse.Namespace, machine: Machine) -> Plan:
    """The plan made anew. Raises HostError where anything is not as it was then."""
    from fwpolicy.deploy.savedplan import facts_of, require_same  # noqa: PLC0415

    sources: dict[str, str] = {}
    plan = planned(options, machine, sources)
    require_same(name, saved, sources, facts_of(plan, machine))
    return plan


def _asked(options: argparse.Namespace) -> Asked:
    """From a terminal or over SSH somebody is there to be asked (docs/cli.md)."""
    from fwpolicy.deploy.apply import Asked  # noqa: PLC0415

    seconds = 0
    if options.confirm is not None:
        seconds = options.confirm
    elif not options.no_confirm and who.is_there(options):
        seconds = _ASKED_FOR
    return Asked(who.am_i(), seconds)


def _report_unchanged(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        operands.print_json(plantext.as_json(plan))
    elif not options.quiet:
        print(f"{plan.policy.name}: nothing to change")


def _report(options: argparse.Namespace, plan: Plan, applied: Applied, asked: Asked) -> None:
    if options.json:
        deleted = [plantext.flow_text(flow) for flow in applied.purged]
        more = {"generation": applied.generation, "connections": deleted, "confirm": asked.seconds or None}
        operands.print_json(plantext.as_json(plan) | more)
    elif not options.quiet:
        for note in (*plan.notes, *(f"foreign: {each}" for each in plan.foreign)):
            print(f"note: {note}", file=sys.stderr)
        print(f"applied {plan.policy.name}: generation {applied.generation}")
        if asked.seconds:
            print(
                f"it is taken back in {asked.seconds:.0f} s unless you confirm it, from a new connection: "
                "fwpolicy confirm"
            )
