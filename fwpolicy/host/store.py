"""A folder of results by the digest of what they were made from: what is there need not be made again.

Losing it, or any of it, costs time and nothing else, so nothing is synced. It holds what was proved, so it
is believed only where nobody else can write.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY = 86400
_KEPT = 30 * _DAY


def default_folder() -> str | None:
    """XDG Base Directory Specification, XDG_CACHE_HOME; None for a user who has no home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = home if home.startswith("/") else os.path.expanduser("~/.cache")  # noqa: PTH111
    return f"{base}/fwpolicy/fleet" if base.startswith("/") else None


class Store:
    """Bytes by (kind, digest) below `folder`; None: nothing is kept."""

    def __init__(self, folder: str | None) -> None:
        """Makes the folder. Raises HostError where others can write to it."""
        self.folder = folder
        if folder is None:
            return
        try:
            os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
            status = os.stat(folder)  # noqa: PTH116
        except OSError as error:
            raise HostError(
                f"cannot keep results in {folder}: {error.strerror}; --no-cache does without"
            ) from None
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HostError(f"{folder}: others can write here, and what it says could not be believed")

    def get(self, kind: str, digest: str) -> bytes | None:
        """What was put there, or None."""
        path = self._path(kind, digest)
        if path is None:
            return None
        try:
            with open(path, "rb") as stream:  # noqa: PTH123
                if time.time() - os.fstat(stream.fileno()).st_mtime > _DAY:
                    os.utime(path)
                return stream.read()
        except OSError:
            return None

    def put(self, kind: str, digest: str, content: bytes) -> None:
        """Keep `content`; a folder that is full, or read-only now, is no failure."""
        path = self._path(kind, digest)
        if path is None:
            return
        temporary = f"{path}.{os.getpid()}"
        with suppress(OSError):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)  # noqa: PTH103, PTH120
            with open(temporary, "wb") as stream:  # noqa: PTH123
                stream.write(content)
            os.replace(temporary, path)  # noqa: PTH105

    def prune(self) -> None:
        """Forget what was not asked for in thirty days."""
        limit = time.time() - _KEPT
        for path in self._files():
            with suppress(OSError):
                if os.stat(path).st_mtime < limit:  # noqa: PTH116
                    os.unlink(path)  # noqa: PTH108

    def _files(self) -> Iterator[str]:
        for folder, _, names in os.walk(self.folder or os.devnull):
            yield from (f"{folder}/{name}" for name in names)

    def _path(self, kind: str, digest: str) -> str | None:
        return f"{self.folder}/{kind}/{digest[:2]}/{digest[2:]}" if self.folder else None


def own_text() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file of this program, in order: another program, other results."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    for folder, folders, names in os.walk(package):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = f"{folder}/{name}"
                with open(path, "rb") as stream:  # noqa: PTH123
                    yield path.removeprefix(package), stream.read()
