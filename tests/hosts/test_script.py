"""The script on booted hosts, with every real daemon: closed, synchronising, over a reboot, and as before."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fwpolicy.record import record
from tests.golden import cases
from tests.kernel.oldhost import script

from ..lab import guest, outside
from ..lab.daemons import DAEMONS
from .verdicts import assert_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.guest import Found
    from ..lab.hosts import Host, Lab
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

KINDS = ("ntp", "ntpsec", "chrony", "openntpd")
CLIENT = script(cases.policy("ntp-client"), "nft")
CLOSED = script(cases.policy("ntp-closed"), "nft")
TOOL = "/var/lib/fwpolicy-script/tool/tool.sh"
# Whoever starts Python ends.
NO_PYTHON = {f"/run/none/{name}": "#!/bin/sh\nkill -9 $PPID\n" for name in ("python3", "perl")}
PATH = "PATH=/run/none:/usr/sbin:/usr/bin:/sbin:/bin"


@record
class Way:
    """What was seen: before, applied, rebooted, undone, closed, and not confirmed."""

    found: Found
    said: str
    applied: Found
    again: Found
    seconds: float
    after: Probed
    status: str
    rebooted: Probed
    undone: Found
    closed: Found
    reopened: Found
    unconfirmed: Found


def run(host: Host, text: str, *arguments: str) -> str:
    """What comes over SSH."""
    done = host.run("env", PATH, "sh", "-s", "--", *arguments, input=text, check=False)
    assert done.returncode == 0, f"{host.name}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def go(host: Host, attacker: Namespace, clock: TimeServer, kind: str) -> Way:
    daemon = DAEMONS[kind]
    seen: dict[str, Any] = {"found": guest.look(host, daemon.unit)}
    host.write_files(NO_PYTHON, 0o755)
    since = time.time()
    seen["said"] = run(host, CLIENT, "apply", "--no-confirm")
    seen["applied"] = guest.look(host, daemon.unit)
    seen["seconds"] = daemon.wait_synchronised(host, since)
    run(host, CLIENT, "apply", "--no-confirm")
    seen["again"] = guest.look(host, daemon.unit)
    seen["after"] = outside.probe(attacker, host, clock)
    host.reboot()
    seen["status"] = host.run("sh", TOOL, "status").stdout
    seen["rebooted"] = outside.probe(attacker, host, clock)
    host.run("sh", TOOL, "undo")
    seen["undone"] = guest.look(host, daemon.unit)
    host.write_files(NO_PYTHON, 0o755)
    run(host, CLOSED, "apply", "--confirm", "60")
    seen["closed"] = guest.look(host, daemon.unit)
    host.run("sh", TOOL, "rollback")
    seen["reopened"] = guest.look(host, daemon.unit)
    run(host, CLIENT, "apply", "--confirm", "1")
    deadline = time.monotonic() + 30
    while host.run("test", "-e", TOOL, check=False).returncode == 0:
        assert time.monotonic() < deadline, "it is never taken back"
        time.sleep(0.2)
    seen["unconfirmed"] = guest.look(host, daemon.unit)
    return Way(**seen)


@pytest.fixture(scope="module")
def ways(place: Lab, clock: TimeServer) -> Iterator[dict[str, Way]]:
    """Every daemon's, side by side."""
    hosts = {}
    for number, kind in enumerate(KINDS, start=30):
        hosts[kind] = place.host(f"old-{kind}", number, kind)
        DAEMONS[kind].install(hosts[kind], clock.servers, wide_open=True)
    place.boot(*hosts.values())
    with ThreadPoolExecutor(len(KINDS)) as executor:
        found = {
            kind: executor.submit(go, hosts[kind], place.namespace(f"at-{kind}", at), clock, kind)
            for at, kind in enumerate(KINDS, start=130)
        }
        yield {kind: each.result() for kind, each in found.items()}
    for host in hosts.values():
        host.kill()


@pytest.fixture(params=KINDS)
def way(request: pytest.FixtureRequest, ways: dict[str, Way]) -> Way:
    return ways[request.param]


def test_nobody_is_answered_and_it_synchronises(way: Way) -> None:
    assert_closed(way.after)
    assert "restarted" in way.said


def test_twice_is_once(way: Way) -> None:
    assert guest.without_handles(way.again.rules) == guest.without_handles(way.applied.rules)
    kept = [{p: e for p, e in each.tree.items() if "/etc/" in p} for each in (way.applied, way.again)]
    assert kept[0] == kept[1]


def test_a_reboot_loads_the_rules(way: Way) -> None:
    assert "rules: as applied" in way.status
    assert_closed(way.rebooted)


def test_undone_is_as_before(way: Way) -> None:
    assert not guest.differences(way.found.as_before(), way.undone.as_before())


def test_closed_is_stopped_and_masked_and_comes_back(way: Way) -> None:
    (unit,) = way.closed.units
    assert "LoadState=masked" in unit
    assert "ActiveState=inactive" in unit
    assert not guest.differences(way.found.as_before(), way.reopened.as_before())


def test_who_does_not_confirm_has_the_host_as_before(way: Way) -> None:
    assert not guest.differences(way.found.as_before(), way.unconfirmed.as_before())
