"""A shot on its way over the wire: what to send (Shot), what became of it (Echo), and why."""

from __future__ import annotations

import errno
import os
import socket
from struct import unpack_from

from fwpolicy.host import capture
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[[str, int], tuple[bytes, ...]]

# ee_origin of linux/errqueue.h: the error is this host's own, no ICMP.
_ORIGIN_LOCAL = 1
# ICMP (RFC 792, RFC 1812 5.2.7.1) and ICMPv6 (RFC 4443 3.1): nobody there, or not allowed.
_REFUSALS = {
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 9): "administratively prohibited",
    (4, 3, 10): "administratively prohibited",
    (4, 3, 13): "administratively prohibited",
    (6, 1, 1): "administratively prohibited",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "administratively prohibited",
    (6, 1, 6): "administratively prohibited",
}

ANSWERED, SILENT, REFUSED = "answered", "silent", "refused"
BLOCKED, UNREACHABLE, NOT_SENT = "blocked", "unreachable", "not sent"

OWN_FIREWALL = "this host's own firewall stops the probe"


@record
class Shot:
    """One thing to send.

    `transport`: "udp", or "tcp" (a connection attempt, closed at once). `build(source address,
    source port)`: makes the IP packets where they are made by hand. `source`: the address to send
    from (None: the route's), or with `forged` the one written into the packets. `source_port` 0: a
    fresh one. `group`: `address` is a broadcast or multicast address. `withheld`: a reason not to
    send at all.
    """

    name: str
    address: str
    port: int
    payload: bytes
    transport: str = "udp"
    source: str | None = None
    source_port: int = 0
    forged: bool = False
    group: bool = False
    build: Build | None = None
    withheld: str = ""


@record
class Echo:
    """What became of a shot.

    `outcome`: one of the six constants; `reason`: why, for all but answered and silent ones.
    `bytes_out`, `bytes_in`: octets of UDP payload (0 for TCP), `packets_in` their number; `reply`:
    the first payload; `sender`: where it came from.
    """

    outcome: str
    reason: str = ""
    bytes_out: int = 0
    bytes_in: int = 0
    packets_in: int = 0
    reply: bytes = b""
    sender: str = ""


@record
class Timing:
    """Seconds between two shots, and to wait after the last; `eager`: stop when all have an outcome."""

    spacing: float
    wait: float
    eager: bool = False


class Flight:
    """A shot under way."""

    def __init__(self, shot: Shot, path: capture.Path) -> None:
        self.shot = shot
        self.source = shot.source or path.source
        self.port = shot.source_port
        self.outcome = NOT_SENT if shot.withheld else SILENT
        self.reason = shot.withheld
        # The same packet may be seen twice, by its socket and on the interface: counted apart.
        self.arrived = {"socket": [0, 0], "wire": [0, 0]}
        self.reply, self.sender = b"", ""
        self.trace: tuple[int, int] | None = None
        self.departed = False

    def settle(self, outcome: str, reason: str = "") -> None:
        if self.outcome == SILENT:
            self.outcome, self.reason = outcome, reason

    def hear(self, how: str, payload: bytes, sender: str) -> None:
        if not self.sender:
            self.reply, self.sender = payload, sender
        self.arrived[how][0] += 1
        self.arrived[how][1] += len(payload)
        self.outcome, self.reason = ANSWERED, ""

    def echo(self, captured: bool) -> Echo:
        if captured and self.trace and not self.departed and self.outcome == SILENT:
            self._never_left()
        packets, octets = max(self.arrived.values())
        out = 0 if self.outcome in (NOT_SENT, BLOCKED) else len(self.shot.payload)
        return Echo(self.outcome, self.reason, out, octets, packets, self.reply, self.sender)

    def _never_left(self) -> None:
        if self.shot.transport == "tcp":
            self.settle(BLOCKED, OWN_FIREWALL)
        else:
            self.settle(NOT_SENT, "this host's connection tracking keeps fragments or puts them together")


def icmp_error(family: int, data: bytes, target: str, ours: str) -> tuple[str, str] | None:
    """The outcome and reason that an IP_RECVERR message tells of a packet from `ours` to `target`.

    `data`: struct sock_extended_err and the offender's socket address (ip(7)). None: no ICMP error.
    """
    number, origin, kind, code = unpack_from("=IBBB", data)
    if origin == _ORIGIN_LOCAL:
        return None
    offender = _offender(family, data[16:])
    word = _REFUSALS.get((family, kind, code))
    if word and offender == ours != target:
        return BLOCKED, OWN_FIREWALL  # a reject on the way out
    if word or offender == target:
        return REFUSED, f"ICMP {word or os.strerror(number).lower()} from {offender}"
    return UNREACHABLE, f"{os.strerror(number)}, says {offender}"


def _offender(family: int, place: bytes) -> str:
    kind, start, size = (socket.AF_INET, 4, 4) if family == 4 else (socket.AF_INET6, 8, 16)
    octets = place[start : start + size]
    return socket.inet_ntop(kind, octets) if len(octets) == size else "?"


def denied(error: OSError) -> tuple[str, str]:
    """EPERM is netfilter's word at sending; EACCES is the routing table's ("prohibit")."""
    if error.errno == errno.EPERM:
        return BLOCKED, OWN_FIREWALL
    return NOT_SENT, f"{error.strerror} by this host's routes"


def why_not_sent(error: OSError, flight: Flight) -> str:
    shot = flight.shot
    if isinstance(error, PermissionError):
        return (
            "only root may send packets made by hand" if shot.build else f"port {shot.source_port} takes root"
        )
    if error.errno == errno.EADDRINUSE:
        return f"port {shot.source_port} is taken by a program of this host that does not share it"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{flight.source} is not an address of this host"
    return error.strerror or str(error)
