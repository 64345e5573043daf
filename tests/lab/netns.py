"""Network namespaces from threads: setns(2) and unshare(2) move the calling thread only.

Python 3.11 has no os.setns. A socket belongs for ever to the namespace it was made in, so a
short visit by a thread is enough to hand one out.
"""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

CLONE_NEWNET = 0x40000000
SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h, Linux 5.14
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def unshare() -> None:
    """Put the calling thread, and what it starts from now on, into a new network namespace."""
    _checked(_LIBC.unshare(CLONE_NEWNET), "unshare")


def enter(descriptor: int) -> None:
    """Put the calling thread into the network namespace behind an open file."""
    _checked(_LIBC.setns(descriptor, CLONE_NEWNET), "setns")


def current() -> int:
    """An open file of the calling thread's network namespace; the namespace lives while it is open."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def call(function: Callable[[], T], path: Path | str | None = None) -> T:
    """Call `function` in a thread of its own, in the namespace at `path` or in a new one."""

    def inside() -> T:
        if path is None:
            unshare()
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                enter(descriptor)
            finally:
                os.close(descriptor)
        return function()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(inside).result()


def cookie(path: Path | str) -> int:
    """What tells the namespace from every other since boot: never reused, as its inode is."""

    def ask() -> int:
        with socket.socket() as asking:
            return int.from_bytes(asking.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")

    return call(ask, path)
