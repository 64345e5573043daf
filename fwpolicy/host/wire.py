"""Packets out, answers in: one event loop over real sockets, raw ones where a header is made by hand.

Knows nothing of NTP: what to send comes as Shots, and `answers` (a function of two payloads) says
which of the shots that share a port a packet answers.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from struct import pack
from time import monotonic

from fwpolicy.errors import HostError
from fwpolicy.host import capture
from fwpolicy.host.flight import (
    BLOCKED,
    NOT_SENT,
    OWN_FIREWALL,
    REFUSED,
    SILENT,
    UNREACHABLE,
    Echo,
    Flight,
    Shot,
    Timing,
    denied,
    icmp_error,
    why_not_sent,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Answers = Callable[[bytes, bytes], bool]
    Place = tuple[str, int] | tuple[str, int, int, int]

_IP_RECVERR, _IPV6_RECVERR, _IP_NODEFRAG = 11, 25, 22  # linux/in.h, linux/in6.h


def resolve(host: str, family: int | None = None) -> tuple[str, ...]:
    """The addresses of a name or address in family 4 or 6 or both, IPv4 first; HostError when none."""
    wanted = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a host name"
        raise HostError(f"no address of '{host}': {why}") from None
    texts = [_with_zone(entry[4]) for entry in found]
    return tuple(sorted(dict.fromkeys(texts), key=lambda text: ":" in text))


def _with_zone(place: tuple[object, ...]) -> str:
    zone = place[3] if len(place) == 4 else 0
    text = str(place[0]).partition("%")[0]
    return f"{text}%{socket.if_indextoname(zone)}" if isinstance(zone, int) and zone else text


def route(address: str, interface: str | None = None) -> capture.Path | None:
    """The path to `address` (its %zone names the interface, if it has one), or None."""
    plain, _, zone = address.partition("%")
    return capture.path_to(plain, interface or zone or None)


def random_token() -> int:
    """64 unpredictable bits, so that nobody can answer a probe that did not see it."""
    return int.from_bytes(os.urandom(8), "big")


def exchange(
    shots: tuple[Shot, ...], target: str, path: capture.Path, timing: Timing, answers: Answers
) -> tuple[Echo, ...]:
    """Sends the shots in order over `path` and collects what `target` answers: one Echo a shot.

    All shots are of one family, and those to a group are there for the answers of `target`.
    """
    run = _Exchange(target.partition("%")[0], path, answers)
    try:
        return run.all(shots, timing)
    finally:
        run.close()


class _Exchange:
    def __init__(self, target: str, path: capture.Path, answers: Answers) -> None:
        self.target, self.path, self.answers = target, path, answers
        self.family = 6 if ":" in target else 4
        self.flights: list[Flight] = []
        self.selector = selectors.DefaultSelector()
        self.open: list[socket.socket | capture.Capture] = []
        self.shared: dict[str, socket.socket] = {}
        self.raw: socket.socket | None = None
        self.capture: capture.Capture | None = None
        try:
            self.capture = capture.Capture(path, target)
        except PermissionError:
            return
        self._watch(self.capture, None)

    def close(self) -> None:
        self.selector.close()
        for each in self.open:
            each.close()

    def all(self, shots: tuple[Shot, ...], timing: Timing) -> tuple[Echo, ...]:
        start = monotonic()
        for number, shot in enumerate(shots):
            self._collect(start + number * timing.spacing)
            self._send(shot)
        self._collect(monotonic() + timing.wait, eager=timing.eager)
        return tuple(flight.echo(self.capture is not None) for flight in self.flights)

    def _watch(
        self,
        which: socket.socket | capture.Capture,
        flight: Flight | None,
        events: int = selectors.EVENT_READ,
    ) -> None:
        self.open.append(which)
        self.selector.register(which, events, flight)

    # Sending

    def _send(self, shot: Shot) -> None:
        flight = Flight(shot, self.path)
        self.flights.append(flight)
        if flight.outcome == NOT_SENT:
            return
        try:
            if shot.transport == "tcp":
                self._connect(flight)
            elif shot.forged:
                self._send_frames(flight)
            else:
                self._send_udp(flight)
        except OSError as error:
            # One socket that could not be had is one probe less, and the report says so.
            flight.settle(NOT_SENT, why_not_sent(error, flight))

    def _place(self, flight: Flight, port: int) -> Place:
        address = flight.shot.address.partition("%")[0]
        if self.family == 4:
            return address, port
        scoped = flight.shot.group or address.lower().startswith("fe80")
        return address, port, 0, self.path.index if scoped else 0

    def _socket(self, kind: int, flight: Flight) -> socket.socket:
        """A socket bound to the flight's source; closed again if that fails."""
        af = socket.AF_INET if self.family == 4 else socket.AF_INET6
        made = socket.socket(af, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._options(made, flight)
            zone = self.path.index if flight.source.startswith("fe80") else 0
            port = flight.shot.source_port
            made.bind((flight.source, port) if self.family == 4 else (flight.source, port, 0, zone))
        except OSError:
            made.close()
            raise
        return made

    def _options(self, made: socket.socket, flight: Flight) -> None:
        if flight.shot.source_port:
            # A local daemon may share the port; fresh ports must not (UDP hands them out twice then).
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.path.pinned or flight.shot.group:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.path.interface.encode())
        if self.family == 4:
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        if flight.shot.group:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._group_options(made)

    def _group_options(self, made: socket.socket) -> None:
        if self.family == 4:
            interface = pack("@4s4si", b"", b"", self.path.index)  # ip(7): struct ip_mreqn
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self.path.index)

    def _udp_socket(self, flight: Flight) -> socket.socket:
        """One of its own for a fresh port; one for all that share port and source."""
        if not flight.shot.source_port:
            made = self._socket(socket.SOCK_DGRAM, flight)
            flight.port = made.getsockname()[1]
            self._watch(made, flight)
            return made
        if flight.source not in self.shared:
            self.shared[flight.source] = self._socket(socket.SOCK_DGRAM, flight)
            self._watch(self.shared[flight.source], None)
        return self.shared[flight.source]

    def _send_udp(self, flight: Flight) -> None:
        own = self._udp_socket(flight)
        if flight.shot.build:
            self._send_frames(flight)
            return
        place = self._place(flight, flight.shot.port)
        try:
            own.sendto(flight.shot.payload, place)
        except PermissionError as error:
            flight.settle(*denied(error))
        except OSError:
            # An ICMP error about an earlier packet is told to whoever uses the socket next.
            self._read_errors(own, None if flight.shot.source_port else flight)
            self._again(own, flight, place)

    def _again(self, own: socket.socket, flight: Flight, place: Place) -> None:
        try:
            own.sendto(flight.shot.payload, place)
        except PermissionError as error:
            flight.settle(*denied(error))

    def _send_frames(self, flight: Flight) -> None:
        if self.capture is None and flight.shot.forged:
            flight.settle(NOT_SENT, "only root may send packets made by hand")
            return
        raw = self._raw_socket()
        for frame in flight.shot.build(flight.source, flight.port) if flight.shot.build else ():
            own = capture.parse(frame, outgoing=True)
            if own and own.ident is not None and not flight.shot.group:
                flight.trace = (capture.UDP, own.ident)
            try:
                raw.sendto(frame, self._place(flight, 0))
            except PermissionError as error:
                flight.settle(*denied(error))

    def _raw_socket(self) -> socket.socket:
        if self.raw is None:
            af = socket.AF_INET if self.family == 4 else socket.AF_INET6
            # IPPROTO_RAW: the packet comes with its IP header (raw(7); ipv6's likewise).
            self.raw = socket.socket(af, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
            self.open.append(self.raw)
            if self.path.pinned:
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.path.interface.encode())
            if self.family == 4:
                # ip(7): or connection tracking puts our fragments together before they leave.
                self.raw.setsockopt(socket.IPPROTO_IP, _IP_NODEFRAG, 1)
        return self.raw

    def _connect(self, flight: Flight) -> None:
        made = self._socket(socket.SOCK_STREAM, flight)
        flight.trace = (capture.TCP, flight.shot.port)
        self._watch(made, flight, selectors.EVENT_WRITE)
        result = made.connect_ex(self._place(flight, flight.shot.port))
        if result not in (0, errno.EINPROGRESS):
            self._connected(made, flight, result)

    # Receiving

    def _collect(self, until: float, *, eager: bool = False) -> None:
        while True:
            left = until - monotonic()
            if left < 0 or (eager and all(flight.outcome != SILENT for flight in self.flights)):
                return
            for key, _ in self.selector.select(left):
                self._ready(key)

    def _ready(self, key: selectors.SelectorKey) -> None:
        which, flight = key.fileobj, key.data
        if isinstance(which, capture.Capture):
            while seen := which.read():
                self._seen(seen)
        elif isinstance(which, socket.socket):
            if which.type == socket.SOCK_STREAM:
                self._read_errors(which, flight)
                self._connected(which, flight, which.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            else:
                self._read(which, flight)

    def _connected(self, made: socket.socket, flight: Flight, result: int) -> None:
        self.selector.unregister(made)
        if result == 0 and flight.outcome == SILENT:
            flight.hear("socket", b"", self.target)
        elif result == errno.ECONNREFUSED:
            flight.settle(REFUSED, "connection refused")
        elif result == errno.EPERM:
            flight.settle(BLOCKED, OWN_FIREWALL)
        elif result:
            flight.settle(UNREACHABLE, os.strerror(result))

    def _read(self, own: socket.socket, flight: Flight | None) -> None:
        self._read_errors(own, flight)
        while True:
            try:
                payload, place = own.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                self._read_errors(own, flight)
                continue
            self._received(payload, str(place[0]).partition("%")[0], own.getsockname()[0], flight)

    def _received(self, payload: bytes, sender: str, ours: str, flight: Flight | None) -> None:
        if flight is not None:
            if sender == self.target or not flight.shot.group:
                flight.hear("socket", payload, sender)
            return
        if sender == self.target:
            self._hear_shared("socket", payload, ours.partition("%")[0])

    def _hear_shared(self, how: str, payload: bytes, ours: str) -> None:
        """Port 123 is also where this host's own daemon gets its replies: only marked ones count."""
        for flight in reversed(self.flights):  # mode 7 marks no single question: the latest it is
            same = flight.source == ours and flight.shot.source_port
            if same and self.answers(flight.shot.payload, payload):
                flight.hear(how, payload, self.target)
                return

    def _seen(self, seen: capture.Seen) -> None:
        if seen.outgoing:
            key = seen.ident if seen.ident is not None else (seen.ports or (0, 0))[1]
            for flight in self.flights:
                flight.departed = flight.departed or flight.trace == (seen.protocol, key)
            return
        if seen.protocol != capture.UDP or seen.source != self.target or not seen.ports:
            return
        for flight in self.flights:
            if not flight.shot.source_port and (flight.source, flight.port) == (
                seen.destination,
                seen.ports[1],
            ):
                flight.hear("wire", seen.payload, seen.source)
                return
        self._hear_shared("wire", seen.payload, seen.destination)

    # ICMP errors, as ip(7) and ipv6(7) describe under IP_RECVERR

    def _read_errors(self, own: socket.socket, flight: Flight | None) -> None:
        while True:
            try:
                payload, control, _, _ = own.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for level, _, data in control:
                if level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6) and len(data) >= 16:
                    self._failed(flight or self._about(own, payload), data)

    def _about(self, own: socket.socket, payload: bytes) -> Flight | None:
        """The shot whose payload an error quotes (RFC 792 promises the first 8 octets of UDP only)."""
        ours = own.getsockname()[0].partition("%")[0]
        sent = [each for each in self.flights if each.shot.source_port and each.source == ours]
        quoted = [each for each in sent if payload and each.shot.payload.startswith(payload)]
        return next(iter(quoted or [each for each in sent[::-1] if each.outcome == SILENT]), None)

    def _failed(self, flight: Flight | None, data: bytes) -> None:
        if flight is None:
            return
        found = icmp_error(self.family, data, self.target, flight.source)
        if found is not None:
            flight.settle(*found)
