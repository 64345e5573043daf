"""fwpolicy check --all: every host of an inventory, each different policy once."""

from __future__ import annotations

from fwpolicy.commands import fleet, operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Built


def run(options: argparse.Namespace) -> int:
    found = fleet.repository(fleet.only_operand(options))
    units = fleet.built(found, options, proved=not options.no_prove)
    code = fleet.exit_code([each.outcome for each in units])
    if options.json:
        _print_json(found, units, proved=not options.no_prove)
    else:
        if not options.quiet:
            fleet.print_warnings(units)
        fleet.print_failures(found, units)
        if not code and not options.quiet:
            print(_sentence(found, units, "ok" if options.no_prove else "ok and proved"))
    return code


def _sentence(found: Repository, units: Sequence[Built], ok: str) -> str:
    tests = sum(each.outcome.tests for each in units)
    held = f", {tests:,} test{'s' if tests != 1 else ''} held" if tests else ""
    without = len(found.inventory.unmanaged)
    left = f"; {without:,} without a policy" if without else ""
    return f"{found.inventory.text.file}: {ok}: {fleet.sentence(found, units)}{held}{left}"


def _print_json(found: Repository, units: Sequence[Built], proved: bool) -> None:
    report = {
        "ok": not any(each.outcome.exit_code for each in units),
        "changed": False,
        "inventory": found.inventory.text.file,
        "proved": proved,
        "units": fleet.as_json(units),
        "unmanaged": list(found.inventory.unmanaged),
    }
    operands.print_json(report)
