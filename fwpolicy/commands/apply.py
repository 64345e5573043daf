"""fwpolicy apply: a plan, carried out, and taken back unless somebody confirms it."""

from __future__ import annotations

import sys
from time import time

from fwpolicy.commands import operands, plantext, savedplans, who
from fwpolicy.commands.given import bundle_of, given
from fwpolicy.commands.plan import planned, same_as_apply
from fwpolicy.deploy.provenance import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from fwpolicy.commands.given import Given
    from fwpolicy.deploy.apply import Applied
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.savedplan import SavedPlan
    from fwpolicy.policy.gates import Gate


def arguments(parser: argparse.ArgumentParser) -> None:
    same_as_apply(parser)
    who.asking_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.confirm import require_settled  # noqa: PLC0415
    from fwpolicy.errors import HostError  # noqa: PLC0415
    from fwpolicy.host.lock import whole  # noqa: PLC0415

    saved = savedplans.saved_in(options.policy)
    if saved:
        name, options = options.policy[0], savedplans.options_of(saved, options)
    with operands.at_work(options, "apply") as machine:
        if options.confirm is not None and not machine.live:
            raise HostError("nobody can confirm what an image has: leave out --confirm")
        tell = operands.teller(options)
        bundle = bundle_of(options, machine)
        require_settled(machine, tell)
        found = given(options, machine, bundle)
        plan = planned(options, machine, found)
        if saved:
            _require_as_shown(name, saved, found, plan, machine)
        from fwpolicy.deploy.apply import carry_out, renew  # noqa: PLC0415

        if not plan.changed and not plan.refusals:
            _report_unchanged(options, plan, renewed=renew(plan, machine))
            return 0
        asked = who.asked(options, plan.policy.apply)
        since = time()
        with whole():
            applied = carry_out(plan, machine, tuple(options.policy), operands.now(), tell, asked)
        gates = plan.policy.apply.gates if asked.seconds else ()
        if gates:
            _through(gates, machine, since, tell)
    _report(options, plan, applied, 0 if gates else asked.seconds)
    return 0


def _through(gates: tuple[Gate, ...], machine: Machine, since: float, tell: Callable[[str], None]) -> None:
    """Raises CheckFailedError where a gate does not hold in time; then the apply has been taken back."""
    from fwpolicy.deploy.confirm import by_gates, settled  # noqa: PLC0415
    from fwpolicy.errors import CheckFailedError  # noqa: PLC0415

    entry = settled(machine, tell)
    unmet = by_gates(machine, entry, gates, since, tell) if entry else ("the time was over at once",)
    if unmet:
        raise CheckFailedError("\n".join(f"taken back, a gate does not hold: {each}" for each in unmet))
    tell("confirmed: all gates hold")


def _require_as_shown(name: str, saved: SavedPlan, found: Given, plan: Plan, machine: Machine) -> None:
    """The plan was made anew: HostError where anything is not as it was then."""
    from fwpolicy.deploy.savedplan import facts_of, require_same  # noqa: PLC0415

    require_same(name, saved, found.digests, facts_of(plan, machine))


def _report_unchanged(options: argparse.Namespace, plan: Plan, *, renewed: bool) -> None:
    if options.json:
        operands.print_json(plantext.as_json(plan))
    elif not options.quiet:
        came = plan.options.came if renewed else None
        print(f"{plan.policy.name}: nothing to change{f'; now {sentence(came)}' if came else ''}")


def _report(options: argparse.Namespace, plan: Plan, applied: Applied, seconds: float) -> None:
    if options.json:
        from fwpolicy.deploy.purge import flow_text  # noqa: PLC0415

        deleted = [flow_text(flow) for flow in applied.purged]
        more = {"generation": applied.generation, "connections": deleted, "confirm": seconds or None}
        operands.print_json(plantext.as_json(plan) | more)
    elif not options.quiet:
        for note in (*plan.notes, *(f"foreign: {each}" for each in plan.foreign)):
            print(f"note: {note}", file=sys.stderr)
        print(f"applied {plan.policy.name}: generation {applied.generation}")
        who.tell_how_to_confirm(seconds)
