"""Whole folders of a host, moved and removed so that a power cut leaves them here or there."""

from __future__ import annotations

import os
from contextlib import suppress

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from fwpolicy.host.files import Files


def sync(folder: str | Path) -> None:
    """Make durable what names are in it (fsync(2)): one that is not takes all that is in it along. Raises
    OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(files: Files, old: str, new: str) -> None:
    """One step for all who look, durable when it returns: both have the same parent. Raises HostError."""
    place = files.locate(old, follow=False)
    try:
        place.rename(files.locate(new, follow=False))
        sync(place.parent)
    except OSError as error:
        raise HostError(f"cannot rename {old}: {error.strerror}") from None


def remove_tree(files: Files, path: str) -> None:
    """The folder with all that is in it; nothing where there is none. Raises HostError."""
    import shutil  # noqa: PLC0415 (5 ms, and mostly nothing is removed)

    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(files.locate(path, follow=False))
    except OSError as error:
        raise HostError(f"cannot remove {path}: {error.strerror}") from None
