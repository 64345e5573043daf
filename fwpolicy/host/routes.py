"""By which interface this host would answer an address: the routing table's own answer (rtnetlink(7))."""

from __future__ import annotations

import struct
import sys
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, if_indextoname, socket

_NETLINK_ROUTE, _GET_ROUTE, _NEW_ROUTE, _REQUEST = 0, 26, 24, 1
_DESTINATION, _OUT = 1, 4  # RTA_DST, RTA_OIF
_AF, _BYTES = {4: 2, 6: 10}, {4: 4, 6: 16}
_HEADER, _ROUTE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBBBBBI"), struct.Struct("=HH")


def interface_to(family: int, address: int) -> str | None:
    """The interface, in the network namespace of the calling thread; None where there is no route."""
    wanted = address.to_bytes(_BYTES[family], "big")
    body = _ROUTE.pack(_AF[family], 8 * len(wanted), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(wanted), _DESTINATION) + wanted
    message = _HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body
    try:
        kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        try:
            kernel.send(message)
            index = _out(kernel.recv(8192))
            return if_indextoname(index) if index else None
        finally:
            kernel.close()
    except OSError:
        return None


def _out(answer: bytes) -> int:
    """The index of the outgoing interface; 0 where the answer is an error."""
    length, kind, *_ = _HEADER.unpack_from(answer)
    at = _HEADER.size + _ROUTE.size
    while kind == _NEW_ROUTE and at + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(answer, at)
        if attribute == _OUT:
            return int.from_bytes(answer[at + _ATTRIBUTE.size : at + size], sys.byteorder)
        at += max(_ATTRIBUTE.size, size + 3 & ~3)
    return 0
