"""Whether TCP connections from here come about, many at a time."""

from __future__ import annotations

import os
import select
import socket
import time
from errno import EINPROGRESS

from fwpolicy.addresses import format_address

# (address family 4 or 6, address, port)
Target = tuple[int, int, int]


def unreached(targets: tuple[Target, ...], seconds: float) -> dict[Target, str]:
    """Those to which no connection comes about within `seconds`, each with the reason. All are tried at
    once, and closed again without a word."""
    end = time.monotonic() + seconds
    failed: dict[Target, str] = {}
    waiting: dict[int, tuple[socket.socket, Target]] = {}
    try:
        for target in targets:
            _begin(target, waiting, failed)
        _settle(waiting, failed, end)
        for _, target in waiting.values():
            failed[target] = f"no answer within {seconds:.0f} s"
    finally:
        for connection, _ in waiting.values():
            connection.close()
    return failed


def _begin(
    target: Target, waiting: dict[int, tuple[socket.socket, Target]], failed: dict[Target, str]
) -> None:
    family, address, port = target
    try:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        connection = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        failed[target] = error.strerror or str(error)
        return
    waiting[connection.fileno()] = (connection, target)
    code = connection.connect_ex((format_address(family, address), port))
    if code not in (0, EINPROGRESS):
        _end(connection.fileno(), os.strerror(code), waiting, failed)


def _settle(waiting: dict[int, tuple[socket.socket, Target]], failed: dict[Target, str], end: float) -> None:
    """Take out of `waiting` whatever is decided until `end`."""
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLOUT)
    while waiting and (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            _end(descriptor, _trouble(waiting[descriptor][0]), waiting, failed)


def _end(
    descriptor: int,
    trouble: str,
    waiting: dict[int, tuple[socket.socket, Target]],
    failed: dict[Target, str],
) -> None:
    connection, target = waiting.pop(descriptor)
    connection.close()
    if trouble:
        failed[target] = trouble


def _trouble(connection: socket.socket) -> str:
    """Why the connection did not come about, "" where it did."""
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return os.strerror(code)
    try:
        # A port of our own may be the one that is asked, which then speaks with itself (RFC 9293, 3.5).
        with_itself = connection.getsockname() == connection.getpeername()
    except OSError as error:
        return error.strerror or str(error)
    return "nobody listens there" if with_itself else ""
