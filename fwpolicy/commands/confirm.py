"""fwpolicy confirm: the apply that waits counts from now on."""

from __future__ import annotations

from fwpolicy.commands import operands, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.confirm import confirm, settled, too_old  # noqa: PLC0415
    from fwpolicy.errors import HostError  # noqa: PLC0415

    with operands.at_work(options, "confirm") as machine:
        entry = settled(machine, operands.teller(options))
        if entry is None:
            raise HostError("nothing waits to be confirmed (see: fwpolicy history)")
        found = who.over_ssh()
        why = too_old(entry, found.began) if found else None
        if why:
            raise HostError(why)
        confirm(machine, entry, operands.teller(options))
    if options.json:
        operands.print_json({"changed": True, "generation": entry.generation, "policy": entry.policy})
    elif not options.quiet:
        print(f"confirmed {entry.policy}: generation {entry.generation}")
    return 0
