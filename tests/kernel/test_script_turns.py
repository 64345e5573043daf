"""The script works one process at a time, and goes on by itself after whoever was killed, wherever it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy.script.pieces import piece
from tests.golden import cases

from .oldhost import SHELLS, OldHost, script
from .test_script import NOW, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

TEXT = script(cases.policy("ntp-client"), "nft")
# No process has it: it is beyond the highest that Linux gives.
DEAD = "9999999:1:boot"
HOLDING = "status() {\n"


class Turns(OldHost):
    """A host with a policy, and what takes turns there."""

    def __init__(self, netns: str, folder: Path, shell: str) -> None:
        super().__init__(netns, folder, shell)
        assert "patience=120" in TEXT
        self.script(TEXT, *NOW)
        self.edit("patience=120", "patience=10")
        self.turn, self.old = self.state / "turn", self.state / "lock"

    def altered(self, what: str, by: str) -> str:
        """The tool with another text in it: where it is."""
        text = (self.state / "tool/tool.sh").read_text()
        assert what in text
        place = self.root / f"fwpolicy-script-{len(list(self.root.iterdir()))}.sh"
        place.write_text(text.replace(what, by))
        return str(place)

    def edit(self, what: str, by: str) -> None:
        """The same for good."""
        Path(self.altered(what, by)).rename(self.state / "tool/tool.sh")

    def command(self, *words: str) -> tuple[str, ...]:
        given = (f"PATH={self.path}", f"FWPOLICY_ROOT={self.root}")
        return ("ip", "netns", "exec", self.netns, "env", *given, *words)

    @contextmanager
    def holding(self, text: str = "sleep 600") -> Iterator[subprocess.Popen[bytes]]:
        """Somebody at work, who is in the middle of it until this is over."""
        place = self.altered(HOLDING, f"{HOLDING}{text}\n")
        nothing = subprocess.DEVNULL
        with subprocess.Popen(
            self.command("sh", place, "status"), stdout=nothing, stderr=nothing, start_new_session=True
        ) as process:
            try:
                until(lambda: list(self.state.glob("work.*")))
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def works(self) -> None:
        """It goes on, and nothing is left of it."""
        said = self.tool("status")
        assert (said.stderr, "rules: as applied" in said.stdout) == ("", True)
        assert self.left() == []

    def left(self) -> list[str]:
        return sorted(
            path.name for path in self.state.iterdir() if path.name not in ("current", "original", "tool")
        )

    def refused(self, *, tool: str = "") -> str:
        """Why, when it has waited a little."""
        said = self.run("sh", tool or self.altered("patience=10", "patience=1"), "status", check=False)
        assert said.returncode == 1
        return said.stderr


@pytest.fixture(params=SHELLS)
def host(netns, tmp_path, request):
    return Turns(netns, tmp_path, request.param)


@pytest.fixture
def one(netns, tmp_path):
    return Turns(netns, tmp_path, "dash")


def test_who_lives_is_waited_for_and_who_was_killed_is_not(host):
    with host.holding() as holder:
        before = host.left()
        assert f"process {holder.pid} is at work here and does not end" in host.refused()
        assert host.left() == before
        os.killpg(holder.pid, signal.SIGKILL)
        # Nobody has asked yet how it ended: its number is still there.
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        host.works()


def test_its_number_is_anothers_now(host):
    process, boot = os.getpid(), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    host.turn.symlink_to(f"{process}:{began}:{boot}")
    assert f"process {process} is at work" in host.refused(), "this one began then, and lives"
    for name in (f"{process}:1:{boot}", f"{process}:{began}:before", "x", "1x:1:", DEAD):
        host.turn.unlink(missing_ok=True)
        host.turn.symlink_to(name)
        host.works()


def test_its_number_is_ones_own_now(host):
    take = f'ln -s "$$:1:before" {host.turn}; mkdir {host.old}; echo $$ > {host.old}/pid'
    host.run("sh", "-c", f"{take}; exec sh {host.state}/tool/tool.sh status")
    assert host.left() == []


def test_without_proc_there_are_numbers_alone(host):
    host.edit("/proc/", "/no/proc/")
    host.turn.symlink_to("9999999")
    host.works()
    host.turn.symlink_to(str(os.getpid()))
    assert f"process {os.getpid()} is at work" in host.refused()
    host.turn.unlink()
    with host.holding() as holder:
        assert str(host.turn.readlink()) == str(holder.pid)
        assert f"process {holder.pid} is at work" in host.refused()
    host.works()


def test_of_many_that_see_a_dead_one_one_works_at_a_time(host):
    # What they see, and what they do then, is apart.
    host.edit('then rm -f "$1"; fi\n    give', 'then sleep 0.3; rm -f "$1"; fi\n    give')
    host.edit(HOLDING, f"{HOLDING}mkdir {host.root}/inside || exit 9\nsleep 0.2\nrmdir {host.root}/inside\n")
    host.turn.symlink_to(DEAD)
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda _: host.tool("status", check=False), range(6)))
    assert [(each.returncode, each.stderr) for each in said] == [(0, "")] * 6
    assert host.left() == []


def test_who_saw_a_dead_one_takes_nothing_from_who_came_then(one):
    saw, go = one.root / "saw", one.root / "go"
    one.edit("patience=10", "patience=1")
    wait = f"touch {saw}; until [ -e {go} ]; do sleep 0.1; done"
    slow = one.altered('&& take "$1.after"', f'&& {{ {wait}; }} && take "$1.after"')
    one.turn.symlink_to(DEAD)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(one.refused, tool=slow)
        until(saw.exists)
        with one.holding() as holder:
            go.touch()
            assert f"process {holder.pid} is at work" in late.result()
            assert str(one.turn.readlink()).startswith(f"{holder.pid}:")
    one.works()


def test_who_was_killed_when_it_took_over_holds_nobody_up(host):
    for name in ("turn", "turn.after", "turn.after.after"):
        (host.state / name).symlink_to(DEAD)
    host.works()
    # Of a takeover that was done.
    (host.state / "turn.after").symlink_to(DEAD)
    host.works()


# Every place in what takes turns where a command may stand.
INSIDE = re.compile(r"(?m)^(?= {4,}(?!.*;;)(?!esac)(?!\S*\) )\S)")


def points() -> list[int]:
    """Where a process may be killed, in the text of the piece."""
    return [found.start() for found in INSIDE.finditer(piece("turns.sh"))]


@pytest.mark.parametrize("before", [(), ("turn", "turn.after")], ids=["free", "dead"])
def test_killed_anywhere_the_next_goes_on(one, before):
    turns, place = piece("turns.sh"), one.state / "tool/tool.sh"
    good = place.read_text().replace("patience=10", "patience=120")
    assert turns in good and len(points()) > 30
    killed = 0
    for point in points():
        for name in before:
            (one.state / name).symlink_to(DEAD)
        place.write_text(good.replace(turns, f"{turns[:point]}    kill -9 $$\n{turns[point:]}"))
        killed += one.tool("status", check=False).returncode == -signal.SIGKILL
        place.write_text(good.replace("patience=120", "patience=10"))
        one.works()
    assert killed > 20


def test_an_apply_that_died_is_taken_back_though_its_number_is_anothers(host):
    rules = host.rules()
    text = script(cases.policy("ntp-server"), "nft")
    named = text.replace('echo "$me" > "$journal/pid"', f'echo {os.getpid()}:1: > "$journal/pid"')
    assert named != text
    dying = named.replace("    purge_flows\n    while", "    kill -9 $$\n    while")
    assert host.script(dying, *NOW, check=False).returncode != 0
    until(lambda: not (host.state / "pending").exists() and host.left() == [])
    assert host.rules() == rules


def test_an_older_ones_lock(host):
    host.old.mkdir()
    host.works()
    for number in ("9999999", str(os.getpid()), "x"):
        host.old.mkdir()
        (host.old / "pid").write_text(f"{number}\n")
        host.works()
    host.old.mkdir()
    words = ("sh", "-c", "sleep 600; :", "/var/lib/fwpolicy-script/tool/tool.sh")
    with subprocess.Popen(words, start_new_session=True) as older:
        try:
            (host.old / "pid").write_text(f"{older.pid}\n")
            assert f"process {older.pid} is at work" in host.refused()
            assert (host.old / "pid").exists()
        finally:
            os.killpg(older.pid, signal.SIGKILL)
    host.works()


def test_the_boot_waits_for_nobody_and_takes_nothing_from_who_works(one):
    (one.state / "incoming.1").mkdir()
    with one.holding():
        before = one.left()
        one.tool("boot")
        assert one.left() == before
    one.tool("boot")
    assert one.left() == []
    one.works()


def test_who_waits_for_an_undo_goes_on_where_nothing_is_left(one):
    undone = f"sleep 1\nrm -rf {one.state}/current {one.state}/original {one.state}/tool\nexit 0"
    with one.holding(undone):
        said = one.tool("status", check=False)
        assert (said.returncode, said.stdout) == (2, "fwpolicy: nothing is applied here\n")
    assert not one.state.exists()
