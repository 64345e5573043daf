"""nf_tables over netlink, for what libnftables is slow at: elements of sets, and the generation.

netlink(7), linux/netfilter/nfnetlink.h. A batch is one datagram and one transaction; the kernel
has answered when send(2) returns.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import (
    ACK,
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    HEADER,
    LARGEST,
    NETFILTER,
    REQUEST,
    SOL_NETLINK,
    attributes,
    messages,
)
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol, Self

    class Message(Protocol):
        """What a batch is made of (backends/nft/elements.py)."""

        @property
        def kind(self) -> int: ...
        @property
        def flags(self) -> int: ...
        @property
        def body(self) -> bytes: ...


_NF_TABLES, _INET = 10, 1
_SNDBUFFORCE, _RCVBUFFORCE, _NETNS_COOKIE = 32, 33, 71  # asm-generic/socket.h
_CAP_ACK, _EXT_ACK = 10, 11
_BATCH_BEGIN, _BATCH_END = 16, 17
_GET_TABLE, _GET_SET, _GET_ELEMENTS, _GET_GENERATION = 1, 10, 13, 16
_ANY_FAMILY = 0
_OFFSET = 2  # NLMSGERR_ATTR_OFFS
# NFTA_SET_*: table, name, flags, the key's type and length, description, id, userdata, handle, and (Linux
# 6.16) what the set is made of and how many it holds.
_COUNT, _DESCRIPTION, _PLAIN = 20, 9, frozenset((1, 2, 3, 4, 5, 9, 10, 13, 16, 19, 20))
_PREFIX = 20  # nlmsghdr and nfgenmsg
# Elements in the kernel's memory take more than in a message; a batch beyond this is not ours.
_MOST = 1 << 30


class StaleError(HostError):
    """Somebody changed the ruleset since the generation that the batch was made for; nothing was changed."""


class BatchRefusedError(HostError):
    """The kernel refused a message of the batch, and so all: which one, and where in its body."""

    def __init__(self, number: int, offset: int | None, code: int) -> None:
        self.number, self.offset, self.reason = number, offset, os.strerror(code)
        super().__init__(f"the kernel refused the elements: {self.reason}")


@record
class SetKind:
    """A set of the kernel's: nft's number of its key's type, flags, and whether it has nothing else (no
    time-out, no size, no expression), as sets of ours. `count`: how many it holds, where the kernel says.
    """

    key_type: int
    flags: int
    plain: bool
    count: int | None


class Netfilter:
    """A socket in the network namespace of the thread that opens it. Raises HostError."""

    def __init__(self) -> None:
        try:
            self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETFILTER)
            self._socket.bind((0, 0))
            for option in (_CAP_ACK, _EXT_ACK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
            # A dump's chunks wait here, 32 KiB each and counted larger.
            self._force(_RCVBUFFORCE, 1 << 22)
        except OSError as error:
            raise HostError(f"no netfilter socket: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def instance(self) -> str:
        """This boot and this network namespace, as long as it lives; raises HostError before Linux 5.14.

        With generation() it names one state of the ruleset: a namespace's cookie is never given twice.
        """
        try:
            cookie = self._socket.getsockopt(SOL_SOCKET, _NETNS_COOKIE, 8)
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
                return f"{stream.read().strip()} {struct.unpack('=Q', cookie)[0]}"
        except OSError as error:
            raise HostError(f"this kernel does not name its namespaces: {error.strerror}") from None

    def generation(self) -> int:
        """Counted by every transaction on this namespace's tables, anybody's."""
        (body,) = self._ask(_GET_GENERATION, 0, b"")
        return int.from_bytes(attributes(body)[1], "big")

    def moment(self) -> str:
        """This state of the ruleset, as no other is called. Raises HostError before Linux 5.14."""
        return f"{self.instance()} {self.generation()}"

    def tables(self) -> list[tuple[int, dict[int, bytes]]]:
        """(family, attributes) of each table, in order. Raises InterruptedError where they changed
        meanwhile."""
        found = self._answers(_GET_TABLE, DUMP, b"", _ANY_FAMILY)
        return [(each[0], attributes(each[4:])) for each in found]

    def set_kind(self, where: bytes) -> SetKind | None:
        """What kind of set is there; None where none is. `where`: its table's and its own name."""
        try:
            (body,) = self._ask(_GET_SET, 0, where)
        except FileNotFoundError:
            return None
        found = attributes(body)
        numbers = {kind: int.from_bytes(found.get(kind, b""), "big") for kind in (3, 4)}
        plain = found.keys() <= _PLAIN and not found.get(_DESCRIPTION)
        count = int.from_bytes(found[_COUNT], "big") if _COUNT in found else None
        return SetKind(numbers[4], numbers[3], plain, count)

    def elements(self, where: bytes) -> list[bytes]:
        """The bodies of a dump of a set. Raises HostError, InterruptedError where it changed meanwhile."""
        return self._ask(_GET_ELEMENTS, DUMP, where)

    def lookup(self, body: bytes) -> bytes | None:
        """The element that the kernel finds for one that is asked for, as an attribute list."""
        try:
            (answer,) = self._ask(_GET_ELEMENTS, 0, body)
        except FileNotFoundError:
            return None
        return attributes(answer).get(3)

    def commit(self, batch: Iterable[Message], generation: int | None) -> None:
        """All of `batch` as one transaction, on top of `generation` (None: of whatever is there).

        Raises StaleError, BatchRefusedError, HostError; then nothing has changed.
        """
        datagram = _batch(list(batch), generation)
        if len(datagram) > _MOST:
            raise HostError("too many elements for one transaction")
        try:
            self._force(_SNDBUFFORCE, 2 * len(datagram))
            self._socket.send(datagram)
        except OSError as error:
            raise HostError(f"cannot send the elements: {error.strerror}") from None
        self._read_verdict()

    def _read_verdict(self) -> None:
        """The last message asks for an acknowledgement, which comes only with everything committed or
        an error beside it."""
        acknowledged = False
        refused: BatchRefusedError | None = None
        while True:
            try:
                data = self._socket.recv(LARGEST, 0x40)  # MSG_DONTWAIT: it is all here
            except BlockingIOError:
                break
            except OSError as error:
                raise HostError(f"the kernel's answer was lost: {error.strerror}") from None
            for kind, _, number, body in messages(data):
                code = -struct.unpack_from("=i", body)[0] if kind == ERROR else 0
                if code == errno.ERESTART:
                    raise StaleError("somebody changed the ruleset meanwhile; nothing was changed")
                if code and refused is None:
                    refused = BatchRefusedError(number - 1, _offset(body), code)
                acknowledged = acknowledged or (kind == ERROR and code == 0)
        if refused:
            raise refused
        if not acknowledged:
            raise HostError("the kernel did not say that it took the elements")

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The bodies of all answers; FileNotFoundError for ENOENT, else HostError."""
        return [answer[4:] for answer in self._answers(kind, flags, body, _INET)]

    def _answers(self, kind: int, flags: int, body: bytes, family: int) -> list[bytes]:
        """As _ask, each answer with what stands before its body (nfgenmsg)."""
        found: list[bytes] = []
        try:
            self._socket.send(_message(_NF_TABLES << 8 | kind, REQUEST | flags, family, 0, body, 0))
            while True:
                for answer, answer_flags, _, rest in messages(self._socket.recv(LARGEST)):
                    if answer == DONE:
                        return found
                    if answer == ERROR:
                        code = -struct.unpack_from("=i", rest)[0]
                        raise OSError(code, os.strerror(code))
                    if answer_flags & DUMP_INTERRUPTED:
                        raise InterruptedError
                    found.append(rest)
                if not flags & DUMP:
                    return found
        except (FileNotFoundError, InterruptedError):
            raise
        except OSError as error:
            raise HostError(f"cannot read the ruleset: {error.strerror}") from None

    def _force(self, option: int, size: int) -> None:
        """Beyond net.core.[rw]mem_max, which takes CAP_NET_ADMIN of the host itself; else what there is."""
        try:
            self._socket.setsockopt(SOL_SOCKET, option, size)
        except PermissionError:
            return


def _batch(messages: list[Message], generation: int | None) -> bytes:
    """Numbered from 1; begin and end have 0. The last message is to be acknowledged."""
    stamp = b"" if generation is None else struct.pack("=HH", 8, 1) + struct.pack(">I", generation)
    parts = [_message(_BATCH_BEGIN, REQUEST, 0, 0, stamp, _NF_TABLES)]
    for number, each in enumerate(messages, 1):
        flags = REQUEST | each.flags | (ACK if number == len(messages) else 0)
        parts.append(_message(_NF_TABLES << 8 | each.kind, flags, _INET, number, each.body, 0))
    return b"".join([*parts, _message(_BATCH_END, REQUEST, 0, 0, b"", _NF_TABLES)])


def _message(kind: int, flags: int, family: int, number: int, body: bytes, resource: int) -> bytes:
    header = HEADER.pack(_PREFIX + len(body), kind, flags, number, 0)
    return header + struct.pack(">BBH", family, 0, resource) + body


def _offset(error: bytes) -> int | None:
    """Where in the refused message's body: extack follows the error and, capped, its header."""
    offset = attributes(error[4 + HEADER.size :]).get(_OFFSET)
    return None if offset is None else int(struct.unpack("=I", offset)[0]) - _PREFIX
