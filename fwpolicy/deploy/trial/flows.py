"""Connections put into conntrack by hand (ctnetlink, nfnetlink_conntrack.h): thousands in a moment."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC

from fwpolicy.deploy.trial.wire import (
    ESTABLISHED,
    ICMP,
    ICMPV6,
    QUOTED_PORTS,
    QUOTING,
    RELATED,
    SCTP,
    SCTP_TAG,
    TCP,
    UDP,
    addresses,
    matches_family,
)
from fwpolicy.errors import HostError
from fwpolicy.host.netlink import NETFILTER, Netlink, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NEW, DELETE = 1 << 8 | 0, 1 << 8 | 2
CREATE_EXCLUSIVELY = 0x200 | 0x400
SEEN_REPLY, ASSURED, CONFIRMED = 1 << 1, 1 << 2, 1 << 3
BE_LIBERAL = 0x08
NESTED = 1 << 15
# Attributes of a connection, and of its tuples.
ORIG, REPLY, STATUS, PROTOINFO, TIMEOUT, MASTER, ZONE = 1, 2, 3, 4, 7, 14, 18
REPLIES = {ICMP: {8: 0, 0: 8, 13: 14, 14: 13, 17: 18, 18: 17}, ICMPV6: {128: 129, 129: 128}}
REQUESTS = {ICMP: (8, 13, 17), ICMPV6: (128,)}
PORTED = (6, 17, 33, 47, 132, 136)


class Flows:
    """The conntrack table of the namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        self._netlink.__exit__()

    def forget(self) -> None:
        """Empty the table. Raises HostError."""
        self._tell(DELETE, [_head(AF_UNSPEC)], 0)

    def know(self, packets: Iterable[tuple[Mapping[str, int], int]]) -> None:
        """Make each (packet, zone) part of a connection as its `ctstate` says, as far as there is one.
        Raises HostError."""
        bodies = [body for found, zone in packets for body in _connections(found, zone)]
        self._tell(NEW, bodies, CREATE_EXCLUSIVELY)

    def _tell(self, kind: int, bodies: list[bytes], flags: int) -> None:
        for error in self._netlink.tell(kind, bodies, flags):
            if error:
                raise HostError(f"conntrack refuses a connection: {error.strerror}")


def _connections(found: Mapping[str, int], zone: int) -> Iterator[bytes]:
    state, protocol = found["ctstate"], found["l4proto"]
    flow = _Flow(found)
    if state == RELATED and matches_family(found) and found["icmptype"] in QUOTING[protocol]:
        yield _create(flow.quoted(), zone)
    elif state in (ESTABLISHED, RELATED) and flow.is_possible():
        if state == RELATED:
            master = flow.master()
            yield _create(master, zone)
            yield _create(flow, zone, master)
        else:
            yield _create(flow, zone)


class _Flow:
    """A connection: its family, protocol, ends, and the ports or the ICMP type of its first packet."""

    def __init__(self, found: Mapping[str, int]) -> None:
        self.family, self.protocol = found["nfproto"], found["l4proto"]
        self.ends = addresses(found, "saddr"), addresses(found, "daddr")
        self.ports = found.get("sport", 0), found.get("dport", 0)
        self.icmp = found.get("icmptype", 0), found.get("icmpcode", 0), found.get("ident", 0)
        if self.protocol == 47:
            self.ports = 0, 0
        if self.icmp_answers() if self.protocol in REPLIES else found.get("ctdir"):
            self.ends, self.ports = self.ends[::-1], self.ports[::-1]
            if self.protocol in REPLIES:
                self.icmp = (REPLIES[self.protocol].get(self.icmp[0], 0), *self.icmp[1:])

    def icmp_answers(self) -> bool:
        own, requests = REPLIES.get(self.protocol, {}), REQUESTS.get(self.protocol, ())
        return self.icmp[0] in own and self.icmp[0] not in requests

    def is_possible(self) -> bool:
        """Conntrack knows connections of ICMP for requests and their answers only."""
        if self.protocol not in (ICMP, ICMPV6):
            return True
        right = self.protocol == (ICMP if self.family == 4 else ICMPV6)
        return right and self.icmp[0] in REQUESTS[self.protocol]

    def quoted(self) -> _Flow:
        """The one that an ICMP error is about."""
        return self._other(self.ends[::-1], UDP, QUOTED_PORTS)

    def master(self) -> _Flow:
        """The one that a related one came of."""
        return self._other(self.ends, UDP, (1, 1))

    def _other(self, ends: tuple[bytes, bytes], protocol: int, ports: tuple[int, int]) -> _Flow:
        made = object.__new__(_Flow)
        made.family, made.protocol, made.ends, made.ports, made.icmp = (
            self.family,
            protocol,
            ends,
            ports,
            self.icmp,
        )
        return made

    def key(self, *, reply: bool = False) -> bytes:
        ends, ports, icmp = self.ends, self.ports, self.icmp
        if reply:
            ends, ports = ends[::-1], ports[::-1]
            icmp = (REPLIES.get(self.protocol, {}).get(icmp[0], 0), *icmp[1:])
        first = 1 if self.family == 4 else 3
        proto = attribute(1, bytes([self.protocol]))
        own_icmp = {4: ICMP, 6: ICMPV6}[self.family]
        if self.protocol == own_icmp:
            base = 4 if self.protocol == ICMP else 7
            proto += attribute(base, struct.pack("!H", icmp[2])) + attribute(base + 1, bytes([icmp[0]]))
            proto += attribute(base + 2, bytes([icmp[1]]))
        elif self.protocol in PORTED:
            proto += attribute(2, struct.pack("!H", ports[0])) + attribute(3, struct.pack("!H", ports[1]))
        ip = attribute(first, ends[0]) + attribute(first + 1, ends[1])
        return _nested(1, ip) + _nested(2, proto)

    def protocol_state(self) -> bytes:
        if self.protocol == TCP:
            flags = bytes([BE_LIBERAL, BE_LIBERAL])
            inner = attribute(1, bytes([3])) + attribute(4, flags) + attribute(5, flags)  # established
            return _nested(PROTOINFO, _nested(1, inner))
        if self.protocol == SCTP:
            tag = struct.pack("!I", SCTP_TAG)
            inner = attribute(1, bytes([4])) + attribute(2, tag) + attribute(3, tag)  # established
            return _nested(PROTOINFO, _nested(3, inner))
        return b""


def _create(flow: _Flow, zone: int, master: _Flow | None = None) -> bytes:
    status = CONFIRMED if master else SEEN_REPLY | ASSURED | CONFIRMED
    body = _nested(ORIG, flow.key()) + _nested(REPLY, flow.key(reply=True))
    body += attribute(STATUS, struct.pack("!I", status)) + attribute(TIMEOUT, struct.pack("!I", 600))
    body += attribute(ZONE, struct.pack("!H", zone)) + flow.protocol_state()
    if master:
        body += _nested(MASTER, master.key())
    return _head(AF_INET if flow.family == 4 else AF_INET6) + body


def _head(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _nested(kind: int, data: bytes) -> bytes:
    return attribute(kind | NESTED, data)
