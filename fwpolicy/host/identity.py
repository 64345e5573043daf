"""What a host is called."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.host.files import Files


def names(files: Files) -> tuple[str, ...]:
    """The host's name (of an image: from its /etc/hostname), whole and up to its first dot."""
    whole = os.uname().nodename if str(files.root) == "/" else (files.read("/etc/hostname") or "").strip()
    return tuple(dict.fromkeys((whole, whole.partition(".")[0])))
