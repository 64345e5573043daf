"""A router under ntp-client: NTP through it goes on in both directions, with NAT too; its own port is closed.

    inner (10.9.0.2) --- (10.9.0.1) router (192.168.77.30) --- outer, on the lab's bridge

Namespaces only: what is tested is the kernel's rules and not a daemon, so the time servers are a few
lines that answer every query, on the inner, the outer and the router's own port 123.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ..lab import netns
from ..lab.holder import CommandError
from ..lab.hosts import CHECKOUT
from ..lab.peers import CLIENT_QUERY, NTP_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ..lab.hosts import Lab
    from ..lab.peers import Namespace

pytestmark = pytest.mark.hosts

REPLY = bytes([0x24]) + bytes(47)  # version 4, mode 4 (RFC 5905, 7.3)
INNER, ROUTER = ("10.9.0.2", "fd09::2"), ("10.9.0.1", "fd09::1")
MASQUERADE = """
table inet nat {
    chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "eth0" udp dport 123 dnat ip to 10.9.0.2
        iifname "eth0" udp dport 123 dnat ip6 to fd09::2
    }
}
"""


class Answering:
    """Answers every packet to port 123, over both families, until `close`."""

    def __init__(self, own: Callable[[int], socket.socket]) -> None:
        self._sockets = [own(family) for family in (socket.AF_INET, socket.AF_INET6)]
        for each in self._sockets:
            if each.family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(("", NTP_PORT))
        self._threads = [threading.Thread(target=self._answer, args=(each,)) for each in self._sockets]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _answer(own: socket.socket) -> None:
        while True:
            query, client = own.recvfrom(2048)
            if not query:
                return
            try:
                own.sendto(REPLY, client)
            except PermissionError:
                continue  # a filter stops the answer

    def close(self) -> None:
        """An empty packet to itself ends each thread."""
        for each in self._sockets:
            loopback = "::1" if each.family == socket.AF_INET6 else "127.0.0.1"
            each.sendto(b"", (loopback, NTP_PORT))
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Answering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Net:
    """The three namespaces, each with something that answers on port 123."""

    def __init__(self, lab: Lab, outer: Namespace, router: Namespace) -> None:
        self._holder, self.outer, self.router = lab.holder, outer, router
        self.outer_addresses, self.router_addresses = (
            (outer.ipv4, outer.ipv6),
            (router.ipv4, router.ipv6),
        )
        lab.holder.run("ip", "netns", "add", "inner")
        # Link-local addresses are usable at once, too: neighbours are asked from them.
        no_wait = ("sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0")
        lab.holder.run("ip", "netns", "exec", "inner", *no_wait)
        router.run(*no_wait, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        router.ip("link add inside type veth peer name eth0 netns inner", "link set inside up")
        router.ip(*(f"address add {each} dev inside" for each in ("10.9.0.1/24", "fd09::1/64 nodad")))
        lines = ("link set lo up", "link set eth0 up", "address add 10.9.0.2/24 dev eth0")
        more = (
            "address add fd09::2/64 dev eth0 nodad",
            *(f"route add default via {each}" for each in ROUTER),
        )
        lab.holder.run("ip", "-n", "inner", "-batch", "-", input="\n".join((*lines, *more)))
        outer.ip(f"route add 10.9.0.0/24 via {router.ipv4}", f"route add fd09::/64 via {router.ipv6}")

    def inner_socket(self, family: int) -> socket.socket:
        path = self._holder.path("/run/netns/inner")
        return netns.call(lambda: socket.socket(family, socket.SOCK_DGRAM), path)

    def fwpolicy(self, *arguments: str) -> str:
        where = ("--netns", self.router.name, "--state-dir", "/run/router-state")
        here = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "fwpolicy")
        return self._holder.run(*here, *arguments, *where).stdout

    def close(self) -> None:
        self._holder.run("ip", "netns", "delete", "inner", check=False)
        self._holder.run("rm", "-rf", "/run/router-state")


@pytest.fixture
def net(lab: Lab) -> Iterator[Net]:
    with lab.namespace("router", 30) as router, lab.namespace("outer", 31) as outer:
        built = Net(lab, outer, router)
        servers = (outer.socket, router.socket, built.inner_socket)
        with Answering(servers[0]), Answering(servers[1]), Answering(servers[2]):
            yield built
        built.close()


def asks(own: Callable[[int], socket.socket], addresses: tuple[str, str], port: int = 0) -> list[bool]:
    """Whether each of the addresses answers a query from `port` (0: a fresh one)."""
    return [_asks(own, address, port) for address in addresses]


def _asks(own: Callable[[int], socket.socket], address: str, port: int) -> bool:
    with own(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(0.5)
        if port:
            client.bind(("", port))
        client.connect((address, NTP_PORT))
        client.send(CLIENT_QUERY)
        try:
            return client.recv(512) == REPLY
        except TimeoutError:
            return False


BOTH, NEITHER = [True, True], [False, False]


def test_a_router_goes_on_forwarding_and_closes_its_own_port(net: Net) -> None:
    assert asks(net.outer.socket, net.router_addresses) == BOTH
    net.fwpolicy("apply", "ntp-client")
    assert "chain prefilter" in net.router.run("nft", "list", "ruleset").stdout
    assert asks(net.outer.socket, net.router_addresses) == NEITHER
    assert asks(net.inner_socket, ROUTER) == NEITHER
    for port in (0, 4123):
        assert asks(net.inner_socket, net.outer_addresses, port) == BOTH
        assert asks(net.outer.socket, INNER, port) == BOTH
    assert asks(net.router.socket, net.outer_addresses) == BOTH  # and is a client itself
    net.fwpolicy("remove")
    assert net.router.run("nft", "list", "ruleset").stdout == ""
    assert asks(net.outer.socket, net.router_addresses) == BOTH


def test_a_router_with_nat_goes_on_translating(net: Net) -> None:
    net.router.run("nft", "-f", "-", input=MASQUERADE)
    # Translated, the query for the router's port is the inner server's.
    assert asks(net.outer.socket, net.router_addresses) == BOTH
    net.fwpolicy("apply", "ntp-client")
    # A drop before the translation would take what is not the router's.
    assert "prefilter" not in net.router.run("nft", "list", "ruleset").stdout
    assert asks(net.outer.socket, net.router_addresses) == BOTH
    for port in (0, 4123):
        assert asks(net.inner_socket, net.outer_addresses, port) == BOTH
    assert asks(net.inner_socket, ROUTER) == NEITHER
    assert asks(net.router.socket, net.outer_addresses) == BOTH


def test_nat_that_appears_later_is_noticed_and_a_second_apply_makes_way(net: Net) -> None:
    net.fwpolicy("apply", "ntp-client")
    net.router.run("nft", "-f", "-", input=MASQUERADE)
    # The early drop takes the translated query: what status warns of.
    assert asks(net.outer.socket, net.router_addresses) == NEITHER
    with pytest.raises(CommandError, match=r"(?s)exit 2.*NAT has appeared since the apply"):
        net.fwpolicy("status")
    with pytest.raises(CommandError, match="exit 2"):
        net.fwpolicy("plan", "ntp-client")
    net.fwpolicy("apply", "ntp-client")
    assert asks(net.outer.socket, net.router_addresses) == BOTH
    assert asks(net.inner_socket, net.outer_addresses) == BOTH
