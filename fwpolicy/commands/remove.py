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
    from fwpolicy.deploy.remove import remove  # noqa: PLC0415
    from fwpolicy.host.lock import locked  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = operands.machine_of(options)
    require_root(machine.live, "remove")
    steps: list[str] = []
    with locked(operands.lock_place(machine)), entered(options.netns):
        removed = remove(machine, steps.append)
    if options.json:
        operands.print_json({"changed": removed, "steps": steps})
    elif not options.quiet:
        print(
            "\n".join(
                [*steps, "removed: the host is as it was" if removed else "nothing was ever applied here"]
            )
        )
    return 0
