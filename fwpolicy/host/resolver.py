"""Asking the system's resolver for the addresses of hosts (getaddrinfo(3))."""

from __future__ import annotations

import socket

from fwpolicy.addresses import parse
from fwpolicy.policy.lock import NOWHERE, Answer


def resolve(host: str) -> Answer:
    """The A and AAAA addresses of `host`, sorted, or why there are none."""
    try:
        # With the dot no search domain of this machine is tried.
        found = socket.getaddrinfo(f"{host}.", None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Answer(failure=_plain(reason))
    addresses = {str(address[0]).partition("%")[0] for *_, address in found}
    nowhere = sorted(each for each in addresses if parse(each)[:2] in NOWHERE)
    if nowhere:
        return Answer(failure=f"resolves to {nowhere[0]}, which is this host or none")
    return Answer(tuple(sorted(addresses)))


def _plain(text: str) -> str:
    """As it may stand inside quotes."""
    return "".join(c for c in text if c.isprintable() and c not in '"\\')[:80]
