"""What a host goes through for its cells of the table: every mode of the NTP role, one after the other.

A mode is applied, the whole probe asks from outside, a sample of the clock comes since, and a reboot that is
looked at from inside changes nothing; at the end everything is as it was.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fwpolicy.record import record

from ..lab import guest, outside, witness, xtables
from ..lab.daemons import DAEMONS
from . import table
from .table import Cell
from .verdicts import assert_closed, assert_served

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..lab.hosts import Host, Lab
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer
    from ..lab.witness import Seen

PATH = "/root/role.yaml"
POLICY = """\
version: 1
name: role
backends: [nft, iptables]
groups:
  neighbour: ["{client.ipv4}", "{client.ipv6}"]
roles:
  ntp: {{{role}}}
"""
ROLES = {
    "client-only": "mode: client-only",
    "server": "mode: server, serve: [neighbour]",
    "closed": "mode: closed",
}
PEERS = (("client", 100), ("stranger", 150))


@record
class Place:
    """A host under one backend, with one daemon, and its surroundings."""

    host: Host
    client: Namespace
    stranger: Namespace
    clock: TimeServer
    backend: str
    kind: str


@record
class Stage:
    """`client` where there is one to serve; `seconds` until it synchronised, where a daemon runs."""

    stranger: Probed
    client: Probed | None
    seconds: float | None
    drift: object


@record
class Lived:
    """A mode on a host: applied, and after the reboot, with what was seen while the interface was down."""

    applied: Stage
    rebooted: Stage
    seen: Seen

    @property
    def survived(self) -> bool:
        """Is all as it was applied, and was it there in time?"""
        return self.seen.in_time and self.rebooted.drift == [] and not self.rebooted.stranger.answered


@record
class Lives:
    """A host's: `before` the first apply, `modes` as they were lived, or what was said where it cannot be;
    `left`: what differed after `remove`."""

    before: Probed
    modes: dict[str, Lived | str]
    left: list[str]


def install(lab: Lab, clock: TimeServer, number: int, backend: str, kind: str, root: str) -> Place:
    """A host that is off, wide open, and its neighbours."""
    host = lab.host(f"{kind}-{number}", number, root)
    DAEMONS[kind].install(host, clock.servers, wide_open=True)
    host.install_fwpolicy()
    if backend != "nft":
        xtables.choose(host, backend.partition("-")[2])
    witness.install(host)
    client, stranger = (lab.namespace(f"{name}-{number}", number + up) for name, up in PEERS)
    return Place(host, client, stranger, clock, backend, kind)


def live(place: Place, modes: tuple[str, ...]) -> Lives:
    """Each mode on one host that is booted, and `remove`."""
    which = (place.host, place.backend, place.kind)
    found, before = everything(*which), outside.probe(place.stranger, place.host, place.clock)
    lived = {mode: _live(place, mode) for mode in modes}
    guest.fwpolicy(place.host, "remove")
    place.host.run("rm", PATH)
    return Lives(before, lived, guest.differences(found, everything(*which)))


def everything(host: Host, backend: str, kind: str) -> guest.Found:
    """What apply could touch; of iptables' rules what iptables-save tells, for empty tables stay."""
    found = guest.look(host, DAEMONS[kind].unit).as_before()
    rules = found.rules if backend == "nft" else "\n".join(xtables.saved(host))
    return guest.Found(found.tree, rules, found.units)


def _live(place: Place, mode: str) -> Lived | str:
    """Apply, look from everywhere, reboot, look again; or what is said where the daemon cannot."""
    place.host.write(PATH, POLICY.format(client=place.client, role=ROLES[mode]))
    command = ("apply", "--backend", place.backend.partition("-")[0], PATH)
    if (place.kind, mode) == ("timesyncd", "server"):
        return guest.fwpolicy(place.host, *command, expect=1)
    guest.fwpolicy(place.host, *command)
    applied = _look(place, mode)
    place.host.reboot()
    rebooted = _look(place, mode)
    return Lived(applied, rebooted, witness.seen(place.host))


def _look(place: Place, mode: str) -> Stage:
    since = time.time()
    with ThreadPoolExecutor(1) as executor:
        waiting = None
        if mode != "closed":
            waiting = executor.submit(DAEMONS[place.kind].wait_synchronised, place.host, since)
        stranger = outside.probe(place.stranger, place.host, place.clock)
        client = outside.probe(place.client, place.host, place.clock) if mode == "server" else None
        drift = guest.report(place.host, "status")["drift"]
        return Stage(stranger, client, waiting.result() if waiting else None, drift)


def check(lives: Lives, kind: str, mode: str) -> None:
    """Nobody is answered but a server's client, the clock is right, and a reboot changes nothing."""
    assert bool(lives.before.answered) == (kind != "timesyncd")
    assert lives.left == []
    lived = lives.modes[mode]
    if isinstance(lived, str):
        assert (kind, mode) == ("timesyncd", "server")
        assert "systemd-timesyncd cannot serve time" in lived
        return
    for stage in (lived.applied, lived.rebooted):
        assert_closed(stage.stranger)
        assert stage.drift == []
        assert (stage.seconds is None) == (mode == "closed")
        assert (stage.client is None) == (mode != "server")
        if stage.client:
            assert_served(stage.client)
    assert lived.survived


def cell(lives: Future[Lives], column: str) -> Cell:
    """What the table says of it; `column`: a mode, or BEFORE."""
    if lives.exception():
        return table.FAILED
    if column == table.BEFORE:
        return Cell(str(lives.result().before))
    lived = lives.result().modes[column]
    if isinstance(lived, str):
        return table.REFUSED
    stage, survived = lived.applied, "yes" if lived.survived else "NO"
    if stage.client:
        return of_server(stage.stranger, stage.client, survived)
    return Cell(str(stage.stranger), table.NO_DAEMON if stage.seconds is None else "yes", survived)


def of_server(stranger: Probed, client: Probed, rebooted: str) -> Cell:
    """The cell of a server, which answers its client."""
    return Cell(f"{stranger} ({len(client.answered)} of its client)", "yes", rebooted)
