"""One at a time, and not torn apart by a signal."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from contextlib import contextmanager, suppress

from fwpolicy.errors import HostError, InterruptedByError
from fwpolicy.host.folders import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PATIENCE = 30.0


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Nobody else holds `directory` while the block runs; HostError after 30 s of waiting.

    The lock is flock(2) on the folder itself, so it dies with the process. The folder is made for it, root's
    alone, and goes again if it is left empty.
    """
    made = _make(directory)
    descriptor = _hold(directory)
    try:
        yield
    finally:
        for folder in reversed(made):
            _remove_if_empty(folder)
        os.close(descriptor)


# What tells the folder of a state from any other.
_OURS = frozenset({"generations", "originals.json", "running", "journal", "undoing", "netns", "sync"})


def keep_private(directory: str) -> bool:
    """Whoever may open a folder may hold its lock for ever: one of root's (or ours) that is empty, or holds a
    state, is its owner's alone from now on. True where it was not."""
    with suppress(OSError):
        status = os.lstat(directory)
        private = not status.st_mode & 0o077
        if private or not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()):
            return False
        names = os.listdir(directory)  # noqa: PTH208
        if not names or _OURS.intersection(names):
            os.chmod(directory, 0o700)  # noqa: PTH101
            return True
    return False


def _make(directory: str) -> list[str]:
    """The folders that were missing, the outermost first."""
    made: list[str] = []
    missing = directory
    while not os.path.isdir(missing):  # noqa: PTH112
        made.insert(0, missing)
        missing = os.path.dirname(missing)  # noqa: PTH120
    for folder in made:
        with suppress(FileExistsError):  # somebody else's first command, at the same time
            os.mkdir(folder, 0o700 if folder == directory else 0o755)  # noqa: PTH102
        sync(os.path.dirname(folder))  # noqa: PTH120
    return made


def _remove_if_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106


def _hold(directory: str) -> int:
    """A descriptor with the lock, of the folder that has the name by then: one that is left empty goes."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        _make(directory)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        _take(descriptor, deadline)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(directory)):  # noqa: PTH116
                return descriptor
        os.close(descriptor)


def _take(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise HostError(
                    "another fwpolicy is at work on this host; try again when it is done"
                ) from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def whole() -> Iterator[None]:
    """A hang-up or a kill (SIGHUP, SIGTERM, SIGINT) becomes an InterruptedByError, once: what was begun is
    undone, and no second signal interrupts that."""

    def interrupted(number: int, _frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise InterruptedByError(f"interrupted by {signal.Signals(number).name}; everything was put back")

    caught = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    # nohup(1): a hang-up that is ignored stays ignored.
    handled = [number for number, before in caught.items() if before is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, caught[number] or signal.SIG_DFL)
