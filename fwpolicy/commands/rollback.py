"""fwpolicy rollback: what waits to be confirmed is taken back; else the way back to an earlier generation."""

from __future__ import annotations

from fwpolicy.commands import operands, plantext, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.machine import Machine


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "its number (the one that ran before the present)"
    parser.add_argument("generation", nargs="?", type=int, metavar="N", help=text)
    text = "even if your own SSH connection could not be opened again"
    parser.add_argument("--force", action="store_true", help=text)
    who.asking_arguments(parser)
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.confirm import refuse, settled  # noqa: PLC0415
    from fwpolicy.deploy.journal import waiting  # noqa: PLC0415

    with operands.at_work(options, "rollback") as machine:
        entry = settled(machine, operands.teller(options))
        if entry is None:
            return _go_back(options, machine)
        if options.generation is not None:
            from fwpolicy.errors import HostError  # noqa: PLC0415

            raise HostError(f"{waiting(entry)}: fwpolicy rollback alone takes it back")
        refuse(machine, entry, f"rolled back by {who.am_i() or 'hand'}")
    if options.json:
        operands.print_json({"changed": True, "taken_back": entry.generation, "policy": entry.policy})
    elif not options.quiet:
        print(f"generation {entry.generation} of '{entry.policy}' was taken back: the host is as before it")
    return 0


def _go_back(options: argparse.Namespace, machine: Machine) -> int:
    from fwpolicy.deploy.apply import carry_out  # noqa: PLC0415
    from fwpolicy.deploy.plan import Options  # noqa: PLC0415
    from fwpolicy.deploy.rollback import plan_back  # noqa: PLC0415
    from fwpolicy.host.lock import whole  # noqa: PLC0415

    how = Options(force=options.force, operator=who.over_ssh())
    plan = plan_back(machine, options.generation, how)
    assert plan.again is not None  # noqa: S101  (that is what it is)
    asked = who.asked(options, plan.policy.apply)
    with whole():
        back = carry_out(plan, machine, plan.again.sources, operands.now(), operands.teller(options), asked)
    if options.json:
        more = {"generation": back.generation, "again": plan.again.number, "confirm": asked.seconds or None}
        operands.print_json(plantext.as_json(plan) | more)
    elif not options.quiet:
        print(f"{plan.again.policy}: generation {back.generation}, which is {plan.again.number} again")
        who.tell_how_to_confirm(asked.seconds)
    return 0
