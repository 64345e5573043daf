"""fwpolicy remove: the host as it was before the first apply."""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.confirm import refuse, settled  # noqa: PLC0415
    from fwpolicy.deploy.remove import remove  # noqa: PLC0415

    steps: list[str] = []
    with operands.at_work(options, "remove") as machine:
        entry = settled(machine, steps.append)
        if entry is not None:
            refuse(machine, entry, "removed before it was confirmed")
            steps.append(f"generation {entry.generation}, which waited to be confirmed, was taken back")
        removed = remove(machine, steps.append) or bool(steps)
    if options.json:
        operands.print_json({"changed": removed, "steps": steps})
    elif not options.quiet:
        end = "removed: the host is as it was" if removed else "nothing was ever applied here"
        print("\n".join([*steps, end]))
    return 0
