"""The roles `server` and `closed` with every real daemon, and the way from one to the other.

Each host serves one neighbour, then changes its role to closed, reboots, and is as before at the end.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fwpolicy.record import record

from ..lab import guest, outside
from ..lab.daemons import DAEMONS
from ..lab.hosts import Lab
from . import cells, table
from .table import Cell
from .verdicts import assert_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from ..lab.guest import Found
    from ..lab.hosts import Host
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer
    from ..lab.roots import Roots
    from .table import Matrix

pytestmark = pytest.mark.hosts

SERVING = ("chrony", "ntp", "ntpsec", "openntpd")
POLICY = "/root/serve.yaml"
SERVE = """\
version: 1
name: serve
groups:
  neighbour: ["{client.ipv4}", "{client.ipv6}"]
roles:
  ntp: {{mode: server, serve: [neighbour]}}
tests:
  - {{allow: ntp, from: neighbour}}
  - {{deny: ntp, from: "{stranger.ipv4}"}}
"""


@record
class Served:
    """A host as a time server: what its client and a stranger got, and until it synchronised again."""

    client: Probed
    stranger: Probed
    seconds: float
    status: dict[str, object]
    again: str


@record
class Closed:
    """A host without NTP: `stranger` is the probe from outside, `left` what left it for a server."""

    said: str
    unit: str
    stranger: Probed
    rebooted_unit: str
    rebooted_stranger: Probed
    status: dict[str, object]
    asks: str


@record
class Roles:
    """Everything that one host went through.

    `refused`: what it said to another policy without --replace, or to `server` where `served` is None.
    """

    found: Found
    served: Served | None
    refused: str
    closed: Closed
    restored: Found


@record
class Place:
    """A host and its surroundings."""

    host: Host
    client: Namespace
    stranger: Namespace
    clock: TimeServer
    kind: str


def serve(place: Place) -> Served:
    """Apply `server`, and ask as the served client and as somebody else."""
    host, daemon = place.host, DAEMONS[place.kind]
    host.write(POLICY, SERVE.format(client=place.client, stranger=place.stranger))
    guest.fwpolicy(host, "apply", POLICY)
    since = time.time()
    again = guest.fwpolicy(host, "apply", POLICY)
    seconds = daemon.wait_synchronised(host, since)
    return Served(
        client=outside.probe(place.client, host, place.clock),
        stranger=outside.probe(place.stranger, host, place.clock),
        seconds=seconds,
        status=guest.report(host, "status"),
        again=again,
    )


# A question from inside: does a packet to a server's port leave, and does an answer come?
_ASK = """
import socket, sys
said = []
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(0.5)
    try:
        client.sendto(bytes([0x23]) + bytes(47), (address, 123))
        said.append("answered" if client.recv(512) else "")
    except TimeoutError:
        said.append("silence")
    except PermissionError:
        said.append("not sent")
print(*said, sep=", ")
"""


def ask_from_inside(place: Place) -> str:
    """What comes of a query of the host's own to the time server, over IPv4 and IPv6."""
    return place.host.run("python3", "-c", _ASK, place.clock.ipv4, place.clock.ipv6).stdout.strip()


def close(place: Place, *options: str) -> Closed:
    """Apply `closed`, look, reboot, look again."""
    host, unit = place.host, DAEMONS[place.kind].unit
    said = guest.fwpolicy(host, "apply", "ntp-closed", *options)
    state = guest.unit_state(host, unit)
    asks = ask_from_inside(place)
    stranger = outside.probe(place.stranger, host, place.clock, "--quick")
    host.reboot()
    return Closed(
        said=said,
        unit=state,
        stranger=stranger,
        rebooted_unit=guest.unit_state(host, unit),
        rebooted_stranger=outside.probe(place.stranger, host, place.clock),
        status=guest.report(host, "status"),
        asks=asks,
    )


def travel(place: Place) -> Roles:
    host, unit = place.host, DAEMONS[place.kind].unit
    found = guest.look(host, unit)
    assert ask_from_inside(place) == "answered, answered"
    if place.kind in SERVING:
        served = serve(place)
        refused = guest.fwpolicy(host, "apply", "ntp-closed", expect=1)
        closed = close(place, "--replace")
    else:
        host.write(POLICY, SERVE.format(client=place.client, stranger=place.stranger))
        served, refused = None, guest.fwpolicy(host, "apply", POLICY, expect=1)
        closed = close(place)
    guest.fwpolicy(host, "remove")
    return Roles(found, served, refused, closed, guest.look(host, unit))


@pytest.fixture(scope="module")
def travelled(
    roots: Roots, summary: Callable[[Iterable[str]], None], matrix: Matrix
) -> Iterator[dict[str, Future[Roles]]]:
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        places = {}
        for number, kind in enumerate(DAEMONS, start=10):
            host = lab.host(f"{kind}-host", number, kind)
            DAEMONS[kind].install(host, clock.servers, wide_open=True)
            host.install_fwpolicy()
            client, stranger = (lab.namespace(f"{name}-{number}", number + up) for name, up in PEERS)
            places[kind] = Place(host, client, stranger, clock, kind)
        lab.boot(*(place.host for place in places.values()))
        with ThreadPoolExecutor(len(places)) as executor:
            found = {kind: executor.submit(travel, place) for kind, place in places.items()}
        summary(_table(found))
        for kind, future in found.items():
            matrix.note("nft", kind, "server", _server_cell(future))
            matrix.note("nft", kind, "closed", _closed_cell(future))
        yield found


def _server_cell(travelled: Future[Roles]) -> Cell:
    if travelled.exception():
        return table.FAILED
    seen = travelled.result().served
    if not seen:
        return table.REFUSED
    return cells.of_server(seen.stranger, seen.client, "rebooted " + table.NOT_RUN)


def _closed_cell(travelled: Future[Roles]) -> Cell:
    if travelled.exception():
        return table.FAILED
    closed = travelled.result().closed
    survived = not closed.rebooted_stranger.answered and closed.status["drift"] == []
    return Cell(str(closed.rebooted_stranger), table.NO_DAEMON, "yes" if survived else "NO")


PEERS = (("client", 100), ("stranger", 150))


def _table(travelled: dict[str, Future[Roles]]) -> list[str]:
    lines = ["", "server: probes answered, of the client that is served and of a stranger; closed"]
    for kind, future in travelled.items():
        if future.exception():
            lines.append(f"{kind:<12}failed")
            continue
        roles = future.result()
        served = "cannot serve"
        if roles.served:
            seen = roles.served
            served = f"{seen.client!s:>12}{seen.stranger!s:>12}, synchronised after {seen.seconds:.1f} s"
        lines.append(f"{kind:<12}{served:<56}{roles.closed.rebooted_stranger!s:>12}")
    return lines


@pytest.fixture(params=DAEMONS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def roles(travelled: dict[str, Future[Roles]], kind: str) -> Roles:
    return travelled[kind].result()


@pytest.fixture(params=SERVING)
def served(request: pytest.FixtureRequest, travelled: dict[str, Future[Roles]]) -> Served:
    found = travelled[request.param].result().served
    assert found
    return found


def test_a_server_gives_its_client_the_time_and_nothing_else(served: Served) -> None:
    assert_served(served.client)


def test_a_server_does_not_answer_a_stranger(served: Served) -> None:
    assert served.stranger.answered == ()
    assert served.stranger.verdicts == ("CLOSED", "CLOSED")
    assert served.stranger.unasked == ()


def test_a_server_still_synchronises(served: Served) -> None:
    assert served.seconds > 0
    assert served.status["drift"] == []
    assert served.again == "serve: nothing to change\n"


def test_timesyncd_cannot_be_a_server(travelled: dict[str, Future[Roles]]) -> None:
    assert "systemd-timesyncd cannot serve time" in travelled["timesyncd"].result().refused


def test_another_policys_name_needs_replace(travelled: dict[str, Future[Roles]]) -> None:
    for kind in SERVING:
        refused = travelled[kind].result().refused
        assert "the policy in force here is 'serve', not 'ntp-closed'" in refused
        assert "--replace" in refused


def test_closed_stops_the_daemon_for_good(roles: Roles, kind: str) -> None:
    assert f"stopped {DAEMONS[kind].unit} and took it out of the boot" in roles.closed.said
    assert "ActiveState=active" in roles.found.units[0]
    for state in (roles.closed.unit, roles.closed.rebooted_unit):
        assert "LoadState=masked" in state
        assert "ActiveState=inactive" in state


def test_closed_lets_nothing_in_or_out(roles: Roles) -> None:
    assert roles.closed.asks == "not sent, not sent"
    for probed in (roles.closed.stranger, roles.closed.rebooted_stranger):
        assert probed.answered == ()
        assert probed.verdicts == ("CLOSED", "CLOSED")
    assert roles.closed.status["drift"] == []
    assert roles.closed.status["policy"] == "ntp-closed"


def test_remove_starts_the_daemon_again_and_leaves_the_host_as_it_was(roles: Roles) -> None:
    assert guest.differences(roles.found.as_before(), roles.restored.as_before()) == []
    assert "ActiveState=active" in roles.restored.units[0]
    assert roles.restored.rules == ""
