"""A machine with a kernel of its own: rules at a real boot, nft's and then iptables-legacy's."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, outside, witness, xtables
from ..lab.daemons import DAEMONS
from ..lab.machine import Machine
from .knocking import POLICY, connections, install_listener
from .verdicts import assert_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..lab.hosts import Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

CHRONY = DAEMONS["chrony"]
WEB = "/root/web.yaml"


@pytest.fixture
def machine(place: Lab, clock: TimeServer) -> Iterator[Machine]:
    """With a time server that answers everybody everything; a missing emulator is a failure in CI."""
    if not shutil.which("qemu-system-x86_64"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs qemu-system-x86")
    with place.host("machine", 51, "machine") as host:
        CHRONY.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        host.write(WEB, POLICY.format(allow="ssh") + "roles: {ntp: client-only}\n")
        witness.install(host, "eth0")
        install_listener(host)
        xtables.choose(host, "legacy")
        with Machine(place, host) as machine:
            yield machine


def test_rules_of_both_backends_are_there_before_the_network(
    machine: Machine,
    clock: TimeServer,
    attacker: Namespace,
    summary: Callable[[Iterable[str]], None],
) -> None:
    times = [machine.start()]
    assert machine.run("uname", "--kernel-release").stdout.strip() != os.uname().release
    assert not witness.seen(machine).families
    assert outside.probe(attacker, machine, clock, "--quick").answered
    assert connections(machine, attacker, lambda: time.sleep(1)) > 0
    for options in (("--backend", "nft"), ("--backend", "iptables", "--replace")):
        guest.fwpolicy(machine, "apply", "--no-confirm", *options, WEB)
        assert connections(machine, attacker, lambda: times.append(machine.reboot())) == 0
        since = time.time()
        assert witness.seen(machine).in_time
        assert guest.report(machine, "status")["drift"] == []
        assert_closed(outside.probe(attacker, machine, clock))
        CHRONY.wait_synchronised(machine, since)
    assert "FWPOLICY-INPUT" in machine.run("iptables-legacy-save").stdout
    assert guest.rules(machine) == ""
    guest.fwpolicy(machine, "remove")
    assert outside.probe(attacker, machine, clock, "--quick").answered
    kernel = machine.run("uname", "--kernel-release").stdout.strip()
    summary([f"a machine with Linux {kernel}: booted in {', '.join(f'{each:.0f} s' for each in times)}"])
