"""What else hangs on the lab's bridge: bare network namespaces, and a time server in one.

Processes in them see the machine's files (the time server: a root's) and the holder's processes.
"""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from . import netns
from .holder import BOUNDED, ENVIRONMENT, CommandError, Holder, Process, run

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from .roots import Root

BRIDGE = "br0"
NTP_PORT = 123
CLIENT_QUERY = bytes([0x23]) + bytes(47)  # version 4, mode 3 (RFC 5905, 7.3)


def address4(number: int) -> str:
    """The IPv4 address of host `number` on the lab's bridge."""
    return f"192.168.77.{number}"


def address6(number: int) -> str:
    """The IPv6 address of host `number` on the lab's bridge."""
    return f"fd00:77::{number}"


class Namespace:
    """A network namespace with one interface, `eth0`, on the bridge. `name`: up to 13 characters."""

    def __init__(self, holder: Holder, name: str, number: int) -> None:
        self._holder, self.name = holder, name
        self.ipv4, self.ipv6 = address4(number), address6(number)
        holder.run("ip", "netns", "add", name)
        port = f"p-{name}"
        self._ip_in_holder(
            f"link add {port} type veth peer name eth0 netns {name}", f"link set {port} master {BRIDGE} up"
        )
        # Link-local addresses are usable at once, too.
        self.run("sysctl", "-q", "-w", "net.ipv6.conf.eth0.accept_dad=0")
        self.ip("link set lo up", "link set eth0 up")
        self.add_addresses(number)

    def add_addresses(self, *numbers: int) -> None:
        """Take the addresses of further hosts as well."""
        for number in numbers:
            self.ip(
                f"address add {address4(number)}/24 dev eth0",
                f"address add {address6(number)}/64 dev eth0 nodad",
            )

    def ip(self, *commands: str) -> None:
        """ip(8) commands, one a line, in here."""
        self.run("ip", "-batch", "-", input="\n".join(commands))

    def _ip_in_holder(self, *commands: str) -> None:
        self._holder.run("ip", "-batch", "-", input="\n".join(commands))

    @property
    def path(self) -> Path:
        """The namespace as a file, for `nsenter --net=` or `netns.call`."""
        return self._holder.path(f"/run/netns/{self.name}")

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that run it in here."""
        outer = (word for word in self._holder.prefix if word != "--net")
        return (*BOUNDED, *outer, f"--net={self.path}")

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in here."""
        return run(*command, prefix=self.prefix, check=check, **options)

    def popen(self, *command: str, **options: Any) -> Process:
        """Start a command in here."""
        return Process([*self.prefix, *command], **options)

    def socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, protocol: int = 0
    ) -> socket.socket:
        """A socket of this namespace; AF_PACKET and raw ones included."""
        return netns.call(lambda: socket.socket(family, kind, protocol), self.path)

    def close(self) -> None:
        """Delete the namespace; its sockets keep it alive until they are closed."""
        self._holder.run("ip", "link", "delete", f"p-{self.name}", check=False)
        self._holder.run("ip", "netns", "delete", self.name, check=False)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TimeServer(Namespace):
    """chronyd as a stratum 1 of its own, which never touches the clock (`-x`) and serves at once."""

    def __init__(self, holder: Holder, name: str, root: Root, number: int, *others: int) -> None:
        super().__init__(holder, name, number)
        self.add_addresses(*others)
        numbers = (number, *others)
        self.servers = (*map(address4, numbers), *map(address6, numbers))
        self._directory = f"/run/lab/{name}"
        self._root = f"{self._directory}/root"
        holder.overlay(root.lower, self._directory, self._root)
        # Configuration lines as arguments; "bindcmdaddress /" is no command socket either.
        lines = ("local stratum 1", "allow all", "cmdport 0", "bindcmdaddress /", "pidfile /run/chronyd.pid")
        command = ("chroot", self._root, *ENVIRONMENT, "chronyd", "-x", "-d", "-u", "root", *lines)
        self._daemon: Process | None = None
        self._command = command
        self.start()

    def start(self, timeout: float = 10) -> None:
        """Serve, and return when a query is answered."""
        quiet = subprocess.DEVNULL
        log = self._holder.path(f"{self._directory}/log")
        with log.open("wb") as output:
            self._daemon = self.popen(*self._command, stdin=quiet, stdout=output, stderr=output)
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"chronyd does not serve:\n{log.read_text()}")

    def stop(self) -> None:
        """Fall silent; `start` serves again."""
        if self._daemon and self._daemon.poll() is None:
            self._daemon.terminate()
            self._daemon.wait(10)

    def _answers(self) -> bool:
        with self.socket() as client:
            client.settimeout(0.05)
            try:
                client.connect((self.ipv4, NTP_PORT))
                client.send(CLIENT_QUERY)
                return len(client.recv(512)) >= len(CLIENT_QUERY)
            except OSError:
                time.sleep(0.02)  # refused at once while chronyd starts
                return False

    def close(self) -> None:
        """Stop serving and delete the namespace."""
        self.stop()
        self._holder.run("umount", self._root, check=False)
        super().close()
