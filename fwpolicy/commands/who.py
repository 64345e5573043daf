"""Who is at this command: whether somebody is there to be asked, and what to call them."""

from __future__ import annotations

import os
import sys
from functools import cache

from fwpolicy.commands import operands
from fwpolicy.host.operator import Operator, operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.apply import Asked
    from fwpolicy.policy.model import ApplyOptions

# Long enough to open another connection, short enough to wait for.
_ASKED_FOR = 60


def asking_arguments(parser: argparse.ArgumentParser) -> None:
    ask = parser.add_mutually_exclusive_group()
    text = "take it back after TIME (60s) unless confirmed"
    ask.add_argument("--confirm", metavar="TIME", type=operands.seconds, help=text)
    ask.add_argument("--no-confirm", action="store_true", help="let it count at once")


def asked(options: argparse.Namespace, wanted: ApplyOptions) -> Asked:
    """From a terminal or over SSH somebody is there to be asked; else the gates are (docs/cli.md)."""
    from fwpolicy.deploy.apply import Asked  # noqa: PLC0415

    if options.root != "/":
        seconds = 0
    elif options.confirm is not None:
        seconds = options.confirm
    elif options.no_confirm or not (wanted.gates or is_there(options)):
        seconds = 0
    elif wanted.confirm is None or (wanted.gates and not wanted.confirm):
        seconds = _ASKED_FOR
    else:
        seconds = wanted.confirm
    return Asked(am_i(), seconds)


def tell_how_to_confirm(seconds: float) -> None:
    """Nothing where nobody is asked."""
    if seconds:
        how = "unless you confirm it, from a new connection: fwpolicy confirm"
        print(f"it is taken back in {seconds:.0f} s {how}")


def is_there(options: argparse.Namespace) -> bool:
    """At a terminal or over SSH, and about this host itself: a namespace or an image locks nobody out."""
    if options.netns or options.root != "/":
        return False
    return (sys.stdin.isatty() and sys.stdout.isatty()) or over_ssh() is not None


@cache
def over_ssh() -> Operator | None:
    """The SSH connection that this command came over."""
    return operator(os.environ)


def am_i() -> str:
    """The name to record: sudo(8) and doas(1) keep that of the one who called them."""
    keys = ("SUDO_USER", "DOAS_USER", "LOGNAME", "USER")
    name = next((name for key in keys if (name := os.environ.get(key))), "")
    found = over_ssh()
    return f"{name or 'somebody'} from {found.address}" if found else name
