"""Rules before the network: over reboots and power cuts, with every backend, under systemd and SysV init.

A stranger knocks all the time on a port that the policy denies; a witness inside looks what is loaded while
the interface is down. Both must see it when our unit comes where a usual service would.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fwpolicy.record import record

from ..lab import guest, witness, xtables
from ..lab.hosts import Lab
from .knocking import POLICY, come_late, connections, install_listener
from .table import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from ..lab.hosts import Host
    from ..lab.peers import Namespace
    from ..lab.roots import Roots
    from ..lab.witness import Seen

    Case = tuple[str, str]
    Boots = dict[Case, Future["Booted"]]

pytestmark = pytest.mark.hosts

ROOTS = {"systemd": "iptables-chrony", "sysvinit": "sysv"}
EVERY = tuple((init, backend) for init in ROOTS for backend in BACKENDS)
# test_sysv has SysV init with nft, test_recipe with iptables-legacy.
DIAGONAL = (("systemd", "nft"), ("systemd", "iptables-legacy"))
WEB = "/root/web.yaml"


@record
class Boot:
    """`let_in`: connections until it was up again; `by_hand`: is a table there that nobody saved?"""

    let_in: int
    seen: Seen
    drift: object
    by_hand: bool


@record
class Booted:
    """A host over its boots: the plug pulled, rebooted, and rebooted with a late unit."""

    cut: Boot
    rebooted: Boot
    late: Boot


def boot(host: Host, stranger: Namespace, way: Callable[[], object], *, late: bool = False) -> Boot:
    host.run("nft", "add", "table", "inet", "byhand")
    let_in = connections(host, stranger, way)
    drift = guest.report(host, "status", expect=2 if late else 0)["drift"]
    return Boot(let_in, witness.seen(host), drift, "byhand" in guest.rules(host))


def travel(host: Host, stranger: Namespace, case: Case) -> Booted:
    """Apply, and three boots."""
    host.run("sync")  # what is ours to install, not fwpolicy's to write
    backend = case[1].partition("-")[0]
    guest.fwpolicy(host, "apply", "--backend", backend, WEB)
    cut, rebooted = (boot(host, stranger, way) for way in (host.power_cut, host.reboot))
    come_late(host)
    return Booted(cut, rebooted, boot(host, stranger, host.reboot, late=True))


def install(lab: Lab, number: int, case: Case) -> Host:
    init, backend = case
    host = lab.host(f"boot-{number}", number, ROOTS[init], disk_mb=96)
    host.install_fwpolicy()
    host.write(WEB, POLICY.format(allow="ssh"))
    witness.install(host)
    install_listener(host)
    xtables.choose(host, backend.partition("-")[2] or "nft")
    return host


def travel_all(roots: Roots, cases: tuple[Case, ...]) -> Boots:
    with Lab(roots) as lab:
        hosts = {case: install(lab, number, case) for number, case in enumerate(cases, start=10)}
        lab.boot(*hosts.values())
        with ThreadPoolExecutor(len(hosts)) as executor:
            return {
                case: executor.submit(travel, host, lab.namespace(f"stranger-{at}", at), case)
                for at, (case, host) in enumerate(hosts.items(), start=110)
            }


@pytest.fixture(scope="module")
def diagonal(roots: Roots, summary: Callable[[Iterable[str]], None]) -> Iterator[Boots]:
    found = travel_all(roots, DIAGONAL)
    summary(_table(found))
    yield found


@pytest.fixture(scope="module")
def every(roots: Roots, summary: Callable[[Iterable[str]], None]) -> Iterator[Boots]:
    found = travel_all(roots, EVERY)
    summary(_table(found))
    yield found


def _table(boots: Boots) -> list[str]:
    head = ("power cut", "reboot", "the unit late: reboot")
    lines = ["", "connections let in over a boot", f"{'':<27}{head[0]:>12}{head[1]:>12}{head[2]:>24}"]
    for (init, backend), future in boots.items():
        counts = "failed"
        if not future.exception():
            seen = future.result()
            counts = f"{seen.cut.let_in:>12}{seen.rebooted.let_in:>12}{seen.late.let_in:>24}"
        lines.append(f"{init:<10}{backend:<17}{counts}")
    return lines


def check(booted: Booted) -> None:
    """In time, and nobody let in; a late unit is seen by the witness and by the stranger."""
    for each in (booted.cut, booted.rebooted):
        assert each.seen.in_time
        assert each.let_in == 0
        assert each.drift == [] and not each.by_hand
    assert booted.late.seen.down and booted.late.seen.families == 0
    assert booted.late.let_in > 0


@pytest.mark.parametrize("case", DIAGONAL, ids="-".join)
def test_nobody_is_let_in(diagonal: Boots, case: Case) -> None:
    check(diagonal[case].result())


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids="-".join)
def test_nobody_is_let_in_anywhere(every: Boots, case: Case) -> None:
    check(every[case].result())
