"""Commit-confirm on booted hosts, over real sshd: whoever locks himself out is back in after the window."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest
from .test_lockout import FORGETFUL, OPTIONS, POLICY, over_ssh, pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host

pytestmark = pytest.mark.hosts

__all__ = ["pair"]  # a fixture: pytest finds it by its name here

OPEN = "version: 1\nname: web\ninput: {default: drop, allow: [http, ssh]}\n"
WITHOUT_HTTP = OPEN.replace("http, ", "")
MASTER = ("-o", "ControlMaster=auto", "-o", "ControlPath=/run/master", "-o", "ControlPersist=60")


@pytest.fixture
def server(pair: tuple[Host, Host]) -> Iterator[Host]:
    """Without a policy, before and after."""
    yield pair[0]
    guest.fwpolicy(pair[0], "remove")


@pytest.fixture
def desk(pair: tuple[Host, Host]) -> Host:
    return pair[1]


def gets_in(desk: Host, server: Host) -> bool:
    """A connection that begins while the host is open hangs when it closes."""
    command = ("timeout", "5", "ssh", *OPTIONS, f"root@{server.ipv4}", "true")
    return desk.run(*command, check=False).returncode == 0


def wait_in(desk: Host, server: Host, seconds: float) -> float:
    """The seconds until he is in."""
    began = time.monotonic()
    while not gets_in(desk, server):
        assert time.monotonic() - began < seconds, f"locked out for {seconds} s"
    return time.monotonic() - began


def test_who_locks_himself_out_is_back_in_after_the_window(server: Host, desk: Host) -> None:
    server.write(POLICY, FORGETFUL)
    before = guest.look(server)
    done = over_ssh(desk, server.ipv4, "fwpolicy", "apply", "--force", "--confirm", "5s", POLICY)
    assert done.returncode == 0 and "it is taken back in 5 s" in done.stdout
    assert not gets_in(desk, server)
    wait_in(desk, server, 15)
    after = guest.look(server)
    assert guest.rules(server) == "" and not [
        path for path in after.tree if "systemd" in path and "fwpolicy" in path
    ]
    assert before.units == after.units
    assert "undone: not confirmed in time" in guest.fwpolicy(server, "history")


def test_the_window_outlives_a_client_that_is_killed(server: Host, desk: Host) -> None:
    """In the middle of the apply, or after it: nothing hangs on his session."""
    server.write(POLICY, FORGETFUL)
    command = (
        "ssh",
        *OPTIONS,
        "-tt",
        f"root@{server.ipv4}",
        f"fwpolicy apply --force --confirm 4s {POLICY}; sleep 60",
    )
    client = desk.popen(*command)
    deadline = time.monotonic() + 20
    while "table inet fwpolicy" not in guest.rules(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    desk.run("pkill", "-KILL", "-x", "ssh")
    client.wait(10)
    wait_in(desk, server, 20)
    assert guest.rules(server) == ""
    # Its sshd noticed nothing, and all it had started goes.
    server.run("pkill", "-x", "sleep", check=False)


def test_over_ssh_one_is_asked_and_only_a_new_connection_answers(server: Host, desk: Host) -> None:
    server.write(POLICY, OPEN)
    old = ("ssh", *OPTIONS, *MASTER, f"root@{server.ipv4}")
    said = desk.run(*old, "fwpolicy", "apply", POLICY).stdout
    assert "it is taken back in 60 s unless you confirm it, from a new connection" in said
    done = desk.run(*old, "fwpolicy", "confirm", check=False)
    assert done.returncode == 1 and "this connection is older than the apply" in done.stderr
    # sudo and its like drop what the session said.
    done = over_ssh(desk, server.ipv4, "env", "-i", "/usr/bin/fwpolicy", "confirm")
    assert (done.returncode, done.stdout) == (0, "confirmed web: generation 1\n")
    desk.run("ssh", *MASTER, "-O", "exit", f"root@{server.ipv4}", check=False)
    timers = server.run("systemctl", "list-timers", "--all", "--no-legend").stdout
    assert "fwpolicy-unconfirmed" not in timers
    assert guest.report(server, "status")["drift"] == []
    history = guest.report(server, "history")["generations"]
    assert history[0]["by"].endswith(f"from {desk.ipv4}") and history[0]["fate"] == "in force"


def test_a_reboot_in_the_window_comes_up_with_the_old_generation(server: Host, desk: Host) -> None:
    server.write(POLICY, OPEN)
    guest.fwpolicy(server, "apply", POLICY)
    rules = guest.own_rules(server)
    server.write(POLICY, WITHOUT_HTTP)
    guest.fwpolicy(server, "apply", "--confirm", "60s", POLICY)
    assert guest.own_rules(server) != rules
    # In the same boot what reloads the rules loads those that wait.
    server.run("systemctl", "restart", "fwpolicy")
    assert guest.own_rules(server) != rules
    server.reboot()
    assert guest.own_rules(server) == rules
    assert "undone: not confirmed before a reboot" in guest.fwpolicy(server, "history")
    assert guest.report(server, "status")["drift"] == []


def test_a_first_apply_is_taken_back_at_the_boot_whole(server: Host, desk: Host) -> None:
    """By the boot unit, which is itself of what is taken back."""
    server.write(POLICY, FORGETFUL)
    before = guest.look(server)
    guest.fwpolicy(server, "apply", "--confirm", "60s", POLICY)
    assert not gets_in(desk, server)
    server.reboot()
    assert gets_in(desk, server) and guest.rules(server) == ""
    ours = [path for path in guest.look(server).tree if "fwpolicy" in path and "generations" not in path]
    assert ours == ["/var/lib/fwpolicy"] and before.units == guest.look(server).units
    assert "undone: not confirmed before a reboot" in guest.fwpolicy(server, "history")


def test_rollback_and_emergency(server: Host, desk: Host) -> None:
    server.write(POLICY, OPEN)
    guest.fwpolicy(server, "apply", POLICY)
    rules = guest.own_rules(server)
    server.write(POLICY, FORGETFUL)
    guest.fwpolicy(server, "apply", POLICY)
    assert not gets_in(desk, server)
    assert "generation 3, which is 1 again" in guest.fwpolicy(server, "rollback")
    assert sorted(guest.own_rules(server)) == sorted(rules) and gets_in(desk, server)
    guest.fwpolicy(server, "rollback", "2")
    assert not gets_in(desk, server)
    # Nobody has Python any more.
    server.run("sh", "/var/lib/fwpolicy/open.sh", "3")
    assert gets_in(desk, server)
    assert "opened by hand" in guest.fwpolicy(server, "status", expect=2)
    deadline = time.monotonic() + 15
    while gets_in(desk, server):
        assert time.monotonic() < deadline, "it stays open"
    assert guest.report(server, "status")["drift"] == []
    server.reboot()
    assert not gets_in(desk, server)
