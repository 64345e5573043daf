"""A host of a test's own: a real kernel in a namespace, files below a folder, services in memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fwpolicy import markedtext
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy import timeservice
from fwpolicy.deploy.changes import FileChange
from fwpolicy.deploy.machine import Machine
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.timeservice import DaemonPlan
from fwpolicy.host.files import Files
from fwpolicy.host.netns import entered
from fwpolicy.host.services import ServiceState
from tests.golden import cases
from tests.host.fakes import FakeServices

CONFIG = "/etc/chrony/chrony.conf"
PROGRAM = "/usr/bin/fwpolicy"
BEFORE = "pool deb.example iburst\nallow all\n"
STATE = "/var/lib/fwpolicy"


def hardened(text: str) -> str:
    return markedtext.with_block(
        markedtext.comment_out(text, lambda line: line.startswith("allow")), ("port 0",)
    )


AFTER = hardened(BEFORE)


class Place:
    """A host of the test's own: namespace, folder, services."""

    def __init__(self, name: str, folder: Path, *, make: bool = True) -> None:
        """`make`: its files; else they are there."""
        self.name, self.folder = name, folder
        if make:
            self._make_files()
        self.services = FakeServices(
            ServiceState("chrony.service", True, True, False), ServiceState(UNIT, False, False, False)
        )
        self.machine = Machine(Files(str(folder)), self.services, STATE, live=True)

    def _make_files(self) -> None:
        for path in ("etc/chrony", "etc/systemd/system", "usr/bin", "var/lib"):
            (self.folder / path).mkdir(parents=True)
        (self.folder / CONFIG[1:]).write_text(BEFORE)
        (self.folder / CONFIG[1:]).chmod(0o640)
        (self.folder / PROGRAM[1:]).write_text("#!/usr/bin/python3\n")
        (self.folder / PROGRAM[1:]).chmod(0o755)

    def tree(self) -> dict[str, tuple[object, ...]]:
        """Every path with mode, content and time: what must be the same afterwards."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            name = str(path.relative_to(self.folder))
            moment = status.st_mtime_ns if path.is_file() and not name.startswith(STATE[1:]) else 0
            found[name] = (status.st_mode, content, moment)
        return found

    def rules(self) -> str:
        command = ["ip", "netns", "exec", self.name, "nft", "-s", "list", "ruleset"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def nft(self, text: str) -> None:
        command = ["ip", "netns", "exec", self.name, "nft", "-f", "-"]
        subprocess.run(command, check=True, input=text, text=True)


def one_daemon(service, config_mode, machine, revived=frozenset()):
    """What deploy.timeservice does, for a chrony that is always there."""
    if service is None:
        return (), ()
    state = machine.services.status(("chrony.service",))
    if service.mode == "closed":
        in_use = state.active or state.enabled
        return ((DaemonPlan("chrony", (4, 3), CONFIG, state, stop=True),), ()) if in_use else ((), ())
    text = machine.files.read(CONFIG)
    after = hardened(markedtext.strip(text))
    changes = () if text == after else (FileChange(CONFIG, text, after),)
    return (DaemonPlan("chrony", (4, 3), CONFIG, state, changes, check=("/bin/true",)),), ()


@pytest.fixture
def place(netns, tmp_path, monkeypatch):
    here = Place(netns, tmp_path)
    monkeypatch.setattr(timeservice, "plan_daemons", one_daemon)
    with entered(netns):
        yield here


def planned(place, case="ntp-client", **options):
    return make_plan(cases.policy(case), place.machine, Options(**options))


def applied(place, plan):
    steps: list[str] = []
    applying.carry_out(plan, place.machine, ("test",), "2026-01-01T00:00:00Z", steps.append)
    return steps
