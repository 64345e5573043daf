"""fwpolicy compile --all -o DIR: a folder of artifacts for each host of an inventory."""

from __future__ import annotations

import sys

from fwpolicy.commands import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fwpolicy.fleet.run import Built


def run(options: argparse.Namespace) -> int:
    """Nothing is written unless every host's policy is right and proved, and tests and invariants hold."""
    if options.directory is None or options.beside_nat or options.explain_passes:
        message = "--all needs -o DIR, and goes with neither --beside-nat nor --explain-passes"
        options.parsers()["compile"].error(message)
    found = fleet.repository(fleet.only_operand(options))
    units, judgement = fleet.built(found, options, proved=not options.no_prove)
    code = fleet.exit_code(units, judgement)
    if code:
        fleet.print_failures(found, units, judgement)
        return code
    if not options.quiet:
        fleet.print_warnings(found, units, judgement)
    written, gone = _write(options.directory, units)
    if not options.quiet:
        total = len(found.inventory.hosts)
        left = f", {len(gone):,} removed" if gone else ""
        said = f"{written:,} written, {total - written:,} unchanged{left}"
        print(f"{options.directory}: {said}: {fleet.sentence(found, units)}", file=sys.stderr)
    return 0


def _write(folder: str, units: Sequence[Built]) -> tuple[int, tuple[str, ...]]:
    """(hosts of which something was written, hosts that are gone)."""
    from fwpolicy import VERSION  # noqa: PLC0415
    from fwpolicy.host.outputs import Outputs  # noqa: PLC0415

    outputs = Outputs(folder)
    contents: dict[str, dict[str, tuple[str, int]]] = {}
    policies: dict[str, str] = {}
    for each in units:
        content = {name: (text, mode) for name, text, mode in each.outcome.artifacts}
        contents |= dict.fromkeys(each.unit.hosts, content)
        policies |= dict.fromkeys(each.unit.hosts, each.outcome.policy)
    names = {host: tuple(content) for host, content in contents.items()}
    outputs.expect(names)
    written = sum(outputs.write(host, content) for host, content in contents.items())
    return written, outputs.finish({"format": 1, "tool": VERSION, "policies": policies}, names)
