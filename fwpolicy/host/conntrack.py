"""Connection tracking entries over netlink (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import re
import struct
from operator import attrgetter

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import NESTED, NETFILTER, Netlink, attribute, attributes
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
# IPS_*: the kernel's word on a connection (nf_conntrack_common.h).
EXPECTED, SOURCE_CHANGED, DESTINATION_CHANGED, OFFLOADED = 1 << 0, 1 << 4, 1 << 5, 3 << 14
_GET, _DELETE, _STATISTICS = 1 << 8 | 1, 1 << 8 | 2, 1 << 8 | 5
# CTA_*: tuples of either direction, status, time left, id, the connection that this one came of, zone.
_ORIGINAL, _REPLY, _STATUS, _TIMEOUT, _ID, _MASTER, _ZONE = 1, 2, 3, 7, 12, 14, 18
_FAMILIES = {4: 2, 6: 10}
_EVERY_FAMILY = bytes(4)  # struct nfgenmsg, AF_UNSPEC

Tuple = tuple[int, int, int, int, int]


@record
class Flow:
    """An entry: who asked whom, its original direction. Addresses as integers; no ports are 0.

    `end`, `end_port`: where it goes to once its destination was translated, None for the same. `back`,
    `back_port`: whom the answer is for, as the other end knows us. `entry`: the kernel's own words.
    """

    family: int
    protocol: int
    source: int
    destination: int
    sport: int
    dport: int
    end: int | None = None
    end_port: int | None = None
    back: int | None = None
    back_port: int | None = None
    icmp_type: int | None = None
    status: int = 0
    zone: int = 0
    entry: bytes = b""

    @property
    def original(self) -> Tuple:
        return self.protocol, self.source, self.sport, self.destination, self.dport

    @property
    def seen(self) -> Tuple:
        """As a filter sees it: after its destination was translated, before its source is."""
        end = self.destination if self.end is None else self.end
        return self.protocol, self.source, self.sport, end, self._end_port

    @property
    def reply(self) -> Tuple:
        """As an answer comes back, before anything is translated."""
        _, source, sport, end, port = self.seen
        back = source if self.back is None else self.back
        return self.protocol, end, port, back, sport if self.back_port is None else self.back_port

    @property
    def _end_port(self) -> int:
        return self.dport if self.end_port is None else self.end_port

    @property
    def is_redirected(self) -> bool:
        return bool(self.status & DESTINATION_CHANGED)

    @property
    def is_offloaded(self) -> bool:
        """Its packets pass by the rules, as a flowtable or the card knows the way."""
        return bool(self.status & OFFLOADED)

    @property
    def master(self) -> Tuple | None:
        """The original direction of the connection that expected this one."""
        if not self.status & EXPECTED:
            return None
        tuple_ = attributes(self.entry).get(_MASTER)
        return _tuple(self.family, tuple_)[:5] if tuple_ else None

    @property
    def seconds(self) -> int:
        """How long the kernel would remember it in silence."""
        return int.from_bytes(attributes(self.entry).get(_TIMEOUT, b""), "big")


def flows() -> tuple[Flow, ...]:
    """Every entry, IPv4 first. Raises HostError without CAP_NET_ADMIN."""
    try:
        with Netlink(NETFILTER) as kernel:
            return tuple(sorted(_entries(kernel), key=attrgetter("family"))) if _has_any(kernel) else ()
    except OSError as error:
        raise HostError(f"cannot read connection tracking: {error.strerror}") from None


def delete(doomed: Iterable[Flow]) -> tuple[tuple[Flow, ...], tuple[Flow, ...]]:
    """(deleted, those that the kernel does not let go yet: a flowtable has them).

    One that ended by itself meanwhile is no error and in neither; the same ports in use again are not the
    same entry. Raises HostError.
    """
    every = tuple(doomed)
    with _socket() as kernel:
        errors = kernel.tell(_DELETE, (_named(flow) for flow in every))
    for error in errors:
        if error and error.errno not in (errno.ENOENT, errno.EBUSY):
            raise HostError(f"cannot delete a connection tracking entry: {error.strerror}")
    told = tuple(zip(every, errors, strict=True))
    busy = tuple(flow for flow, error in told if error and error.errno == errno.EBUSY)
    return tuple(flow for flow, error in told if error is None), busy


def _socket() -> Netlink:
    try:
        return Netlink(NETFILTER)
    except OSError as error:
        raise HostError(f"no netfilter socket: {error.strerror}") from None


def _named(flow: Flow) -> bytes:
    """What names an entry: its tuple, its zone and its number, as the kernel said them."""
    said = attributes(flow.entry)
    body = attribute(NESTED | _ORIGINAL, said[_ORIGINAL])
    body += b"".join(attribute(kind, said[kind]) for kind in (_ID, _ZONE) if kind in said)
    return struct.pack("=BBH", _FAMILIES[flow.family], 0, 0) + body


# A dump


def _has_any(kernel: Netlink) -> bool:
    """By CTA_STATS_GLOBAL_ENTRIES of this network namespace; where that is not told, it may have some."""
    (answer,) = kernel.ask(_STATISTICS, [_EVERY_FAMILY])
    counted = b"" if isinstance(answer, OSError) else attributes(answer[len(_EVERY_FAMILY) :]).get(1, b"")
    return not counted or any(counted)


def _entries(kernel: Netlink) -> Iterator[Flow]:
    """Both families in one dump: each walks the whole table, an empty one of 262,144 buckets in 10 ms."""
    shapes = {number: (family, *_shape(family)) for family, number in _FAMILIES.items()}
    for data, start, end in kernel.dump(_GET, _EVERY_FAMILY):
        at = start + len(_EVERY_FAMILY)
        if data[start] not in shapes:
            continue
        family, regular, ports = shapes[data[start]]
        if regular.match(data, at):
            yield _regular(family, ports, data[at:end])
        else:
            flow = _any(family, data[at:end])
            if flow:
                yield flow


def _regular(family: int, ports: struct.Struct, entry: bytes) -> Flow:
    """One with ports and without a zone: nine of ten; a third of the time of `_any`."""
    found = ports.unpack_from(entry)
    if family == 4:
        source, destination, protocol, sport, dport, end, back, end_port, back_port, status = found
    else:
        (high, low, high2, low2, protocol, sport, dport, high3, low3, high4, low4) = found[:11]
        source, destination = high << 64 | low, high2 << 64 | low2
        end, back = high3 << 64 | low3, high4 << 64 | low4
        end_port, back_port, status = found[11:]
    return Flow(
        family,
        protocol,
        source,
        destination,
        sport,
        dport,
        end,
        end_port,
        back,
        back_port,
        status=status,
        entry=entry,
    )


def _shape(family: int) -> tuple[re.Pattern[bytes], struct.Struct]:
    """How the kernel writes an entry with ports: what must stand there, and what is to be read."""
    width = {4: 4, 6: 16}[family]
    address = {4: (1, 2), 6: (3, 4)}[family]
    hole = b"(?s:.{%d})"
    addresses = b"".join(re.escape(_head(kind, 4 + width)) + hole % width for kind in address)
    ports = b"".join(re.escape(_head(kind, 6)) + hole % 4 for kind in (2, 3))
    protocol = re.escape(_head(1, 5)) + rb"[\x06\x11\x21\x84\x88]\0\0\0"
    ip = re.escape(_head(NESTED | 1, 4 + 2 * (4 + width))) + addresses
    proto = re.escape(_head(NESTED | 2, 28)) + protocol + ports
    size = 4 + 4 + 2 * (4 + width) + 28
    tuples = (re.escape(_head(NESTED | kind, size)) + ip + proto for kind in (_ORIGINAL, _REPLY))
    number = {4: "I", 6: "QQ"}[family]
    one = f"8x4x{number}4x{number}4x4x"
    packed = f">{one}B3x4xH2x4xH2x{one}4x4xH2x4xH2x4xI"
    return re.compile(b"".join(tuples) + re.escape(_head(_STATUS, 8))), struct.Struct(packed)


def _head(kind: int, size: int) -> bytes:
    return struct.pack("=HH", size, kind)


def _any(family: int, entry: bytes) -> Flow | None:
    found = attributes(entry)
    if _ORIGINAL not in found or _REPLY not in found:
        return None
    protocol, source, sport, destination, dport, icmp_type = _tuple(family, found[_ORIGINAL])
    _, end, end_port, back, back_port, _ = _tuple(family, found[_REPLY])
    return Flow(
        family,
        protocol,
        source,
        destination,
        sport,
        dport,
        end,
        end_port,
        back,
        back_port,
        icmp_type,
        int.from_bytes(found.get(_STATUS, b""), "big"),
        int.from_bytes(found.get(_ZONE, b""), "big"),
        entry,
    )


def _tuple(family: int, data: bytes) -> tuple[int, int, int, int, int, int | None]:
    found = attributes(data)
    ends, protocol = attributes(found.get(1, b"")), attributes(found.get(2, b""))
    first = {4: 1, 6: 3}[family]
    source, destination = (int.from_bytes(ends.get(kind, b""), "big") for kind in (first, first + 1))
    number = int.from_bytes(protocol.get(1, b""), "big")
    sport, dport = (int.from_bytes(protocol.get(kind, b""), "big") for kind in (2, 3))
    types = [protocol[kind][0] for kind in (5, 8) if protocol.get(kind)]
    return number, source, sport, destination, dport, types[0] if types else None
