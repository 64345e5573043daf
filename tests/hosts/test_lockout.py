"""Over real sshd, on booted hosts: nobody shuts himself out, unless he says so."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ..lab import guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab

pytestmark = pytest.mark.hosts

POLICY = "/root/web.yaml"
FORGETFUL = "version: 1\nname: web\ninput:\n  default: drop\n  allow: [http]\n"
OTHERS = FORGETFUL.replace("[http]", "[http, {service: ssh, from: 192.0.2.0/24}]")
KEY = "/root/.ssh/id_ed25519"
OPTIONS = ("-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3")


@pytest.fixture(scope="module")
def pair(place: Lab) -> Iterator[tuple[Host, Host]]:
    """(the host that is worked on, the operator's)."""
    with place.host("server", 21, "ssh") as server, place.host("desk", 22, "ssh") as desk:
        for host in (server, desk):
            host.run("ssh-keygen", "-A")
        desk.run("mkdir", "-p", "-m", "700", "/root/.ssh")
        desk.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
        server.write("/root/.ssh/authorized_keys", desk.read(f"{KEY}.pub"), 0o600)
        server.install_fwpolicy()
        place.boot(server, desk)
        yield server, desk


def over_ssh(
    desk: Host, address: str, *command: str, check: bool = False
) -> subprocess.CompletedProcess[str]:
    return desk.run("ssh", *OPTIONS, f"root@{address}", *command, check=check)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_who_forgets_ssh_is_refused_and_force_goes_on(pair: tuple[Host, Host], family: str) -> None:
    server, desk = pair
    address, mine = getattr(server, family), getattr(desk, family)
    server.write(POLICY, FORGETFUL)
    before = guest.look(server)
    refusal = (
        f"your SSH connection from {mine} (host0) to port 22 could not be opened again: "
        f"{POLICY}:3: input: (no line names it: default drop)"
    )
    # As sudo leaves it: nothing in the environment says who is connected.
    done = over_ssh(desk, address, "env", "-i", "/usr/bin/fwpolicy", "apply", POLICY)
    assert (done.returncode, done.stderr) == (
        1,
        f"fwpolicy: {refusal}; --force goes on all the same\n",
    )
    done = over_ssh(desk, address, "fwpolicy", "plan", POLICY)
    assert done.returncode == 1 and f"refused: {refusal}" in done.stdout
    assert "  tcp/22 sshd (ssh.service)\n" in done.stdout
    assert guest.differences(before, guest.look(server)) == []
    # From elsewhere nobody is refused: somebody at the console knows what he does.
    assert "nobody could open an SSH connection to this host" in guest.fwpolicy(
        server, "plan", POLICY, expect=2
    )

    done = over_ssh(desk, address, "fwpolicy", "apply", "--force", POLICY)
    assert done.returncode == 0 and f"note: {refusal} (--force)" in done.stderr
    assert over_ssh(desk, address, "true").returncode == 255
    guest.fwpolicy(server, "remove")
    assert over_ssh(desk, address, "true").returncode == 0


def test_others_who_may_are_no_help(pair: tuple[Host, Host]) -> None:
    server, desk = pair
    server.write(POLICY, OTHERS)
    done = over_ssh(desk, server.ipv4, "fwpolicy", "apply", POLICY)
    assert done.returncode == 1 and "could not be opened again" in done.stderr
    said = guest.fwpolicy(server, "plan", POLICY, expect=2)
    assert "  tcp/22 sshd (ssh.service): only from 192.0.2.0/24\n" in said
    assert "nobody could open" not in said
    server.write(POLICY, OTHERS.replace("192.0.2.0/24", desk.ipv4))
    done = over_ssh(desk, server.ipv4, "fwpolicy", "apply", POLICY)
    assert done.returncode == 0, done.stderr
    assert over_ssh(desk, server.ipv4, "true").returncode == 0
    assert over_ssh(desk, server.ipv6, "true").returncode == 255
    guest.fwpolicy(server, "remove")
