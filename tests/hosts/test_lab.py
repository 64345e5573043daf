"""The laboratory itself: hosts boot, forget and keep what they should, and the machine is left alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..lab import cgroups, netns
from ..lab.daemons import DAEMONS
from ..lab.holder import run
from ..lab.hosts import CHECKOUT, Host, Lab
from ..lab.peers import CLIENT_QUERY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.roots import Roots

pytestmark = pytest.mark.hosts

ETH_P_IP = 0x0800
READVAR = bytes([0x16, 2]) + bytes(10)  # version 2, mode 6, opcode 2 (RFC 9327, 2)


def machine() -> tuple[str, ...]:
    """What of this machine the lab must not touch."""
    commands = (("nft", "list", "ruleset"), ("ip", "-brief", "link"))
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/lab/" in line]
    return (*(run(*command).stdout for command in commands), *mounts)


def clock_offset() -> float:
    """Changes when somebody sets the clock."""
    return time.time() - time.monotonic()


@pytest.fixture(scope="module", autouse=True)
def untouched(roots: Roots) -> Iterator[None]:
    roots.get("base")  # whoever makes it mounts what it needs below build/lab meanwhile
    before, offset = machine(), clock_offset()
    yield
    assert machine() == before
    assert abs(clock_offset() - offset) < 0.5


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[tuple[Host, Host]]:
    """Two hosts with different daemons, side by side."""
    with lab.host("alpha", 1, "chrony") as alpha, lab.host("beta", 2, "openntpd") as beta:
        DAEMONS["chrony"].install(alpha, ["127.0.0.1"])
        lab.boot(alpha, beta)
        yield alpha, beta


def test_hosts_run_and_reach_each_other(pair: tuple[Host, Host]) -> None:
    for host, other in (pair, pair[::-1]):
        assert host.run("systemctl", "is-system-running", check=False).stdout == "running\n"
        for address in (other.ipv4, other.ipv6):
            host.run("ping", "-c1", "-W2", address)
        assert host.run("hostname").stdout == f"{host.name}\n"


def test_a_reboot_keeps_files_and_nothing_of_the_kernel(pair: tuple[Host, Host]) -> None:
    alpha, beta = pair
    alpha.write("/etc/kept", "kept\n", 0o600)
    alpha.run("nft", "add", "table", "inet", "byhand")
    before, neighbour = alpha.cookie(), beta.cookie()
    alpha.reboot()
    assert alpha.cookie() != before
    assert beta.cookie() == neighbour
    assert "byhand" not in alpha.run("nft", "list", "tables").stdout
    assert alpha.read("/etc/kept") == "kept\n"
    assert alpha.run("stat", "--format=%a %U", "/etc/kept").stdout == "600 root\n"
    alpha.run("ping", "-c1", "-W2", beta.ipv6)


def test_power_off_and_on(pair: tuple[Host, Host]) -> None:
    _, beta = pair
    beta.poweroff()
    beta.write("/etc/while-off", "written\n")
    beta.start()
    assert beta.read("/etc/while-off") == "written\n"


def test_nobody_inside_sets_the_clock(pair: tuple[Host, Host]) -> None:
    set_it = ("python3", "-c", "import time; time.clock_settime(time.CLOCK_REALTIME, 1e9)")
    for command in (set_it, ("systemd-run", "--quiet", "--wait", "--pipe", *set_it)):
        result = pair[0].run(*command, check=False)
        assert result.returncode
        assert "Operation not permitted" in result.stderr


def test_fwpolicy_is_installed(pair: tuple[Host, Host]) -> None:
    alpha = pair[0]
    alpha.install_fwpolicy()
    code = "import fwpolicy, pathlib; print(pathlib.Path(fwpolicy.__file__).parent)"
    assert alpha.run("python3", "-c", code).stdout == "/usr/lib/python3/dist-packages/fwpolicy\n"
    shipped = {path.name for path in (CHECKOUT / "policies").iterdir()}
    there = alpha.run("ls", "-A", "/usr/lib/python3/dist-packages/fwpolicy/policies").stdout.split()
    assert shipped == set(there)
    assert alpha.run("stat", "--format=%a", "/usr/bin/fwpolicy").stdout == "755\n"


def test_a_power_cut_loses_what_was_not_synced(lab: Lab, pair: tuple[Host, Host]) -> None:
    with lab.host("gamma", 3, disk_mb=64) as gamma:
        gamma.start()
        gamma.run("tee", "/etc/synced", input="x")
        gamma.run("sync")
        pair[0].reboot()  # a neighbour that has seen the disk's mount must not pin it
        gamma.run("tee", "/etc/not-synced", input="x")  # last: the kernel itself syncs after a while
        gamma.power_cut()
        assert gamma.run("cat", "/etc/synced", check=False).stdout == "x"
        assert gamma.run("cat", "/etc/not-synced", check=False).stdout == ""


def test_every_daemon_synchronises_and_serves_when_open(lab: Lab) -> None:
    with lab.time_server("clock", 251, 252) as clock, lab.namespace("attacker", 66) as attacker:
        hosts = {name: lab.host(name, 10 + index, name) for index, name in enumerate(DAEMONS)}
        for name, host in hosts.items():
            DAEMONS[name].install(host, clock.servers)
        since = time.time()
        lab.boot(*hosts.values())
        with ThreadPoolExecutor() as executor:
            waits = [
                executor.submit(DAEMONS[name].wait_synchronised, host, since) for name, host in hosts.items()
            ]
            assert all(wait.result() > 0 for wait in waits)
        clock.stop()
        later = time.time()
        time.sleep(10)  # longer than most of them wait between two samples
        assert not any(DAEMONS[name].synchronised(host, later) for name, host in hosts.items())
        for name, host in hosts.items():
            DAEMONS[name].install(host, clock.servers, wide_open=True)
            DAEMONS[name].restart(host)
        answers = {name: _answered(attacker.socket(), host.ipv4) for name, host in hosts.items()}
        assert answers == {
            "chrony": [True, False],
            "ntp": [True, True],
            "ntpsec": [True, True],
            "openntpd": [True, False],
            "timesyncd": [False, False],
        }
        for host in hosts.values():
            host.kill()


def _answered(client: socket.socket, address: str) -> list[bool]:
    """Whether the host answers a client's query and a mode 6 one, within two seconds of its restart."""
    with client:
        client.connect((address, 123))
        return [any(_asked(client, query) for _ in range(4)) for query in (CLIENT_QUERY, READVAR)]


def _asked(client: socket.socket, query: bytes) -> bool:
    client.settimeout(0.5)
    try:
        client.send(query)
        return bool(client.recv(2048))
    except OSError:
        time.sleep(0.1)  # refused at once while it starts
        return False


def test_a_flooding_bridge_shows_all_to_all(roots: Roots) -> None:
    for flood in (False, True):
        with Lab(roots, flood=flood) as lab:
            one, two, third = (lab.namespace(f"n{number}", number) for number in (1, 2, 3))
            with one.socket() as client, two.socket() as server:
                server.bind((two.ipv4, 5000))
                client.bind((one.ipv4, 5000))
                client.connect((two.ipv4, 5000))
                server.connect((one.ipv4, 5000))
                _round(client, server)  # the bridge learns who is where, if it does
                with third.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as ears:
                    _round(client, server)
                    heard = _heard(ears)
        assert heard == flood


def _round(client: socket.socket, server: socket.socket) -> None:
    for sender, receiver in ((client, server), (server, client)):
        receiver.settimeout(2)
        sender.send(b"word")
        assert receiver.recv(16) == b"word"


def _heard(ears: socket.socket) -> bool:
    ears.settimeout(0.3)
    try:
        return bool(ears.recv(2048))
    except TimeoutError:
        return False


CRASHING = """
import sys, time
from pathlib import Path
from tests.lab.hosts import Lab
from tests.lab.roots import Roots
lab = Lab(Roots(Path(sys.argv[1])))
lab.time_server("clock", 251)
lab.host("doomed", 1, disk_mb=16).start()
print(lab.holder.pid, flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_killed_test_run(roots: Roots) -> None:
    roots.get("base"), roots.get("chrony")
    before = machine()
    command = [sys.executable, "-c", CRASHING, str(roots.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as doomed:
        assert doomed.stdout
        holder = int(doomed.stdout.readline())
        spaces = {kind: Path(f"/proc/{holder}/ns/{kind}").readlink() for kind in ("mnt", "net", "pid")}
        doomed.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _users(spaces) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _users(spaces)
    assert machine() == before
    cgroups.remove_stale()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/fwlab-{doomed.pid}-*"))


def _users(spaces: dict[str, Path]) -> list[str]:
    """The processes in any of the namespaces."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for kind, link in spaces.items():
            try:
                if (process / "ns" / kind).readlink() == link:
                    found.append(process.name)
            except OSError:
                continue  # it is gone
    return found


def test_the_lab_is_in_a_network_of_its_own(lab: Lab) -> None:
    assert netns.cookie(f"/proc/{lab.holder.pid}/ns/net") != netns.cookie("/proc/self/ns/net")
