"""One at a time, and not torn apart by a signal."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import contextmanager

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PATIENCE = 30.0


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Nobody else holds `directory` or works below it while the block runs; HostError after 30 s of waiting.

    The lock is flock(2) on the nearest folder that exists, so it makes no file and dies with the process.
    """
    descriptor = os.open(_nearest(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _take(descriptor)
        yield
    finally:
        os.close(descriptor)


def _nearest(directory: str) -> str:
    while not os.path.isdir(directory):  # noqa: PTH112
        directory = os.path.dirname(directory) or "/"  # noqa: PTH120
    return directory


def _take(descriptor: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostError(
                    "another fwpolicy is at work on this host; try again when it is done"
                ) from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def whole() -> Iterator[None]:
    """A hang-up or a kill (SIGHUP, SIGTERM, SIGINT) becomes a HostError, once: what was begun is undone,
    and no second signal interrupts that."""

    def interrupted(number: int, _frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise HostError(f"interrupted by {signal.Signals(number).name}; everything was put back")

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
