"""Working inside a named network namespace, as ip-netns(8) names them."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIRECTORY = "/run/netns"
_CLONE_NEWNET = 0x40000000  # linux/sched.h; setns(2) checks the kind of namespace with it


class NoScratchError(HostError):
    """No namespace can be made here: it takes CAP_SYS_ADMIN, which containers often lack."""


@contextmanager
def entered(name: str | None) -> Iterator[None]:
    """The calling thread's network is that of the namespace `name` until the block ends.

    Sockets stay in the namespace they were opened in, so those opened inside may be used after.
    None: nothing changes. HostError when there is no such namespace or it cannot be entered.
    """
    if name is None:
        yield
        return
    if not name or "/" in name or name in (".", ".."):
        raise HostError(f"'{name}' is not the name of a network namespace (see: ip netns list)")
    with _elsewhere(lambda: _enter(name)):
        yield


@contextmanager
def _elsewhere(move: Callable[[], None]) -> Iterator[None]:
    """The calling thread's network is where `move` takes it until the block ends."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        move()
        try:
            yield
        finally:
            _setns(before)
    finally:
        os.close(before)


def _enter(name: str) -> None:
    try:
        descriptor = os.open(f"{_DIRECTORY}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"no network namespace '{name}': {error.strerror} (see: ip netns list)") from None
    try:
        _setns(descriptor)
    except OSError as error:
        raise HostError(
            f"cannot enter the network namespace '{name}': {error.strerror}; it takes root"
        ) from None
    finally:
        os.close(descriptor)


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def scratch() -> Iterator[None]:
    """The calling thread's network is a new, empty namespace until the block ends, and the namespace is
    gone when its last socket is closed. NoScratchError where that is not permitted."""
    with _elsewhere(_unshare):
        yield


def made() -> int:
    """An open file of a new, empty namespace, which lives as long as that and the sockets in it. Raises
    NoScratchError."""
    with scratch():
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """The calling thread's network is the namespace behind an open file until the block ends."""
    with _elsewhere(lambda: _setns(descriptor)):
        yield


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare came with Python 3.12
    if libc.unshare(_CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise NoScratchError(f"cannot make a network namespace: {reason}")
