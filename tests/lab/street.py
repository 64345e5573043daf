"""Three namespaces in a row: outside - box - inside. The box routes and filters; real sockets talk.

outside 192.0.2.2, 2001:db8:a::2  <- wan0 ->  box 192.0.2.1, 2001:db8:a::1
inside  10.0.0.2, 2001:db8:b::2   <- lan0 ->  box 10.0.0.1,  2001:db8:b::1

The namespaces have no names: they end with the object.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import netns
from .holder import run

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

WAN4, WAN6, LAN4, LAN6 = "192.0.2.1", "2001:db8:a::1", "10.0.0.1", "2001:db8:b::1"
OUTSIDE4, OUTSIDE6, INSIDE4, INSIDE6 = "192.0.2.2", "2001:db8:a::2", "10.0.0.2", "2001:db8:b::2"
PLACES = ("outside", "box", "inside")
PATIENCE = 0.25  # seconds: nothing here is further away than a microsecond
NFULNL_COPY_META, CONFIG, PACKET, PREFIX = 1, 1025, 1024, 10  # linux/netfilter/nfnetlink_log.h


class Street:
    """The namespaces, and what tests do in them."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._places: dict[str, int] = {}

    def __enter__(self) -> Street:
        for place in PLACES:
            self._places[place] = netns.call(netns.current)
            self._open.callback(os.close, self._places[place])
            self.call(place, _settings)
        self.run("box", "ip", "-batch", "-", input=self._links())
        for place, dev, four, six, gate4, gate6 in (
            ("outside", "eth0", OUTSIDE4, OUTSIDE6, WAN4, WAN6),
            ("inside", "eth0", INSIDE4, INSIDE6, LAN4, LAN6),
        ):
            self.run(place, "ip", "-batch", "-", input=_address(dev, four, six) + _routes(gate4, gate6))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _links(self) -> str:
        lines = "link set lo up\n"
        for dev, place, four, six in (("wan0", "outside", WAN4, WAN6), ("lan0", "inside", LAN4, LAN6)):
            path = f"/proc/{os.getpid()}/fd/{self._places[place]}"
            lines += f"link add {dev} type veth peer name eth0 netns {path}\n{_address(dev, four, six)}"
        return lines

    # --- doing things somewhere -----------------------------------------------------------------

    def call(self, place: str, function: Callable[[], T]) -> T:
        return netns.call(function, f"/proc/{os.getpid()}/fd/{self._places[place]}")

    def run(self, place: str, *command: str, **options: Any) -> str:
        return self.call(place, lambda: run(*command, **options).stdout)

    def nft(self, text: str) -> None:
        self.run("box", "nft", "-f", "-", input=text)

    # --- TCP ------------------------------------------------------------------------------------

    def serve(self, place: str, port: int) -> Server:
        """A TCP server for both families."""
        server = Server(
            self.call(
                place, lambda: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            )
        )
        self._open.callback(server.close)
        return server

    def reaches(self, place: str, address: str, port: int, source: str = "", sport: int = 0) -> bool:
        """Whether a connection comes about; it is closed again."""
        opened = self.connect(place, address, port, source, sport)
        if opened:
            opened.close()
        return opened is not None

    def comes_to_reach(self, place: str, address: str, port: int, seconds: float = 10) -> bool:
        """Whether a connection comes about within `seconds`: tried until it does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.reaches(place, address, port):
                return True
        return False

    def connect(
        self, place: str, address: str, port: int, source: str = "", sport: int = 0
    ) -> socket.socket | None:
        def inside() -> socket.socket | None:
            try:
                here = (source, sport) if source or sport else None
                return socket.create_connection((address, port), PATIENCE, here)
            except OSError:
                return None

        return self.call(place, inside)

    def add(self, place: str, *addresses: str, dev: str = "eth0") -> None:
        lines = "".join(
            f"address add {a}{'/64' if ':' in a else '/24'} dev {dev}{' nodad' * (':' in a)}\n"
            for a in addresses
        )
        self.run(place, "ip", "-batch", "-", input=lines)

    def listen_to_logs(self, group: int) -> Logs:
        """What comes to nflog's `group` in the box."""
        logs = Logs(self.call("box", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)), group)
        self._open.callback(logs.close)
        return logs


class Server:
    """Accepts connections and says from where they came."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._accepted: list[socket.socket] = []
        self._peers: list[tuple[str, int]] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                opened, peer = self._listening.accept()
            except OSError:
                return
            self._accepted.append(opened)
            segment = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            self._peers.append((peer[0].removeprefix("::ffff:"), segment))

    def peers(self, count: int) -> list[str]:
        """Where the connections came from, once there are `count` of them."""
        return [peer for peer, _ in self._wait(count)]

    def connections(self, count: int) -> list[socket.socket]:
        """The server's ends of them."""
        return self._accepted[: len(self._wait(count))]

    def segments(self, count: int) -> list[int]:
        """The segment sizes of the connections."""
        return [segment for _, segment in self._wait(count)]

    def _wait(self, count: int) -> list[tuple[str, int]]:
        deadline = time.monotonic() + 1
        while len(self._peers) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        return list(self._peers)

    def hang_up(self) -> None:
        """Close what was accepted."""
        for opened in self._accepted:
            opened.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.hang_up()


class Logs:
    """A listener of nfnetlink_log: the kernel's own log is silent outside the first namespace."""

    def __init__(self, opened: socket.socket, group: int) -> None:
        self._socket = opened
        self._socket.settimeout(0.2)
        bind = struct.pack("=HHB3x", 5, 1, 1)
        mode = struct.pack("=HH4sBx2x", 10, 2, bytes(4), NFULNL_COPY_META)
        at_once = struct.pack("=HH", 8, 5) + struct.pack("!I", 1)
        for attribute in (bind, mode, at_once):
            body = struct.pack("=BB", 0, 0) + struct.pack("!H", group) + attribute
            header = struct.pack("=IHHII", 16 + len(body), CONFIG, 0x5, 0, 0)
            self._socket.sendto(header + body, (0, 0))
            error = struct.unpack_from("=i", self._socket.recv(4096), 16)[0]
            assert error == 0, os.strerror(-error)

    def prefixes(self) -> list[str]:
        """The prefixes of all that has been logged since."""
        found: list[str] = []
        while True:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return found
            found += _prefixes(data)

    def close(self) -> None:
        self._socket.close()


def _prefixes(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        place = at + 20
        while kind == PACKET and place < at + length:
            size, number = struct.unpack_from("=HH", data, place)
            if number == PREFIX:
                found.append(data[place + 4 : place + size].rstrip(b"\0").decode())
            place += (size + 3) & ~3
        at += (length + 3) & ~3
    return found


def _settings() -> None:
    """Routers all, and no second of duplicate address detection."""
    for name, value in (
        *(("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")),
        *((f"ipv6/conf/{which}/accept_dad", "0") for which in ("all", "default")),
    ):
        Path("/proc/sys/net", name).write_text(value)


def _address(dev: str, four: str, six: str) -> str:
    return (
        f"address add {four}/24 dev {dev}\naddress add {six}/64 dev {dev} nodad\n"
        # The same at both ends and not asked for: whatever is sent arrives at once.
        f"link set {dev} address 02:00:00:00:00:01 arp off up\nlink set lo up\n"
    )


def _routes(four: str, six: str) -> str:
    return f"route add default via {four}\nroute add default via {six}\n"
