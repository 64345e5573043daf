"""netlink(7): a socket, messages and attributes, whatever the protocol.

By hand and not by pyroute2, which takes fifteen times as long to import as Python to start, and 100 us to
make an object of one message.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12
REQUEST, ACK, DUMP, DUMP_INTERRUPTED = 0x1, 0x4, 0x300, 0x10
ERROR, DONE = 2, 3
NESTED = 1 << 15
HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# The kernel makes no larger piece of a dump than 32 KiB.
LARGEST = 1 << 16
SOL_NETLINK = 270
_RCVBUFFORCE = 33  # asm-generic/socket.h
# Requests that are sent at once: so many answers of any kind of ours fit the socket's buffer.
_AT_ONCE = 200


class Netlink:
    """A socket in the network namespace of the thread that opens it; OSError where there is none.

    `groups`: the multicast groups to hear, as bits.
    """

    def __init__(self, protocol: int, groups: int = 0) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self._socket.bind((0, groups))
        self._number = 0
        try:
            self._socket.setsockopt(SOL_SOCKET, _RCVBUFFORCE, 1 << 22)
        except PermissionError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def heard(self) -> bytes:
        """The next datagram of a multicast group. Raises OSError: ENOBUFS where some were lost."""
        return self._socket.recv(LARGEST)

    def dump(self, kind: int, body: bytes) -> Iterator[tuple[bytes, int, int]]:
        """What follows the header in each message of a dump: a datagram, where in it, and its end. Raises
        OSError."""
        self._socket.send(message(kind, REQUEST | DUMP, 0, body))
        while True:
            data = self._socket.recv(LARGEST)
            at = 0
            while at + HEADER.size <= len(data):
                size, answer, _, _, _ = HEADER.unpack_from(data, at)
                if answer == DONE:
                    return
                if answer == ERROR:
                    raise _error(data[at + HEADER.size :])
                yield data, at + HEADER.size, at + size
                at += max(HEADER.size, size + 3 & ~3)

    def ask(self, kind: int, bodies: Iterable[bytes]) -> list[bytes | OSError]:
        """The kernel's one answer to each request, what follows its header, or why there is none."""
        return [each for part in _parts(bodies) for each in self._ask(kind, part)]

    def tell(self, kind: int, bodies: Iterable[bytes], flags: int = 0) -> list[OSError | None]:
        """Do each; what was wrong with it, or None."""
        return [each for part in _parts(bodies) for each in self._tell(kind, part, flags)]

    def _ask(self, kind: int, bodies: list[bytes]) -> list[bytes | OSError]:
        first = self._send(kind, bodies, 0, 0)
        found: dict[int, bytes | OSError] = {}
        while len(found) < len(bodies):
            found |= self._answers(first)
        return [found[at] for at in range(len(bodies))]

    def _tell(self, kind: int, bodies: list[bytes], flags: int) -> list[OSError | None]:
        """Of the last one the kernel says, too, that it went well, and it does them in order."""
        first = self._send(kind, bodies, flags, ACK)
        found: dict[int, bytes | OSError] = {}
        while len(bodies) - 1 not in found:
            found |= self._answers(first)
        answers = (found.get(at) for at in range(len(bodies)))
        return [each if isinstance(each, OSError) else None for each in answers]

    def _send(self, kind: int, bodies: list[bytes], flags: int, last: int) -> int:
        """The number of the first; `last`: one more flag of the last."""
        first = self._number + 1
        self._number += len(bodies)
        every = [REQUEST | flags] * (len(bodies) - 1) + [REQUEST | flags | last]
        numbered = enumerate(zip(bodies, every, strict=True), first)
        self._socket.send(b"".join([message(kind, flag, at, body) for at, (body, flag) in numbered]))
        return first

    def _answers(self, first: int) -> dict[int, bytes | OSError]:
        told = messages(self._socket.recv(LARGEST))
        return {number - first: _answer(kind, rest) for kind, _, number, rest in told}


def _answer(kind: int, rest: bytes) -> bytes | OSError:
    if kind != ERROR:
        return rest
    error = _error(rest)
    return error if error.errno else b""


def _error(rest: bytes) -> OSError:
    code = -struct.unpack_from("=i", rest)[0]
    return OSError(code, os.strerror(code))


def _parts(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    every = list(bodies)
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """nlmsghdr and `body`, padded for another one to follow."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body + bytes(-len(body) % 4)


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, number, what follows nlmsghdr) of each message of a datagram."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, flags, number, _ = HEADER.unpack_from(data, at)
        yield kind, flags, number, data[at + HEADER.size : at + size]
        at += max(HEADER.size, size + 3 & ~3)


def attribute(kind: int, data: bytes) -> bytes:
    """struct nlattr; its length is without the padding."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(body: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & 0x3FFF] = body[at + 4 : at + size]
        at += max(4, size + 3 & ~3)
    return found
