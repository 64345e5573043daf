"""The releases of Debian before and after: bullseye, whose Python is too old, by the script; trixie by apply.

Each with its own nft, iptables and time daemons: every mode, or there and back; and every golden case is
loaded, listed and found as it was applied.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fwpolicy.record import record
from tests.golden import cases
from tests.kernel.oldhost import script

from ..lab import guest, outside, witness, xtables
from ..lab.daemons import DAEMONS
from ..lab.hosts import Lab
from . import cells
from .table import BACKENDS, BEFORE, MODES
from .verdicts import assert_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from ..lab.hosts import Host
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer
    from ..lab.roots import Roots
    from ..lab.witness import Seen
    from .cells import Lives

    Which = tuple[str, str]

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

TRIXIE = (
    *(("nft", "ntpsec"), ("nft", "chrony")),
    *(("iptables-nft", "chrony"), ("iptables-legacy", "ntpsec")),
)
BULLSEYE = (("nft", "ntp"), ("iptables-nft", "chrony"), ("iptables-legacy", "ntp"))
GOLDEN = [
    (case, backend) for case in cases.CASES for backend in BACKENDS if backend == "nft" or case in cases.SAID
]
TOOL = "/var/lib/fwpolicy-script/tool/tool.sh"


def versions(host: Host) -> str:
    """For the table: nft's, iptables', Python's."""
    commands = (("nft", "-v"), ("iptables", "-V"), ("python3", "-V"))
    said = (host.run(*command).stdout for command in commands)
    return ", ".join(" ".join(each.split()[:2]) for each in said)


# trixie: the tool, with its own Python


@pytest.fixture(scope="module")
def trixie(roots: Roots, summary: Callable[[Iterable[str]], None]) -> Iterator[dict[Which, Future[Lives]]]:
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        places = {
            (backend, kind): cells.install(lab, clock, number, backend, kind, f"trixie-{kind}")
            for number, (backend, kind) in enumerate(TRIXIE, start=10)
        }
        lab.boot(*(place.host for place in places.values()))
        told = versions(next(iter(places.values())).host)
        with ThreadPoolExecutor(len(places)) as executor:
            lives = {which: executor.submit(cells.live, place, MODES) for which, place in places.items()}
    rows = (
        "  ".join(
            (
                f"{' '.join(which):<24}",
                *(f"{column}: {cells.cell(each, column)}" for column in (BEFORE, *MODES)),
            )
        )
        for which, each in lives.items()
    )
    summary(["", f"trixie: {told}", *rows])
    yield lives


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", TRIXIE, ids="-".join)
def test_trixie_lives_every_mode(trixie: dict[Which, Future[Lives]], which: Which, mode: str) -> None:
    cells.check(trixie[which].result(), which[1], mode)


@pytest.fixture(scope="module")
def trixie_host(place: Lab) -> Iterator[Host]:
    with place.host("golden", 20, "trixie") as host:
        host.install_fwpolicy()
        for case in cases.CASES:
            files = [path for path in (cases.HERE / case).iterdir() if path.is_file()]
            host.write_files({f"/root/{case}/{path.name}": path.read_text() for path in files})
        host.start()
        host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        yield host


@pytest.mark.parametrize(("case", "backend"), GOLDEN)
def test_trixie_lists_every_golden_case_as_it_was_applied(trixie_host: Host, case: str, backend: str) -> None:
    if backend != "nft":
        xtables.choose(trixie_host, backend.partition("-")[2])
    options = ("--no-daemon", "--no-persist", "--no-confirm", "--force")
    named = ("--backend", backend.partition("-")[0], f"/root/{case}/policy.yaml")
    said = guest.fwpolicy(trixie_host, "apply", *options, *named)
    assert "proved" in said
    assert guest.report(trixie_host, "status")["drift"] == []
    guest.fwpolicy(trixie_host, "remove")


# bullseye: the script


@record
class Way:
    """There and back: `left` is what differed after `undo`."""

    before: Probed
    seconds: float
    after: Probed
    seen: Seen
    status: str
    rebooted: Probed
    closed: str
    left: list[str]


def go(host: Host, attacker: Namespace, clock: TimeServer, which: Which) -> Way:
    """Client-only, a reboot, closed, and undone."""
    backend, kind = which
    daemon, found = DAEMONS[kind], cells.everything(host, backend, kind)
    before, since = outside.probe(attacker, host, clock), time.time()
    apply(host, script(cases.policy("ntp-client"), backend))
    seconds, after = daemon.wait_synchronised(host, since), outside.probe(attacker, host, clock)
    host.reboot()
    seen, rebooted = witness.seen(host), outside.probe(attacker, host, clock)
    status = host.run("sh", TOOL, "status").stdout
    apply(host, script(cases.policy("ntp-closed"), backend))
    closed = guest.unit_state(host, daemon.unit)
    host.run("sh", TOOL, "undo")
    left = guest.differences(found, cells.everything(host, backend, kind))
    return Way(before, seconds, after, seen, status, rebooted, closed, left)


def apply(host: Host, text: str, *options: str) -> None:
    """What comes over SSH."""
    host.run("sh", "-s", "--", "apply", "--no-confirm", *options, input=text)


def old_host(lab: Lab, number: int, which: Which) -> Host:
    backend, kind = which
    host = lab.host(f"{kind}-{number}", number, f"bullseye-{kind}")
    xtables.choose(host, backend.partition("-")[2] or "nft")
    witness.install(host)
    return host


@pytest.fixture(scope="module")
def bullseye(roots: Roots, summary: Callable[[Iterable[str]], None]) -> Iterator[dict[Which, Future[Way]]]:
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        hosts = {which: old_host(lab, number, which) for number, which in enumerate(BULLSEYE, start=10)}
        for (_, kind), host in hosts.items():
            DAEMONS[kind].install(host, clock.servers, wide_open=True)
        lab.boot(*hosts.values())
        told = versions(next(iter(hosts.values())))
        with ThreadPoolExecutor(len(hosts)) as executor:
            found = {
                which: executor.submit(go, host, lab.namespace(f"attacker-{at}", at), clock, which)
                for at, (which, host) in enumerate(hosts.items(), start=110)
            }
    summary(["", f"bullseye, by the script: {told}; probes answered before, after, rebooted"])
    for which, future in found.items():
        way = None if future.exception() else future.result()
        counts = (
            f"{way.before}, {way.after}, {way.rebooted}; synchronised after {way.seconds:.1f} s"
            if way
            else "FAILED"
        )
        summary([f"{' '.join(which):<24}{counts}"])
    yield found


@pytest.mark.parametrize("which", BULLSEYE, ids="-".join)
def test_bullseye_there_and_back(bullseye: dict[Which, Future[Way]], which: Which) -> None:
    way = bullseye[which].result()
    assert way.before.answered
    assert_closed(way.after)
    assert_closed(way.rebooted)
    assert way.seen.in_time
    assert "rules: as applied" in way.status
    assert "LoadState=masked" in way.closed and "ActiveState=inactive" in way.closed
    assert way.left == []


@pytest.fixture(scope="module")
def bullseye_host(place: Lab) -> Iterator[Host]:
    with place.host("old-golden", 21, "bullseye") as host:
        host.start()
        yield host


@pytest.mark.parametrize(("case", "backend"), GOLDEN)
def test_bullseye_lists_every_golden_case_as_it_was_applied(
    bullseye_host: Host, case: str, backend: str
) -> None:
    if backend != "nft":
        xtables.choose(bullseye_host, backend.partition("-")[2])
    apply(bullseye_host, script(cases.policy(case), backend), "--no-daemon", "--no-persist")
    assert "rules: as applied" in bullseye_host.run("sh", TOOL, "status", check=False).stdout
    bullseye_host.run("sh", TOOL, "undo")
