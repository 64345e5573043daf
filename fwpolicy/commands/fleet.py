"""What the verbs have in common under --all: the repository in, failures out."""

from __future__ import annotations

import sys

from fwpolicy.commands.progress import Progress
from fwpolicy.errors import HostError
from fwpolicy.fleet.naming import of_policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fwpolicy.fleet.judging import Judgement
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Built, Run
    from fwpolicy.host.store import Store

# Beyond these nobody reads on.
_WARNINGS = 20


def repository(operand: str) -> Repository:
    """What an inventory, or a folder of one, says. Raises PolicyError, HostError."""
    from fwpolicy.fleet.repository import open_repository  # noqa: PLC0415
    from fwpolicy.host.tree import WorkTree  # noqa: PLC0415

    try:
        return open_repository(WorkTree(operand))
    except FileNotFoundError as error:
        raise HostError(f"{error.filename}: {error.strerror}") from None


def store(options: argparse.Namespace) -> Store:
    """Where results are kept. Raises HostError."""
    from fwpolicy.host.store import Store, default_folder  # noqa: PLC0415

    return Store(None if options.no_cache else options.cache or default_folder())


def built(
    found: Repository, options: argparse.Namespace, proved: bool
) -> tuple[tuple[Built, ...], Judgement]:
    """Every unit of the repository, and its invariants, with progress on stderr. Raises PolicyError where the
    invariants themselves are wrong, HostError."""
    from time import time  # noqa: PLC0415

    from fwpolicy.fleet.judging import judge_all  # noqa: PLC0415
    from fwpolicy.fleet.run import Run, build_all  # noqa: PLC0415

    progress = Progress(not options.quiet)
    run: Run = Run(store(options), int(time()), proved, progress)
    try:
        return build_all(found, run), judge_all(found, run)
    finally:
        progress.end()


def exit_code(units: Sequence[Built], judgement: Judgement) -> int:
    """Where several apply: 1, then 3."""
    codes = {each.outcome.exit_code for each in units}
    codes |= {3 if broken.packet else 1 for broken in judgement.broken}
    return next((code for code in (1, 3) if code in codes), 0)


def print_failures(found: Repository, units: Sequence[Built], judgement: Judgement) -> None:
    """What failed, on stderr: each message once, with the hosts that it is about."""
    from fwpolicy.fleet.naming import spoken  # noqa: PLC0415

    hosts: dict[str, list[str]] = {}
    for each in units:
        if each.outcome.exit_code:
            hosts.setdefault(each.outcome.message, []).extend(each.unit.hosts)
    for broken in judgement.broken:
        hosts.setdefault(broken.message, []).extend(broken.hosts)
    for message, names in hosts.items():
        print(message, file=sys.stderr)
        print(f"  on {spoken(names, found.inventory.groups)}", file=sys.stderr)


def print_warnings(found: Repository, units: Sequence[Built], judgement: Judgement) -> None:
    """Each warning once, on stderr."""
    from fwpolicy.fleet.naming import spoken  # noqa: PLC0415

    for doubt in judgement.doubts:
        print(doubt.message, file=sys.stderr)
        print(f"  on {spoken(doubt.hosts, found.inventory.groups)}", file=sys.stderr)
    _print_findings(units)


def _print_findings(units: Sequence[Built]) -> None:
    found = dict.fromkeys(each.rendered for unit in units for each in unit.outcome.findings)
    for text in tuple(found)[:_WARNINGS]:
        print(text, file=sys.stderr)
    if len(found) > _WARNINGS:
        print(f"... and {len(found) - _WARNINGS:,} more warnings (--json has them all)", file=sys.stderr)


def sentence(found: Repository, units: Sequence[Built]) -> str:
    """How many hosts of how many policies, and how many of these were known."""
    kept = sum(each.kept for each in units)
    text = of_policies(len(found.inventory.hosts), len(units))
    return f"{text} ({kept:,} from the cache)" if kept else text


def as_json(units: Sequence[Built]) -> list[dict[str, object]]:
    return [
        {
            "hosts": list(each.unit.hosts),
            "policies": [word.text for word in each.unit.policies],
            "ok": each.outcome.exit_code == 0,
            "policy": each.outcome.policy or None,
            "message": each.outcome.message or None,
            "tests": each.outcome.tests,
            "problems": [
                {
                    "severity": one.severity,
                    "message": one.message,
                    "at": {"file": one.at.file, "line": one.at.line, "column": one.at.column}
                    if one.at
                    else None,
                    "hint": one.hint,
                }
                for one in each.outcome.findings
            ],
        }
        for each in units
    ]


def only_operand(options: argparse.Namespace) -> str:
    """The inventory's, the current folder where none is given."""
    return options.policy[0] if options.policy else "."
