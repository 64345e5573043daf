"""The two races of docs/ntp.md: a query that waits in the daemon's socket, and an attack under way.

Each has its control: the rule that is usually recommended, which drops what is NEW, lets the answers
go on. So silence after our apply is not the test's deafness.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest
from ..lab.daemons import DAEMONS
from .listening import Asking, Ears

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

# It answers modes 3 and 6, as often as one likes (ntpsec has a limit of its own, which looks like silence).
KIND = "ntp"
DAEMON = DAEMONS[KIND]
UNIT = DAEMON.unit
# iptables -A INPUT -m state --state NEW -p udp --dport 123 -j DROP, for both families.
RECOMMENDED = """
table inet recommended {
    chain input {
        type filter hook input priority filter; policy accept;
        ct state new udp dport 123 drop
    }
}
"""
TRACKING = """
table inet tracking {
    chain input { type filter hook input priority 9; policy accept; ct state new counter; }
}
"""
GOES_ON = 3.0  # seconds for which the attacker does not give up


@pytest.fixture(scope="module")
def targets(place: Lab, clock: TimeServer) -> list[Host]:
    """Wide-open ntpds that have synchronised, so their exchange with the server is an established flow."""
    hosts = [place.host(f"target-{number}", number, KIND) for number in range(1, 7)]
    for host in hosts:
        DAEMON.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
    since = time.time()
    place.boot(*hosts)
    for host in hosts:
        DAEMON.wait_synchronised(host, since)
    return hosts


@pytest.fixture
def host(targets: list[Host]) -> Iterator[Host]:
    """One that no test has had."""
    with targets.pop() as host:
        yield host


def load_recommended(host: Host) -> None:
    host.run("nft", "-f", "-", input=RECOMMENDED)


def waiting(host: Host) -> int:
    """Octets that wait in the sockets of port 123 for a daemon to read them."""
    listed = host.run("ss", "--no-header", "--udp", "--listening", "--numeric", "sport = :123").stdout
    return sum(int(line.split()[1]) for line in listed.splitlines())


def put_queries_into_the_socket(host: Host, attacker: Namespace) -> int:
    """Stop the daemon where it is, and ask; its process."""
    pid = guest.main_pid(host, UNIT)
    host.run("kill", "-STOP", str(pid))
    asking = Asking(attacker, host)
    asking.once()
    asking.close()
    assert waiting(host) > 0
    return pid


def test_a_waiting_query_is_answered_under_the_recommended_rule(host: Host, attacker: Namespace) -> None:
    with Ears(attacker, host) as ears:
        pid = put_queries_into_the_socket(host, attacker)
        load_recommended(host)
        assert not ears.since()
        host.run("kill", "-CONT", str(pid))
        assert {each.mode for each in ears.wait()} & {4, 6}


def test_a_waiting_query_is_never_answered_after_apply(host: Host, attacker: Namespace) -> None:
    with Ears(attacker, host) as ears:
        pid = put_queries_into_the_socket(host, attacker)
        since = time.time()
        assert f"restarted {UNIT}" in guest.fwpolicy(host, "apply", "ntp-client")
        assert guest.main_pid(host, UNIT) != pid
        # It works again, with samples of its own: whatever it had to say, it has said.
        DAEMON.wait_synchronised(host, since)
        assert ears.since() == []


def test_a_waiting_query_is_never_answered_even_by_a_daemon_that_goes_on(
    host: Host, attacker: Namespace
) -> None:
    """Without the restart: the filter alone keeps the answers in."""
    with Ears(attacker, host) as ears:
        pid = put_queries_into_the_socket(host, attacker)
        guest.fwpolicy(host, "apply", "ntp-client", "--no-daemon")
        host.run("kill", "-CONT", str(pid))
        # What it answers over loopback came after them.
        assert "stratum" in host.run("ntpq", "-c", "rv", "127.0.0.1").stdout
        assert waiting(host) == 0
        assert ears.since() == []


def test_an_attack_under_way_goes_on_under_the_recommended_rule(
    host: Host, attacker: Namespace, clock: TimeServer
) -> None:
    track(host)
    forged = (clock.ipv4, clock.ipv6)
    with Ears(attacker, host) as ears, Asking(attacker, host, forged) as asking:
        ears.wait_ports({*asking.ports, 123})
        load_recommended(host)
        since = time.time()
        asking.go_on(GOES_ON)
        answered = ears.since(since + GOES_ON - 1)  # to the end
        assert {each.port for each in answered} >= {*asking.ports, 123}
        assert {each.destination for each in answered} >= {attacker.ipv4, attacker.ipv6, *forged}
        # The rule does work, on what is new.
        with Asking(attacker, host) as new:
            later = time.time()
            new.go_on(1)
            assert not new.ports & {each.port for each in ears.since(later)}


def track(host: Host) -> None:
    """A firewall that tracks connections, as one with the recommended rule has been all along."""
    host.run("nft", "-f", "-", input=TRACKING)


@pytest.mark.parametrize("options", [(), ("--no-daemon",)], ids=["", "the filter alone"])
def test_an_attack_under_way_ends_with_apply(
    options: tuple[str, ...], host: Host, attacker: Namespace, clock: TimeServer
) -> None:
    track(host)
    forged = (clock.ipv4, clock.ipv6)
    with Ears(attacker, host) as ears, Asking(attacker, host, forged) as asking:
        ears.wait_ports({*asking.ports, 123})
        guest.fwpolicy(host, "apply", "ntp-client", *options)
        since = time.time()
        asking.go_on(GOES_ON)
        assert ears.since(since) == []
        DAEMON.wait_synchronised(host, since)
        assert ears.since(since) == []
        with Asking(attacker, host, forged) as new:
            new.go_on(0.5)
        assert ears.since(since) == []
