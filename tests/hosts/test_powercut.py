"""The plug is pulled at every step of an apply, on a disk that forgets what was not synced.

Inside, a wrapper around fwpolicy stops for ever after its Nth step that the disk, the kernel or the service
manager could remember; then ext4 is shut down without its journal, every process killed, and the host boots.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, netns
from ..lab.daemons import DAEMONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

CHRONY = DAEMONS["chrony"]
OLD, NEW = "/root/old.yaml", "/root/new.yaml"
POLICY = """\
version: 1
name: cut
roles: {{ntp: {{mode: {mode}}}}}
input: {{default: drop, allow: [tcp/{port}, ssh]}}
"""
PORTS = {"old": 8080, "new": 8081}
SSH = 22
ENOUGH = 40

# Its first argument: after which step to stop (0: never). What it stops at is told in a tmpfs.
STEPPER = """
import os, sys, time
from fwpolicy.host import libnftables, services
stop, steps = int(sys.argv.pop(1)), 0
def step(name):
    global steps
    steps += 1
    if steps == stop:
        with open("/run/stopped", "w") as file:
            file.write(name)
        time.sleep(3600)
def after(where, name):
    original = getattr(where, name)
    def wrapped(*arguments, **options):
        done = original(*arguments, **options)
        step(name)
        return done
    setattr(where, name, wrapped)
# After an fsync the disk knows no more than after the step that follows.
for name in ("rename", "unlink", "symlink", "mkdir", "rmdir"):
    after(os, name)
after(libnftables.Nftables, "load")
after(services.Systemd, "_do")
from fwpolicy.cli import main
code = main(sys.argv[1:])
with open("/run/steps", "w") as file:
    file.write(str(steps))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def hosts(place: Lab, clock: TimeServer) -> list[Host]:
    """Two, that share the cuts; the old policy is in force on both."""
    found = [place.host(f"cut-{number}", number, "chrony", disk_mb=96) for number in (31, 32)]
    for host in found:
        CHRONY.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        host.write_files({"/root/stepper.py": STEPPER, OLD: policy("server, serve: private", "old")})
        host.write(NEW, policy("client-only", "new"))
    place.boot(*found)
    for host in found:
        guest.fwpolicy(host, "apply", OLD)
        host.run("sync")  # what is ours to install, not fwpolicy's to write
    return found


def policy(mode: str, which: str) -> str:
    """Of two, that differ in a port and in what the time daemon does."""
    return POLICY.format(mode=mode, port=PORTS[which])


def stepped(host: Host, stop: int) -> str:
    """Apply the new policy up to this step; what it was."""
    process = host.popen("python3", "/root/stepper.py", str(stop), "apply", NEW)
    deadline = time.monotonic() + 60
    while host.run("test", "-s", "/run/stopped", check=False).returncode:
        assert process.poll() is None, f"step {stop} was never reached"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return host.read("/run/stopped")


def state(host: Host, stranger: Namespace) -> dict[str, object]:
    """What counts, from inside and from outside."""
    return {
        "ports": tuple(which for which, port in PORTS.items() if is_open(stranger, host, port)),
        "in": is_open(stranger, host, SSH),
        "file": host.read(CHRONY.config),
        # Loaded over others they stand in another order than loaded at boot.
        "rules": sorted(guest.own_rules(host).splitlines()),
        "drift": guest.report(host, "status").get("drift"),
    }


def is_open(stranger: Namespace, host: Host, port: int) -> bool:
    """Nobody listens there: a refusal says that the packet was let in."""

    def knock() -> bool:
        with socket.socket() as one:
            one.settimeout(0.4)
            try:
                one.connect((host.ipv4, port))
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                return False
            return True

    return netns.call(knock, stranger.path)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_plug_is_pulled_at_every_step(
    hosts: list[Host], attacker: Namespace, summary: Callable[[Iterable[str]], None], every: int
) -> None:
    """`every`: or at one of so many."""
    old = state(hosts[0], attacker)
    hosts[0].run("python3", "/root/stepper.py", "0", "apply", NEW)
    steps = int(hosts[0].read("/run/steps"))
    new = state(hosts[0], attacker)
    assert (old["ports"], new["ports"]) == (("old",), ("new",)) and old["in"] and new["in"]
    assert steps >= ENOUGH
    guest.fwpolicy(hosts[0], "apply", OLD)

    def cuts(number: int) -> list[str]:
        host, outcomes = hosts[number], []
        for stop in range(1 + number * every, steps + 1, every * len(hosts)):
            name = stepped(host, stop)
            host.power_cut()
            found = state(host, attacker)
            which = [word for word, known in (("old", old), ("new", new)) if found == known]
            assert which, f"after step {stop} ({name}): {found}, neither {old} nor {new}"
            outcomes += which
            if which == ["new"]:
                guest.fwpolicy(host, "apply", OLD)
        return outcomes

    with ThreadPoolExecutor(len(hosts)) as executor:
        outcomes = [word for found in executor.map(cuts, range(len(hosts))) for word in found]
    assert len(outcomes) == len(range(0, steps, every))
    cut = f"{len(outcomes)} of {steps} steps"
    summary([f"power cuts: {cut}, {outcomes.count('old')} old, {outcomes.count('new')} new, none between"])
