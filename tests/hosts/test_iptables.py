"""A host with iptables and without nft and its library: closed, synchronised, and so after a reboot."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, outside, xtables
from ..lab.daemons import DAEMONS
from ..lab.xtables import saved
from .table import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer
    from .table import Matrix

pytestmark = pytest.mark.hosts

CHRONY = DAEMONS["chrony"]
POLICY = """\
version: 1
name: old-host
backends: [nft, iptables]
groups: {banned: {dynamic: 1h}}
roles: {ntp: client-only}
input:
  default: drop
  allow: [ssh]
  block: [{from: banned}]
"""
OTHERS = """*filter
:f2b-sshd - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd
-A f2b-sshd -j RETURN
COMMIT
"""
NFT = ("/usr/sbin/nft", "/usr/lib/python3/dist-packages/nftables")


@pytest.fixture(scope="module", params=["legacy", "nft"])
def host(request: pytest.FixtureRequest, place: Lab, clock: TimeServer) -> Iterator[Host]:
    number = {"legacy": 41, "nft": 42}[request.param]
    with place.host(f"xt-{request.param}", number, "iptables-chrony") as host:
        CHRONY.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        host.run("rm", "-r", *NFT)
        xtables.choose(host, request.param)
        host.write("/root/policy.yaml", POLICY)
        host.start()
        yield host


def look(host: Host) -> tuple[dict[str, tuple[object, ...]], list[str], str]:
    entries = json.loads(host.run("python3", "-c", guest._TREE, guest._OTHERS).stdout)
    kept = {
        path: tuple(entry) if str(entry[0]).startswith(guest.REGULAR) else tuple(entry[:-1])
        for path, entry in entries.items()
    }
    return kept, saved(host), guest.unit_state(host, CHRONY.unit)


def wait_taken_back(host: Host, before: tuple[dict[str, tuple[object, ...]], list[str], str]) -> None:
    """By the timer and undo.sh: rules and the daemon's file."""
    deadline = time.monotonic() + 40
    while "undone" not in guest.fwpolicy(host, "history") or saved(host) != before[1]:
        assert time.monotonic() < deadline, host.journal("fwpolicy-unconfirmed")
        time.sleep(0.2)
    guest.wait_settled(host)
    assert look(host)[0][CHRONY.config] == before[0][CHRONY.config]
    host.run("test", "!", "-e", "/var/lib/fwpolicy/undoing")


def test_closed_synchronised_rebooted_and_as_before(
    host: Host, clock: TimeServer, attacker: Namespace, matrix: Matrix
) -> None:
    host.run("iptables-restore", "--noflush", input=OTHERS)
    before = look(host)
    assert outside.probe(attacker, host, clock, "--quick").answered != ()
    guest.fwpolicy(host, "apply", "--confirm", "5s", "/root/policy.yaml")
    assert saved(host) != before[1]
    wait_taken_back(host, before)

    since = time.time()
    said = guest.fwpolicy(host, "apply", "/root/policy.yaml")
    assert "read them back and proved them" in said and "applied old-host: generation 2" in said
    rules = saved(host)
    assert rules.count("-A INPUT -j FWPOLICY-INPUT") == 2
    CHRONY.wait_synchronised(host, since)
    probed = outside.probe(attacker, host, clock)
    assert probed.answered == ()
    assert guest.report(host, "status")["drift"] == []
    assert guest.fwpolicy(host, "apply", "/root/policy.yaml") == "old-host: nothing to change\n"
    counters = guest.report(host, "counters")["counters"]
    assert any("role_ntp" in each["counter"] and each["packets"] for each in counters)

    host.run("sh", "/var/lib/fwpolicy/open.sh")
    assert saved(host) == before[1]
    host.run("sh", "/var/lib/fwpolicy/open.sh", "close")
    assert saved(host) == rules

    host.reboot()
    since = time.time()
    assert [line for line in saved(host) if "FWPOLICY" in line] == [
        line for line in rules if "FWPOLICY" in line
    ]
    assert guest.report(host, "status")["drift"] == []
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    CHRONY.wait_synchronised(host, since)
    matrix.note(f"iptables-{host.name[3:]}", "chrony", "client-only", Cell(str(probed), "yes", "yes"))

    host.run("iptables-restore", "--noflush", input=OTHERS)
    guest.fwpolicy(host, "remove")
    assert look(host) == before
    assert host.run("ipset", "list", "-name").stdout == ""
