"""TCP connections, against real listeners, filters and holes in the route."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwpolicy.host import reach
from fwpolicy.host.netns import entered

from ..lab.holder import run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

V4, V6 = "192.0.2.1", "2001:db8::1"


def target(address: str, port: int) -> reach.Target:
    parsed = ip_address(address)
    return parsed.version, int(parsed), port


@pytest.fixture
def place(netns: str) -> Iterator[str]:
    """A network with addresses of its own and listeners on tcp/443 of them; the thread is in it."""
    for address in (f"{V4}/24", f"{V6}/64"):
        run("ip", "-n", netns, "address", "add", address, "dev", "lo", "nodad")
    with entered(netns), ExitStack() as stack:
        for family, address in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
            stack.enter_context(socket.create_server((address, 443), family=family))
        _until_ipv6_has_its_route()
        yield netns


def _until_ipv6_has_its_route() -> None:
    """The kernel makes it a moment after the address."""
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((V6, 443), timeout=2).close()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return


def filtered(netns: str, line: str) -> None:
    ruleset = f"table inet t {{ chain c {{ type filter hook output priority 0; {line}; }}; }}"
    run("ip", "netns", "exec", netns, "nft", "-f", "-", input=ruleset)


def test_who_listens_is_reached(place: str) -> None:
    assert reach.unreached((target(V4, 443), target(V6, 443)), 2) == {}


def test_who_does_not_is_not(place: str) -> None:
    closed = target(V4, 444)
    assert reach.unreached((target(V6, 443), closed), 2) == {closed: "Connection refused"}


def test_no_route(place: str) -> None:
    away = (target("198.51.100.1", 443), target("2001:db8:1::1", 443))
    assert reach.unreached(away, 2) == dict.fromkeys(away, "Network is unreachable")


def test_a_filter_that_drops(place: str) -> None:
    filtered(place, f"ip daddr {V4} tcp dport 443 drop")
    began = time.monotonic()
    assert reach.unreached((target(V4, 443), target(V6, 443)), 1) == {target(V4, 443): "no answer within 1 s"}
    assert 1 <= time.monotonic() - began < 2


def test_a_filter_that_rejects(place: str) -> None:
    filtered(place, f"ip6 daddr {V6} tcp dport 443 reject with tcp reset")
    assert reach.unreached((target(V4, 443), target(V6, 443)), 2) == {target(V6, 443): "Connection refused"}


def test_many_take_no_longer_than_one(place: str) -> None:
    filtered(place, "tcp dport 443 drop")
    many = tuple(target(f"192.0.2.{number}", 443) for number in range(1, 65))
    began = time.monotonic()
    assert set(reach.unreached(many, 1)) == set(many)
    assert time.monotonic() - began < 2


def test_a_connection_with_itself_reaches_nobody(place: str) -> None:
    """TCP's simultaneous open: the port that the kernel picks may be the one that is asked."""
    run("ip", "netns", "exec", place, "sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=40000 40000")
    with socket.socket(socket.AF_INET6) as other:
        other.connect((V6, 40000))
        assert other.getsockname() == other.getpeername()
    assert reach.unreached((target(V4, 40000),), 2) == {target(V4, 40000): "nobody listens there"}


def test_nothing_stays_open(place: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reach.unreached((target(V4, 443), target(V4, 444), target("198.51.100.1", 443)), 2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
