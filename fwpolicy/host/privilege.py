"""Who may do it."""

from __future__ import annotations

import os

from fwpolicy.errors import HostError


def require_root(live: bool, verb: str) -> None:
    """HostError, in one line, where a verb on a live host is not run by root."""
    if live and os.geteuid() != 0:
        raise HostError(f"{verb} takes root (CAP_NET_ADMIN); try: sudo fwpolicy {verb} ...")
