"""fwpolicy lint --all: lines that do nothing, of every host of an inventory, each told once."""

from __future__ import annotations

import json
import sys

from fwpolicy.commands import fleet, lint, operands
from fwpolicy.commands.progress import Progress
from fwpolicy.errors import FwpolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.unit import Unit


def run(options: argparse.Namespace) -> int:
    found = fleet.repository(fleet.only_operand(options))
    findings, wrong = _everything(found, options)
    if options.json:
        said = [{**finding, "hosts": hosts} for finding, _, hosts in findings]
        reasons = [{"message": message, "hosts": hosts} for message, hosts in wrong]
        operands.print_json({"changed": False, "findings": said, "wrong": reasons})
    else:
        _tell(found, findings, wrong, options.quiet)
    if wrong:
        return 1
    return lint.FOUND if findings else 0


def _everything(
    found: Repository, options: argparse.Namespace
) -> tuple[list[tuple[dict[str, Any], str, list[str]]], list[tuple[str, list[str]]]]:
    """(what was found, as JSON has it and in words, with its hosts; what could not be looked at)."""
    from fwpolicy.fleet.run import worked  # noqa: PLC0415

    def work(number: int) -> bytes:
        return json.dumps(_of_unit(found, found.units[number])).encode()

    findings: dict[str, tuple[dict[str, Any], str, list[str]]] = {}
    wrong: dict[str, list[str]] = {}
    progress = Progress(not options.quiet)
    try:
        done = dict(worked(work, len(found.units), "policies", progress))
    finally:
        progress.end()
    for number, unit in enumerate(found.units):
        told = json.loads(done[number])
        if isinstance(told, str):
            wrong.setdefault(told, []).extend(unit.hosts)
            continue
        for plain, text in told:
            findings.setdefault(json.dumps([plain, text]), (plain, text, []))[2].extend(unit.hosts)
    return list(findings.values()), list(wrong.items())


def _of_unit(found: Repository, unit: Unit) -> str | list[tuple[dict[str, object], str]]:
    """What lint says of a unit's policy; why it says nothing instead."""
    from fwpolicy.deploy.counters import line_texts  # noqa: PLC0415
    from fwpolicy.errors import Span  # noqa: PLC0415
    from fwpolicy.fleet.unit import Reading, load_unit  # noqa: PLC0415

    reading = Reading(found.tree)
    text_of = line_texts(reading.read)

    def text_at(file: str, line: int) -> str:
        return text_of(Span(file, line, 1, 2)) if line else ""

    try:
        policy, _ = load_unit(unit, found.inventory, reading)
        reports = lint.of_policy(policy)
    except FwpolicyError as error:
        return str(error)
    return [(lint.as_json(each, text_at), lint.rendered(each, text_at)) for each in reports]


def _tell(
    found: Repository,
    findings: list[tuple[dict[str, Any], str, list[str]]],
    wrong: list[tuple[str, list[str]]],
    quiet: bool,
) -> None:
    from fwpolicy.fleet.naming import spoken  # noqa: PLC0415

    for text, hosts in (*wrong, *(() if quiet else ((text, hosts) for _, text, hosts in findings))):
        print(f"{text}\n  on {spoken(hosts, found.inventory.groups)}", file=sys.stderr)
    if not quiet and not wrong:
        print(f"{found.inventory.text.file}: {lint.sentence(len(findings))}")
