"""kill -9 before every system call that writes, one after the other: the host is wholly old or wholly new.

Each time twice: what the next boot makes of the files (in a namespace as empty as a kernel's first), and what
the next command makes of files and kernel. Then the same with the process that watches an apply.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from fwpolicy.deploy import journal, timeservice
from fwpolicy.deploy.confirm import settled
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import look
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.netns import entered
from tests.kernel import killing
from tests.kernel.place import CONFIG, STATE, Place, applied, one_daemon, planned

pytestmark = pytest.mark.kernel

# Of so many calls `make test` takes one: each of all 470 costs a third of a second.
PARTS = 4
SHARES = [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))]
SCENARIOS = {"first": None, "over another": "ntp-server"}


class Killing:
    """One scenario: the host before, the plan, and what old and new look like."""

    def __init__(self, netns: str, folder: Path, before: str | None, *, watched: bool) -> None:
        self.netns, self.folder, self.watched = netns, folder, watched
        self.pristine = folder / "pristine"
        with entered(netns):
            here = self._fresh(make=True)
            if before:
                applied(here, planned(here, before))
            killing.copied(here.folder, self.pristine)
            self.old = looks(here)
            log = folder / "log"
            assert killing.traced(lambda: self._apply(here, watched), log)
            self.new = looks(here)
            self.calls = killing.calls(log)
        assert self.old != self.new and len(self.calls) > 60

    def _fresh(self, *, make: bool = False) -> Place:
        """The host as it was before, its rules too."""
        if not make:
            killing.copied(self.pristine, self.folder / "host")
        here = Place(self.netns, self.folder / "host", make=make)
        if not make:
            Nftables().load(f"flush ruleset\n{self.old_rules()}")
        return here

    def old_rules(self) -> str:
        current = self.pristine / f"{STATE}/running/ruleset.nft"[1:]
        return current.read_text() if current.exists() else ""

    def _apply(self, here: Place, watched: bool) -> None:
        if not watched:
            journal.watch = lambda *_: Nobody()
        applied(here, planned(here, "ntp-client", replace=True, prove=False))

    def killed(self, call: killing.Call) -> Place:
        """The host after a kill before `call`."""
        with entered(self.netns):
            here = self._fresh()
            done = killing.traced(lambda: self._apply(here, self.watched), self.folder / "log", call)
            assert not done, call
        return here


class Nobody:
    """Watches over nothing."""

    def release(self) -> None:
        pass


def looks(here: Place) -> tuple[str, str, bool]:
    """The daemon's file, the rules, and whether the boot knows us. In the namespace."""
    unit = here.folder / "etc/systemd/system/fwpolicy.service"
    rules = re.sub(r"packets \d+ bytes \d+", "", Nftables().text("ruleset"))
    return (here.folder / CONFIG[1:]).read_text(), rules, unit.exists()


def booted(here: Place, folder: Path, name: str) -> tuple[str, str, bool]:
    """What a boot makes of a copy of the files, in a namespace without a rule."""
    copy = killing.copied(here.folder, folder / "booted")
    (copy / "run").mkdir()  # as every boot finds it: without the mark of an apply under way
    script = copy / f"{STATE}/boot.sh"[1:]
    with entered(name):
        Nftables().load("flush ruleset")
        if (copy / "etc/systemd/system/fwpolicy.service").exists() and script.exists():
            environment = os.environ | {"FWPOLICY_ROOT": str(copy)}
            subprocess.run(["sh", str(script)], check=True, capture_output=True, env=environment)
        return looks(Place(name, copy, make=False))


@pytest.fixture
def empty(netns):
    """Another namespace."""
    name = f"{netns}-b"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def killing_of(netns, tmp_path, monkeypatch):
    monkeypatch.setattr(timeservice, "plan_daemons", one_daemon)
    return lambda scenario, **how: Killing(netns, tmp_path, SCENARIOS[scenario], **how)


@pytest.mark.parametrize("part", SHARES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_every_write(killing_of, empty, tmp_path, scenario, part, summary):
    kills = killing_of(scenario, watched=False)
    outcomes = {"old": 0, "new": 0}
    calls = kills.calls[part::PARTS]
    for call in calls:
        here = kills.killed(call)
        found = booted(here, tmp_path, empty)
        assert found in (kills.old, kills.new), f"boot after a kill before {call}: {found}"
        with entered(kills.netns):
            settled(here.machine, lambda step: None)
            now = looks(here)
            assert now == found, f"next command after a kill before {call}: {now}, at boot {found}"
            assert pending(State(here.machine)) is None
            # The services are the dead process's, in its memory.
            drifts = [each for each in look(here.machine).drifts if not each.what.startswith(UNIT)]
            assert not drifts, (call, drifts)
        outcomes["old" if now == kills.old else "new"] += 1
    assert outcomes["old"]
    said = f"{len(calls)} kills, {outcomes['old']} old, {outcomes['new']} new"
    summary([f"kill -9, {scenario}, part {part}: {said}"])


@pytest.mark.parametrize("part", SHARES)
def test_the_watcher_takes_back_what_dies(killing_of, part, summary):
    kills = killing_of("over another", watched=True)
    calls = kills.calls[part::PARTS]
    for call in calls:
        assert settles(kills.killed(call)) in (kills.old, kills.new), f"after a kill before {call}"
    summary([f"kill -9, watched, part {part}: {len(calls)} kills, all taken back or done"])


def settles(here: Place) -> tuple[str, str, bool]:
    """What the host looks like once nobody is at work on it any more."""
    deadline = time.monotonic() + 20
    folder = here.folder / STATE[1:]
    names = ("journal", "undoing", "undone")
    while any((folder / name).exists() for name in names):
        assert time.monotonic() < deadline, "nobody takes it back"
        time.sleep(0.01)
    with entered(here.name):
        return looks(here)
