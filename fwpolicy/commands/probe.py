"""`fwpolicy probe`: what does a host answer that a client of time need not answer?"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

from fwpolicy.addresses import AddressError, parse
from fwpolicy.commands import operands
from fwpolicy.deploy.probe import ask, report
from fwpolicy.host.netns import entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _address(text: str) -> str:
    try:
        _, first, last = parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if first != last:
        raise argparse.ArgumentTypeError(f"'{text}' is more than one address")
    return text


def _duration(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a time")
    return float(text)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fwpolicy probe`."""
    add = parser.add_argument
    many: dict[str, Any] = {"metavar": "ADDR", "action": "append", "default": []}
    add("hosts", nargs="+", metavar="HOST", help="the address or name to probe")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=4, help="over IPv4 only")
    family.add_argument("-6", dest="family", action="store_const", const=6, help="over IPv6 only")
    add(
        "--control",
        dest="controls",
        metavar="HOST",
        action="append",
        default=[],
        help="a time server known to answer; without one (in each family) silence proves nothing",
    )
    add("--forge", type=_address, help="send as this time server, too (repeatable)", **many)
    add("--source", type=_address, dest="sources", help="send from these in turn (repeatable)", **many)
    add("--spacing", metavar="MS", type=_duration, default=30, help="between probes (30 ms)")
    add("--wait", metavar="S", type=_duration, default=1.0, help="for answers after the last probe (1 s)")
    add("--quick", action="store_true", help="only the minimum")
    add("--broadcast", metavar="ADDR", type=_address, help="probe this broadcast address, too")
    add("--interface", metavar="IF", help="send and watch there (the route's)")
    add("--netns", metavar="NAME", help="probe from inside this network namespace")
    add("--json", action="store_true", help="the report as JSON")
    add("--quiet", action="store_true", help="no report: the exit status says it")


def run(options: argparse.Namespace) -> int:
    """Probes and reports: 0 closed, 3 something answered, 1 nothing can be concluded."""
    given = {name: getattr(options, name) for name in ask.OPTIONS}
    given |= {name: tuple(given[name]) for name in ("controls", "forge", "sources")}
    given["spacing"] = options.spacing / 1000
    tell = partial(print, file=sys.stderr, flush=True)
    with entered(options.netns):
        targets = ask.probe(tuple(options.hosts), ask.Options(**given), None if options.quiet else tell)
    if options.json:
        print(json.dumps(report.document(targets) | {"at": operands.now()}, indent=2))
    elif not options.quiet:
        print(report.text(targets))
    if options.json or options.quiet:
        for sentence in report.inconclusive(targets):
            tell(sentence)
    return report.EXIT[report.overall(targets)]
