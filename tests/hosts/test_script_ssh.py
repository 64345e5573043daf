"""The script over a real SSH connection, and when the power goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.golden import cases
from tests.kernel.oldhost import script
from tests.property.strategies import loaded

from ..lab import guest
from .test_confirm import OPEN, gets_in, wait_in
from .test_lockout import FORGETFUL, OPTIONS, pair

if TYPE_CHECKING:
    import subprocess

    from ..lab.hosts import Host, Lab

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

__all__ = ["pair"]  # a fixture: pytest finds it by its name here

TOOL = "/var/lib/fwpolicy-script/tool/tool.sh"


def over_ssh(desk: Host, server: Host, policy: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ssh HOST sh -s -- ARGUMENTS < SCRIPT`."""
    command = ("ssh", *OPTIONS, f"root@{server.ipv4}", "sh", "-s", "--", *arguments)
    return desk.run("timeout", "20", *command, input=script(loaded(policy), "nft"), check=False)


def test_who_locks_himself_out_is_back_in(pair: tuple[Host, Host]) -> None:
    server, desk = pair
    before = guest.look(server)
    done = over_ssh(desk, server, FORGETFUL, "apply", "--confirm", "4")
    assert done.returncode == 0, done.stderr
    assert "taken back in 4 s unless confirmed" in done.stdout
    assert not gets_in(desk, server)
    wait_in(desk, server, 20)
    assert server.run("test", "-e", TOOL, check=False).returncode != 0
    assert not guest.differences(before.as_before(), guest.look(server).as_before())


def test_a_new_connection_confirms(pair: tuple[Host, Host]) -> None:
    server, desk = pair
    before = guest.look(server)
    assert over_ssh(desk, server, OPEN, "apply", "--confirm", "30").returncode == 0
    assert "confirmed 'web'" in over_ssh(desk, server, OPEN, "confirm").stdout
    assert over_ssh(desk, server, OPEN, "status").returncode == 0
    assert over_ssh(desk, server, OPEN, "undo").returncode == 0
    assert not guest.differences(before.as_before(), guest.look(server).as_before())


def test_when_the_power_goes(place: Lab) -> None:
    """What has been said to be applied is there after it; what waited is not."""
    client, closed = (script(cases.policy(name), "nft") for name in ("ntp-client", "ntp-closed"))
    with place.host("dark", 47, "base", disk_mb=96) as host:
        host.start()
        host.run("sh", "-s", "--", "apply", "--no-confirm", input=client)
        rules = guest.own_rules(host)
        host.power_cut()
        assert guest.own_rules(host) == rules
        host.run("sh", "-s", "--", "apply", "--confirm", "600", input=closed)
        assert guest.own_rules(host) != rules
        host.power_cut()
        assert guest.own_rules(host) == rules
        shown = host.run("sh", TOOL, "status").stdout
        assert "'ntp-client'" in shown
        assert "waits to be" not in shown
