"""Who is at this command: whether somebody is there to be asked, and what to call them."""

from __future__ import annotations

import os
import sys

from fwpolicy.host.operator import Operator, operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def is_there(options: argparse.Namespace) -> bool:
    """At a terminal or over SSH, and about this host itself: a namespace or an image locks nobody out."""
    if options.netns or options.root != "/":
        return False
    return (sys.stdin.isatty() and sys.stdout.isatty()) or over_ssh() is not None


def over_ssh() -> Operator | None:
    """The SSH connection that this command came over."""
    return operator(os.environ)


def am_i() -> str:
    """The name to record: sudo(8) and doas(1) keep that of the one who called them."""
    keys = ("SUDO_USER", "DOAS_USER", "LOGNAME", "USER")
    name = next((name for key in keys if (name := os.environ.get(key))), "")
    found = over_ssh()
    return f"{name or 'somebody'} from {found.address}" if found else name
