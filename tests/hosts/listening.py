"""Asking and listening in an attacker's namespace, packet by packet, with times."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fwpolicy.host import capture
from fwpolicy.record import record

from ..lab.peers import CLIENT_QUERY, NTP_PORT

if TYPE_CHECKING:
    from types import TracebackType

    from ..lab.hosts import Host
    from ..lab.peers import Namespace

ETH_P_ALL = 3
READVAR = bytes([0x16, 2]) + bytes(10)  # version 2, mode 6, opcode 2 (RFC 9327, 2)
QUERIES = (CLIENT_QUERY, READVAR)
CLIENT_MODE = 3


@record
class Heard:
    """An NTP packet that left a host: when it was heard (time.time), to whom, and its mode."""

    time: float
    destination: str
    port: int
    mode: int


class Ears:
    """Everything that a host says from port 123 but its own questions, while the `with` block lasts.

    On a bridge that repeats every frame it hears what goes to others, too.
    """

    def __init__(self, place: Namespace, host: Host) -> None:
        self._addresses = {host.ipv4, host.ipv6}
        self._heard: list[Heard] = []
        self._socket = place.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self._socket.bind(("eth0", ETH_P_ALL))
        place.ip("link set eth0 promisc on")
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                data = self._socket.recv(65535)
            except TimeoutError:
                continue
            seen = capture.parse(data, outgoing=False)
            if seen and seen.source in self._addresses and seen.ports and seen.ports[0] == NTP_PORT:
                mode = seen.payload[0] & 7
                if mode != CLIENT_MODE:
                    self._heard.append(Heard(time.time(), seen.destination, seen.ports[1], mode))

    def since(self, moment: float = 0) -> list[Heard]:
        """What was heard after `moment`, up to now."""
        return [each for each in self._heard if each.time > moment]

    def wait(self, moment: float = 0, *, seconds: float = 5) -> list[Heard]:
        """The same, as soon as there is anything; after `seconds` there is nothing."""
        deadline = time.monotonic() + seconds
        while not (heard := self.since(moment)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return heard

    def wait_ports(self, ports: set[int], *, seconds: float = 5) -> None:
        """Wait until something was said to each of the ports; AssertionError when it is not."""
        deadline = time.monotonic() + seconds
        while not ports <= {each.port for each in self.since()}:
            assert time.monotonic() < deadline, f"{ports}: heard only {self.since()}"
            time.sleep(0.01)

    def __enter__(self) -> Ears:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


class Asking:
    """Queries to a host every 50 ms while the `with` block lasts, each flow from one port for ever.

    `forged`: servers' addresses to send as, too, from port 123.
    """

    SPACING = 0.05

    def __init__(self, place: Namespace, host: Host, forged: tuple[str, ...] = ()) -> None:
        self._host = host
        self._sockets = [self._own(place, address) for address in (host.ipv4, host.ipv6)]
        self._forged = [_Forger(place, server, self._to(server)) for server in forged]
        self.ports = {each.getsockname()[1] for each in self._sockets}
        self.rounds = 0
        self._ended = threading.Event()
        self._executor = ThreadPoolExecutor(1)

    def _to(self, server: str) -> str:
        return self._host.ipv6 if ":" in server else self._host.ipv4

    @staticmethod
    def _own(place: Namespace, address: str) -> socket.socket:
        own = place.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        own.connect((address, NTP_PORT))
        return own

    def once(self) -> None:
        """Every query once, from every flow."""
        for query in QUERIES:
            for own in self._sockets:
                try:
                    own.send(query)
                except ConnectionRefusedError:
                    own.send(query)  # an ICMP error of the query before, while the daemon restarts
            for forger in self._forged:
                forger.send(query)
        self.rounds += 1

    def _ask(self) -> None:
        while not self._ended.wait(self.SPACING):
            self.once()

    def go_on(self, seconds: float) -> None:
        """Wait while it goes on asking; AssertionError when it does not, for then silence means nothing."""
        before = self.rounds
        time.sleep(seconds)
        assert self.rounds - before > seconds / self.SPACING / 2, self._asking.exception(0)

    def __enter__(self) -> Asking:
        self._asking = self._executor.submit(self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._executor.shutdown()
        self.close()
        if error is None:
            self._asking.result()

    def close(self) -> None:
        for each in (*self._sockets, *self._forged):
            each.close()


class _Forger:
    """Sends as somebody else, from port 123: UDP in IP packets made by hand."""

    def __init__(self, place: Namespace, source: str, destination: str) -> None:
        self._source, self._destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
        family = socket.AF_INET6 if self._source.version == 6 else socket.AF_INET
        self._socket = place.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, payload: bytes) -> None:
        self._socket.sendto(self._packet(payload), (str(self._destination), 0))

    def _packet(self, payload: bytes) -> bytes:
        length = 8 + len(payload)
        ends = self._source.packed + self._destination.packed
        header = struct.pack("!HHHH", NTP_PORT, NTP_PORT, length, 0)
        pseudo = ends + struct.pack("!II", length, socket.IPPROTO_UDP)
        summed = struct.pack("!HHHH", NTP_PORT, NTP_PORT, length, _checksum(pseudo + header + payload))
        if self._source.version == 6:
            return struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + ends + summed + payload
        # The kernel fills in the length, the identification and the checksum (raw(7)).
        start = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
        return start + ends + summed + payload

    def close(self) -> None:
        self._socket.close()


def _checksum(data: bytes) -> int:
    """RFC 1071; a UDP checksum of zero is sent as its other form (RFC 768)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF) or 0xFFFF
