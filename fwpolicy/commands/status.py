"""fwpolicy status: is the host what was applied?"""

from __future__ import annotations

from fwpolicy.commands import operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.status import Status


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.status import look  # noqa: PLC0415
    from fwpolicy.host.netns import entered  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = operands.machine_of(options)
    require_root(machine.live, "status")
    with entered(options.netns):
        status = look(machine)
    if options.json:
        operands.print_json(_as_json(status))
    elif not options.quiet:
        print(_as_text(status))
    return 2 if status.drifts or status.generation is None else 0


def _as_text(status: Status) -> str:
    generation = status.generation
    if generation is None:
        return "\n".join(drift.what for drift in status.drifts) or "nothing was ever applied here"
    lines = [f"{generation.policy}: generation {generation.number}, applied {generation.time}"]
    lines.append("the host is what was applied" if not status.drifts else "the host differs:")
    for drift in status.drifts:
        lines += [f"  {drift.what}", *(f"    {line}" for line in drift.detail)]
    lines += [f"note: {note}" for note in status.notes]
    return "\n".join(lines)


def _as_json(status: Status) -> dict[str, object]:
    generation = status.generation
    return {
        "changed": False,
        "applied": generation is not None,
        "policy": generation.policy if generation else None,
        "generation": generation.number if generation else None,
        "time": generation.time if generation else None,
        "drift": [{"what": drift.what, "detail": list(drift.detail)} for drift in status.drifts],
        "notes": list(status.notes),
    }
