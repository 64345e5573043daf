"""fwpolicy report: a fleet on one page."""

from __future__ import annotations

import sys

from fwpolicy.commands import fleet, operands
from fwpolicy.commands.progress import Progress
from fwpolicy.fleet.naming import of_policies
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.fleet.facts import Facts
    from fwpolicy.fleet.overview import Came, Overview
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.unit import Tree

_HOURS = 24
_NAMED = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inventory", nargs="?", metavar="INVENTORY", help="the inventory, or its folder (.)")
    operands.fleet_arguments(parser, policies=False)
    parser.add_argument("-o", dest="output", metavar="FILE", help="where the page is written; - is stdout")
    parser.add_argument("--facts", metavar="DIR", help="what the hosts said of themselves (docs/fleet.md)")
    parser.add_argument(
        "--stale", type=_hours, metavar="HOURS", default=_HOURS, help="facts that are older say nothing (24)"
    )
    operands.prove_argument(parser)
    operands.report_arguments(parser)


def _hours(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        import argparse  # noqa: PLC0415

        raise argparse.ArgumentTypeError(f"'{text}' is not a number of hours")
    return int(text)


def run(options: argparse.Namespace) -> int:
    if not options.all:
        options.parsers()["report"].error("it is about every host of an inventory: --all")
    if not options.output:
        options.parsers()["report"].error("-o FILE is needed")
    if options.output == "-" and options.json:
        options.parsers()["report"].error("-o - and --json both want stdout")
    from fwpolicy.view import page  # noqa: PLC0415

    overview, code = _overview(fleet.repository(options.inventory or "."), options)
    text = page.page(overview, _asset(page.__file__, "page.css"), _asset(page.__file__, "page.js"))
    changed = _write(options.output, text.encode())
    if options.json:
        operands.print_json({"changed": changed, "file": options.output, **_numbers(overview)})
    elif not options.quiet:
        where = "" if options.output == "-" else f"{options.output}: "
        print(f"{where}{_sentence(overview)}", file=sys.stderr)
    return code


def _write(output: str, text: bytes) -> bool:
    """Whether it had to be written."""
    if output == "-":
        sys.stdout.buffer.write(text)
        return True
    from fwpolicy.host.outputs import write_file  # noqa: PLC0415

    return write_file(output, text, 0o644)


def _asset(beside: str, name: str) -> str:
    """The text of a file of the view's."""
    from fwpolicy.host.texts import read_file  # noqa: PLC0415

    return read_file(f"{beside.rpartition('/')[0]}/{name}").decode()


def _overview(found: Repository, options: argparse.Namespace) -> tuple[Overview, int]:
    """(all that the page tells, the exit code)."""
    from time import time  # noqa: PLC0415

    from fwpolicy import VERSION  # noqa: PLC0415
    from fwpolicy.fleet.overview import Overview, seen_units  # noqa: PLC0415
    from fwpolicy.fleet.run import Run  # noqa: PLC0415

    proved = not options.no_prove
    built, judgement = fleet.built(found, options, proved)
    fleet.print_failures(found, built, judgement)
    now = int(time())
    progress = Progress(not options.quiet)
    try:
        places, units = seen_units(found, built, Run(fleet.store(options), now, proved, progress))
    finally:
        progress.end()
    facts = _facts(found, options, now)
    inventory = found.inventory
    overview = Overview(
        inventory.text.file,
        now,
        VERSION,
        _came(found.tree),
        proved,
        inventory.groups,
        inventory.unmanaged,
        places,
        units,
        judgement,
        options.facts is not None,
        facts,
    )
    return overview, fleet.exit_code(built, judgement)


def _came(tree: Tree) -> Came | None:
    from fwpolicy.fleet.overview import Came  # noqa: PLC0415
    from fwpolicy.host.commits import checked_out  # noqa: PLC0415
    from fwpolicy.host.tree import WorkTree  # noqa: PLC0415

    assert isinstance(tree, WorkTree)  # noqa: S101  (fleet.repository opens no other)
    seen = checked_out(tree.root) if tree.in_git else None
    if seen is None:
        return None
    commit, changed = seen
    return Came(commit.id, commit.author, commit.time, changed)


def _facts(found: Repository, options: argparse.Namespace, now: int) -> dict[str, Facts]:
    """What is known of each host."""
    if options.facts is None:
        return {}
    from fwpolicy.fleet.facts import HOUR, facts_of  # noqa: PLC0415
    from fwpolicy.host.reports import Reports  # noqa: PLC0415

    reports = Reports(options.facts)
    known = {host.name for host in found.inventory.hosts}
    strangers = sorted(reports.hosts() - known)
    if strangers and not options.quiet:
        said = ", ".join(strangers[:_NAMED]) + (", ..." if len(strangers) > _NAMED else "")
        print(f"fwpolicy: {options.facts}: no policy is for: {said}", file=sys.stderr)
    return {host: facts_of(reports.of(host), now, options.stale * HOUR) for host in sorted(known)}


def _numbers(overview: Overview) -> dict[str, object]:
    """The page's figures."""
    from fwpolicy.fleet import findings  # noqa: PLC0415

    hosts = list(findings.hosts_of(overview))
    states = findings.states(overview)
    of_state = {each: states.count(each) for each in (findings.SAME, findings.DIFFERS, findings.UNKNOWN)}
    postures = findings.ntp(overview)
    return {
        "hosts": len(hosts),
        "unread": findings.unread(overview),
        "policies": len(overview.units),
        "wrong": sum(bool(unit.wrong) for unit in overview.units),
        "invariants": {"number": overview.judgement.number, "broken": len(overview.judgement.broken)},
        "risky": {str(level): _risky(overview, level) for level in (3, 2, 1)},
        "drift": of_state,
        "expiring": sum(left < findings.SOON for _, _, left in findings.expiring(overview)),
        "unused": len(findings.unused(overview)),
        "ntp_open": sorted({host for each in postures for host, _ in each.answered}),
    }


def _risky(overview: Overview, level: int) -> int:
    from fwpolicy.fleet.findings import openings  # noqa: PLC0415

    return sum(each.level == level for each, _ in openings(overview))


def _sentence(overview: Overview) -> str:
    from fwpolicy.fleet import findings  # noqa: PLC0415

    hosts, unread = len(list(findings.hosts_of(overview))), findings.unread(overview)
    known = f"{hosts - unread:,} of {hosts:,} hosts looked at; " if unread else ""
    risky = counted(len(findings.openings(overview)), "risky opening")
    return f"{known}{of_policies(hosts, len(overview.units))}, {risky}"
