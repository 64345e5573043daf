"""fwpolicy history: every apply that is remembered, and what became of it."""

from __future__ import annotations

from fwpolicy.commands import operands
from fwpolicy.deploy.provenance import as_json, sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.history import Past


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from fwpolicy.deploy.history import history  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = operands.machine_of(options)
    require_root(machine.live, "history")
    found = history(machine)
    if options.json:
        operands.print_json({"changed": False, "generations": [_as_json(past) for past in found]})
    elif not options.quiet:
        print("\n".join(map(_as_line, found)) or "nothing was ever applied here")
    return 0 if found else 2


def _as_line(past: Past) -> str:
    by = f" by {past.by}" if past.by else ""
    again = f" (generation {past.again} again)" if past.again else ""
    said = [past.fate, "loaded at boot" if past.boots else "", sentence(past.came) if past.came else ""]
    notes = ", ".join(word for word in said if word)
    return f"{past.number:>4}  {past.time}  {past.policy}{again}{by}" + (f": {notes}" if notes else "")


def _as_json(past: Past) -> dict[str, object]:
    return {
        "generation": past.number,
        "policy": past.policy,
        "time": past.time,
        "by": past.by,
        "tool": past.tool,
        "sources": list(past.sources),
        "fate": past.fate,
        "boots": past.boots,
        "again": past.again,
        "provenance": as_json(past.came),
    }
