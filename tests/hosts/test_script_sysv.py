"""The script on a host that sysvinit boots and that has no Python: ntp.org's ntpd, nft and both iptables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.golden import cases
from tests.kernel.oldhost import BACKENDS, script

from ..lab import outside, witness, xtables
from ..lab.daemons import DAEMONS
from ..lab.roots import LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.slow,
    pytest.mark.skipif("sysv-ntp" not in LAYERS, reason="needs the root that sysvinit boots"),
]

CLIENT, CLOSED = cases.policy("ntp-client"), cases.policy("ntp-closed")
TOOL = "/var/lib/fwpolicy-script/tool/tool.sh"
# insserv(8) writes its tables anew whenever a link changes, with what they held before.
TREE = """find /etc ! -name '.depend.*' -type f -exec stat -c '%n %a %u %g %Y' {} + -exec sha256sum {} +
find /etc -type l -printf '%p %l\\n'
find /etc -name '.depend.*' -exec sha256sum {} +
"""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def host(place: Lab, clock: TimeServer, backend: str) -> Iterator[Host]:
    """With a time server that answers everybody everything."""
    with place.host("pbx", 46, "sysv-ntp") as host:
        DAEMONS["ntp"].install(host, clock.servers, wide_open=True)
        witness.install(host)
        xtables.choose(host, backend.partition("-")[2] or "nft")
        host.start()
        assert host.run("sh", "-c", "command -v python3 || command -v python", check=False).returncode != 0
        yield host


def piped(host: Host, policy: object, backend: str, *arguments: str) -> str:
    """What comes over SSH."""
    done = host.run("sh", "-s", "--", *arguments, input=script(policy, backend), check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tree(host: Host) -> list[str]:
    return sorted(host.run("sh", "-c", TREE).stdout.splitlines())


def ntpd_runs(host: Host) -> bool:
    return host.run("pidof", "ntpd", check=False).returncode == 0


def test_an_open_time_server_becomes_a_client_and_back(
    host: Host, clock: TimeServer, attacker: Namespace, backend: str
) -> None:
    before, answered = tree(host), outside.probe(attacker, host, clock, "--quick").answered
    assert answered
    since = time.time()
    said = piped(host, CLIENT, backend, "apply", "--no-confirm")
    assert "ntp: restarted" in said
    DAEMONS["ntp"].wait_synchronised(host, since)
    assert outside.probe(attacker, host, clock).answered == ()
    host.reboot()
    assert witness.seen(host).in_time
    assert "rules: as applied" in host.run("sh", TOOL, "status").stdout
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    host.run("sh", TOOL, "undo")
    assert tree(host) == before
    assert ntpd_runs(host)
    assert outside.probe(attacker, host, clock, "--quick").answered == answered


def test_nobody_confirms(host: Host, backend: str) -> None:
    """Closed, and back: in time, and by a reboot."""
    before = tree(host)
    piped(host, CLOSED, backend, "apply", "--confirm", "3")
    assert not ntpd_runs(host)
    deadline = time.monotonic() + 20
    while host.run("test", "-e", TOOL, check=False).returncode == 0:
        assert time.monotonic() < deadline, "it is never taken back"
        time.sleep(0.2)
    assert tree(host) == before
    assert ntpd_runs(host)
    piped(host, CLOSED, backend, "apply", "--confirm", "600")
    host.reboot()
    assert tree(host) == before
    assert ntpd_runs(host)
    assert host.run("test", "-e", TOOL, check=False).returncode != 0


@pytest.mark.skipif("sysv-openrc" not in LAYERS, reason="needs the root that OpenRC boots")
def test_openrc_loads_before_the_network_closes_and_gives_back(
    place: Lab, clock: TimeServer, attacker: Namespace
) -> None:
    with place.host("rc", 48, "sysv-openrc") as host:
        DAEMONS["ntpsec"].install(host, clock.servers, wide_open=True)
        witness.install(host)
        host.start()
        before = tree(host)
        piped(host, CLOSED, "nft", "apply", "--confirm", "600")
        assert not ntpd_runs(host)
        assert "/ntpsec" not in host.run("find", "/etc/runlevels").stdout
        host.reboot()
        assert tree(host) == before
        assert ntpd_runs(host)
        piped(host, CLIENT, "nft", "apply", "--no-confirm")
        host.reboot()
        assert witness.seen(host).in_time
        assert outside.probe(attacker, host, clock, "--quick").answered == ()
        host.run("sh", TOOL, "undo")
        assert tree(host) == before
        assert ntpd_runs(host)
