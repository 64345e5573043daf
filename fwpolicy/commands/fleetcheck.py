"""fwpolicy check --all: every host of an inventory, each different policy once."""

from __future__ import annotations

from fwpolicy.commands import fleet, operands
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fwpolicy.fleet.judging import Judgement
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Built


def run(options: argparse.Namespace) -> int:
    found = fleet.repository(fleet.only_operand(options))
    units, judgement = fleet.built(found, options, proved=not options.no_prove)
    code = fleet.exit_code(units, judgement)
    if options.json:
        _print_json(found, units, judgement, proved=not options.no_prove)
    else:
        fleet.print_failures(found, units, judgement)
        if not code and not options.quiet:
            fleet.print_warnings(found, units, judgement)
            print(_sentence(found, units, judgement.number, "ok" if options.no_prove else "ok and proved"))
    return code


def _sentence(found: Repository, units: Sequence[Built], invariants: int, ok: str) -> str:
    tests = sum(each.outcome.tests for each in units)
    held = f", {counted(tests, 'test')} held" if tests else ""
    held += f", {counted(invariants, 'invariant')} proved" if invariants else ""
    without = len(found.inventory.unmanaged)
    left = f"; {without:,} without a policy" if without else ""
    return f"{found.inventory.text.file}: {ok}: {fleet.sentence(found, units)}{held}{left}"


def _print_json(found: Repository, units: Sequence[Built], judgement: Judgement, proved: bool) -> None:
    report = {
        "ok": fleet.exit_code(units, judgement) == 0,
        "changed": False,
        "inventory": found.inventory.text.file,
        "proved": proved,
        "units": fleet.as_json(units),
        "invariants": {
            "number": judgement.number,
            "broken": [
                {
                    "at": operands.place_json(each.origin),
                    "packet": each.packet or None,
                    "by": each.by or None,
                    "message": each.message,
                    "hosts": list(each.hosts),
                }
                for each in judgement.broken
            ],
            "warnings": [
                {"at": operands.place_json(each.origin), "message": each.message, "hosts": list(each.hosts)}
                for each in judgement.doubts
            ],
        },
        "unmanaged": list(found.inventory.unmanaged),
    }
    operands.print_json(report)
