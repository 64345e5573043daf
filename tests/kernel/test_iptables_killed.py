"""kill -9 before system calls that write, of an apply of iptables' rules: the host is wholly old or new.

As test_killed.py, of which each call here stands for several: what the next boot makes of the files, what the
next command makes of files and kernel, and what the process that watches does.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fwpolicy.deploy import journal, timeservice, xtload
from fwpolicy.deploy.confirm import settled
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import look
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.netns import entered
from fwpolicy.host.xtables import XTables
from tests.conftest import summary
from tests.kernel import killing
from tests.kernel.place import CONFIG, STATE, applied, one_daemon
from tests.kernel.test_iptables_apply import site, wait_until_taken_back
from tests.kernel.test_killed import Nobody
from tests.kernel.xtplace import XtPlace, load_others, planned
from tests.kernel.xtprograms import VARIANTS, variant_path

pytestmark = pytest.mark.kernel

__all__ = ["summary"]  # a fixture: pytest finds it by its name here

# One call of so many is killed before; a failure names it.
EVERY = 9


class Killing:
    """One host over and over: as it was, and what old and new look like."""

    def __init__(
        self, netns: str, folder: Path, variant: str, *, watched: bool, to: str = "iptables"
    ) -> None:
        """`to`: the backend of the apply that is killed."""
        self.to = to
        self.netns, self.folder, self.variant, self.watched = netns, folder, variant, watched
        self.pristine = folder / "pristine"
        with entered(netns):
            load_others(variant)
            here = XtPlace(netns, folder / "host", variant)
            applied(here, site(here))
            self.before = xtload.listing(XTables())
            killing.copied(here.folder, self.pristine)
            self.old = looks(here)
            assert killing.traced(lambda: self._apply(here), folder / "log")
            self.new = looks(here)
        self.calls = killing.calls(folder / "log")[::EVERY]
        assert self.old != self.new and len(self.calls) > 10

    def _apply(self, here: XtPlace) -> None:
        if not self.watched:
            journal.watch = lambda *_: Nobody()
        applied(here, planned(here, "ntp-client", replace=True, prove=False, backend=self.to))

    def killed(self, call: killing.Call) -> XtPlace:
        """The host after a kill before `call`."""
        with entered(self.netns):
            killing.copied(self.pristine, self.folder / "host")
            here = XtPlace(self.netns, self.folder / "host", self.variant, make=False)
            reset(here, self.before)
            assert not killing.traced(lambda: self._apply(here), self.folder / "log", call), call
        return here


def reset(here: XtPlace, before: xtload.Listing) -> None:
    """The rules of the old policy, and its sets."""
    tables = XTables()
    xtload.remove(tables)
    Nftables().delete_table("inet", "fwpolicy")
    sets = (here.folder / f"{STATE}/running/sets.ipset"[1:]).read_text()
    subprocess.run(["ipset", "restore"], input=sets, text=True, check=True)
    xtload.put_back(tables, xtload.Listing(before.rules, before.sets))


def looks(here: XtPlace) -> tuple[object, ...]:
    """The daemon's file, the rules, others' among them, and the sets that rules look into."""
    rules, members = here.rules()
    said = "\n".join(line for text in rules for line in text)
    used = [each for each in members if f" {each.split()[1]} " in said]
    with entered(here.name):
        nft = re.sub(r"packets \d+ bytes \d+", "", Nftables().text("table inet fwpolicy"))
    return (here.folder / CONFIG[1:]).read_text(), rules, used, nft


def booted(here: XtPlace, folder: Path, name: str) -> tuple[object, ...]:
    """What a boot makes of a copy of the files, in a namespace that has only others' rules."""
    copy = killing.copied(here.folder, folder / "booted")
    (copy / "run").mkdir(exist_ok=True)
    for mark in (copy / "run").iterdir():
        mark.unlink()
    there = XtPlace(name, copy, here.variant, make=False)
    with entered(name):
        xtload.remove(XTables())
        Nftables().delete_table("inet", "fwpolicy")
        environment = os.environ | {"FWPOLICY_ROOT": str(copy)}
        subprocess.run(
            ["sh", str(copy / f"{STATE}/boot.sh"[1:])], check=True, capture_output=True, env=environment
        )
    return looks(there)


@pytest.fixture
def empty(netns):
    """Another namespace."""
    name = f"{netns}-b"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture(params=VARIANTS)
def killing_of(request, netns, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", variant_path(tmp_path / "bin", request.param))
    monkeypatch.setattr(timeservice, "plan_daemons", one_daemon)
    return lambda **how: Killing(netns, tmp_path, request.param, **how)


@pytest.mark.parametrize("to", ["iptables", pytest.param("nft", marks=pytest.mark.slow)])
def test_a_kill_at_writes(killing_of, empty, tmp_path, summary, to):
    kills = killing_of(watched=False, to=to)
    with entered(empty):
        load_others(kills.variant)
    outcomes = {"old": 0, "new": 0}
    for call in kills.calls:
        here = kills.killed(call)
        found = booted(here, tmp_path, empty)
        assert found in (kills.old, kills.new), f"boot after a kill before {call}: {found}"
        with entered(kills.netns):
            settled(here.machine, lambda step: None)
            now = looks(here)
            assert now == found, f"next command after a kill before {call}: {now}, at boot {found}"
            assert pending(State(here.machine)) is None
            drifts = [each for each in look(here.machine).drifts if not each.what.startswith(UNIT)]
            assert not drifts, (call, drifts)
        outcomes["old" if now == kills.old else "new"] += 1
    assert outcomes["old"]
    summary([f"kill -9, iptables-{kills.variant} to {to}: {len(kills.calls)} kills, {outcomes}"])


@pytest.mark.slow
def test_the_watcher_takes_back_what_dies(killing_of, summary):
    kills = killing_of(watched=True)
    for call in kills.calls:
        here = kills.killed(call)
        wait_until_taken_back(here)
        assert looks(here) in (kills.old, kills.new), f"after a kill before {call}"
    summary([f"kill -9, iptables-{kills.variant}, watched: {len(kills.calls)} kills, all taken back or done"])
