"""The members of nft sets over netlink (nf_tables.h), of any type, as bytes.

libnftables reads every rule of the namespace for it, and 1.0.6 ends the process at some that it wrote itself
(`payload_expr_complete: Assertion`).
"""

from __future__ import annotations

import struct

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import NETFILTER, Netlink, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GET_ELEMENTS = 10 << 8 | 13
# Attributes of a request, of an element and of its key.
_TABLE, _SET, _ELEMENTS, _KEY, _VALUE = 1, 2, 3, 1, 1
_INET = struct.pack("=BBH", 1, 0, 0)


class Sets:
    """The sets of the namespace that the calling thread is in when this is made. Raises OSError."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        self._netlink.__exit__()

    def members(self, table: str, name: str) -> list[bytes]:
        """The keys of a set of a table of family inet, as the kernel has them. Raises HostError."""
        named = ((_TABLE, table), (_SET, name))
        body = _INET + b"".join(attribute(kind, f"{text}\0".encode()) for kind, text in named)
        found: list[bytes] = []
        try:
            for data, begin, end in self._netlink.dump(_GET_ELEMENTS, body):
                found += _keys(memoryview(data)[begin + len(_INET) : end])
        except OSError as error:
            raise HostError(f"cannot read the set {name} of {table}: {error.strerror}") from None
        return found


def _keys(message: memoryview) -> Iterator[bytes]:
    for kind, data in _attributes(message):
        if kind == _ELEMENTS:
            for _, element in _attributes(data):
                for part, key in _attributes(element):
                    if part == _KEY:
                        yield from (bytes(value) for of, value in _attributes(key) if of == _VALUE)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """All of them, in order: elements are many of one kind."""
    while data:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
