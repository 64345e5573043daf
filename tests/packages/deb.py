"""The Debian package, built as `make deb` builds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.holder import run

from .wheelhouse import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


def build(folder: Path, umask: int = 0o022) -> Path:
    """The package, in an absolute folder of its own; no tool is installed for it. Raises CommandError."""
    run("make", "deb", "DEB_TOOLS=", f"BUILD={folder}", cwd=CHECKOUT, umask=umask, timeout=300)
    (package,) = folder.glob("fwpolicy_*_all.deb")
    return package
