"""The members of nft sets over netlink (nf_tables.h): libnftables reads every rule of the namespace for it,
and 1.0.6 ends the process at some that it wrote itself (`payload_expr_complete: Assertion`)."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GET_ELEMENTS, DUMP, DONE, ERROR = 10 << 8 | 13, 0x301, 3, 2
TABLE, SET, ELEMENTS = 1, 2, 3
ELEMENT, KEY, VALUE = 1, 1, 1
NFPROTO_INET = 1


class Sets:
    """The sets of the namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self._socket.bind((0, 0))

    def close(self) -> None:
        self._socket.close()

    def members(self, table: str, name: str) -> list[bytes]:
        """The keys of a set of a table of family inet, as the kernel has them."""
        body = struct.pack("=BBH", NFPROTO_INET, 0, 0)
        for kind, text in ((TABLE, table), (SET, name)):
            data = text.encode() + b"\0"
            body += struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), GET_ELEMENTS, DUMP, 1, 0) + body)
        found: list[bytes] = []
        while True:
            answer = memoryview(self._socket.recv(1 << 18))
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == DONE:
                    return found
                assert kind != ERROR, f"set {name}: error {-struct.unpack_from('=i', answer, 16)[0]}"
                found += _keys(answer[20:length])
                answer = answer[(length + 3) & ~3 :]


def _keys(message: memoryview) -> Iterator[bytes]:
    for kind, data in _attributes(message):
        if kind == ELEMENTS:
            for _, element in _attributes(data):
                for part, key in _attributes(element):
                    if part == KEY:
                        yield from (bytes(value) for of, value in _attributes(key) if of == VALUE)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
