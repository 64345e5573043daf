"""TCP connections of this host ended from outside, as `ss -K` does (linux/inet_diag.h, sock_diag(7))."""

from __future__ import annotations

import errno
import struct

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import SOCK_DIAG, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    # Family, our address and port, the other end's.
    Ends = tuple[int, int, int, int, int]

_BY_FAMILY, _DESTROY = 20, 21
_TCP = 6
# All states but TCP_LISTEN, and those in which no process has the socket any more (TIME_WAIT, NEW_SYN_RECV).
_STATES = 0xFFF & ~(1 << 10 | 1 << 6 | 1 << 12 | 1 << 7)
_FAMILIES = {4: 2, 6: 10}
_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 2.5.5.2


class NotSupportedError(HostError):
    """The kernel was built without CONFIG_INET_DIAG_DESTROY, or cannot list sockets."""


def destroy(wanted: Collection[Ends]) -> int:
    """End the connections that have these ends: both sides get a reset. How many there were.

    By the kernel's cookie, so that a listener on the same port, or a new connection, is never meant.
    Raises NotSupportedError, HostError.
    """
    if not wanted:
        return 0
    try:
        with Netlink(SOCK_DIAG) as kernel:
            found = [each for ends, each in _connections(kernel) if ends in wanted]
            errors = [each for each in kernel.tell(_DESTROY, found) if each]
    except OSError as error:
        raise NotSupportedError(f"cannot list sockets: {error.strerror}") from None
    for each in errors:
        if each.errno == errno.EOPNOTSUPP:
            raise NotSupportedError("the kernel has no CONFIG_INET_DIAG_DESTROY")
        if each.errno != errno.ENOENT:
            raise HostError(f"cannot end a connection: {each.strerror}")
    return len(found) - len(errors)


def _connections(kernel: Netlink) -> Iterator[tuple[Ends, bytes]]:
    """(the ends, what names the socket in a request) of each."""
    for family in (4, 6):
        for data, start, end in kernel.dump(_BY_FAMILY, _request(_FAMILIES[family], bytes(48))):
            said = data[start:end]
            identity = said[4:52]
            yield _ends(family, identity), _request(said[0], identity)


def _request(family: int, identity: bytes) -> bytes:
    """struct inet_diag_req_v2."""
    return struct.pack("=BBBBI", family, _TCP, 0, 0, _STATES) + identity


def _ends(family: int, identity: bytes) -> Ends:
    """struct inet_diag_sockid; a socket for both families names an IPv4 peer as IPv6."""
    here_port, there_port = struct.unpack_from(">HH", identity)
    width = {4: 4, 6: 16}[family]
    here, there = (int.from_bytes(identity[at : at + width], "big") for at in (4, 20))
    if family == 6 and there & ~0xFFFFFFFF == _MAPPED:
        return 4, here & 0xFFFFFFFF, here_port, there & 0xFFFFFFFF, there_port
    return family, here, here_port, there, there_port
