"""fwpolicy plan: what apply would do here, and everything that follows from it."""

from __future__ import annotations

from fwpolicy.commands import operands, plantext, who
from fwpolicy.commands.given import bundle_arguments, bundle_of, given
from fwpolicy.errors import FwpolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.commands.given import Given
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.outlook import Outlook
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.model.compare import Change


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "save the plan, for apply FILE"
    parser.add_argument("-o", dest="output", type=operands.place, metavar="FILE", help=text)
    same_as_apply(parser)


def same_as_apply(parser: argparse.ArgumentParser) -> None:
    """A plan is what apply would do with the same words."""
    operands.policy_arguments(parser)
    bundle_arguments(parser)
    parser.add_argument(
        "--replace", action="store_true", help="put this policy in another one's or another host's place"
    )
    parser.add_argument(
        "--force", action="store_true", help="even if your own SSH connection could not be opened again"
    )
    parser.add_argument(
        "--backend", choices=("auto", "nft", "iptables"), default="auto", help="what loads the rules (auto)"
    )
    parser.add_argument("--no-persist", action="store_true", help="do not load the rules at boot")
    parser.add_argument("--no-daemon", action="store_true", help="leave time daemons alone")
    operands.prove_argument(parser)
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from time import time  # noqa: PLC0415

    from fwpolicy.commands import difftext, outlooktext, savedplans  # noqa: PLC0415
    from fwpolicy.deploy.outlook import look_ahead  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415

    machine = operands.machine_of(options)
    with entered(options.netns):
        found = given(options, machine, bundle_of(options, machine))
        plan = planned(options, machine, found)
        traffic = _traffic(plan, None if options.json or options.output else difftext.SHOWN + 1)
        outlook = look_ahead(plan, machine, int(time()))
    report = _report(plan, outlook, traffic) if options.json or options.output else {}
    if options.json:
        operands.print_json(report)
    elif not options.quiet:
        said = [
            *outlooktext.as_text(outlook),
            *difftext.as_text(traffic, counted=bool(options.output)),
            *plantext.endings(plan),
        ]
        print("\n".join([plantext.as_text(plan), *said]))
    if options.output:
        try:
            savedplans.save(options, plan, machine, found.digests, report, operands.now())
        except FwpolicyError as error:
            error.told = options.json  # with the refusals
            raise
    if plan.refusals:
        return 1
    return 2 if plan.changed else 0


def _report(plan: Plan, outlook: Outlook, traffic: tuple[Change, ...]) -> dict[str, object]:
    from fwpolicy.commands import difftext, outlooktext  # noqa: PLC0415

    report = plantext.as_json(plan) | outlooktext.as_json(outlook) | {"traffic": difftext.as_json(traffic)}
    return report | {"notes": [*plan.notes, *outlook.notes]}


def _traffic(plan: Plan, most: int | None) -> tuple[Change, ...]:
    """What the new rules do to traffic that the present ones do not, where the kernel could be asked."""
    if plan.emitted is None or not plan.rules_changed or plan.survey.unreadable:
        return ()
    return plan.rules.traffic(plan, most)


def planned(options: argparse.Namespace, machine: Machine, found: Given) -> Plan:
    """Test and plan what was given. A named namespace has no daemons and no boot of its own."""
    from fwpolicy.deploy.plan import Options, make_plan  # noqa: PLC0415
    from fwpolicy.deploy.said import Said  # noqa: PLC0415
    from fwpolicy.record import replace  # noqa: PLC0415

    if not options.json and not options.quiet:
        operands.warn(found.policy)
    operands.require_tests(found.policy)
    alone = options.netns is not None
    how = Options(
        persist=not (options.no_persist or alone),
        daemon=not (options.no_daemon or alone),
        replace=options.replace,
        prove=not options.no_prove,
        force=options.force,
        operator=who.over_ssh(),
        backend=options.backend,
        said=Said(found.named, found.files),
        came=found.came,
        told=bool(options.json or not options.quiet or getattr(options, "output", None)),
    )
    with operands.quoting():
        plan = make_plan(found.policy, machine, how)
    return replace(plan, notes=(*found.notes, *plan.notes)) if found.notes else plan
