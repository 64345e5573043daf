"""Whatever is in the files: an error that says where, never a traceback; and work in processes that end."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.cli import main
from fwpolicy.commands.progress import Progress
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.fleet import invariants, inventory, outcome, payload, syncconfig
from fwpolicy.host import workers
from tests.fleet import generated
from tests.fleet.test_inventory import WHOLE

QUICK = settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
RULES = """\
version: 1
groups: {admin: [192.0.2.0/24, "2001:db8::/32"]}
zones: {wan: eth0}
never:
  - {allow: any, from: internet, except: [{allow: [http, https]}, {from: admin, in: wan}], hosts: web}
always: {allow: ssh, from: admin, local: 192.0.2.1, sport: 1024-65535, comment: the way in}
"""
WORDS = re.compile(r"[A-Za-z0-9_./-]+|[\[\]{}:,\n\"' ]")
PIECES = (
    "",
    "null",
    "[]",
    "{}",
    "~",
    "all",
    "[1:3]",
    '"',
    "'",
    ": ",
    ", ",
    "\n  ",
    "&a",
    "*a",
    "!x ",
    "|\n",
    "\x00",
    "é",
    "-",
    "<<",
)


@st.composite
def damaged(draw, text: str) -> str:
    """The text with some of its words exchanged."""
    words = WORDS.findall(text)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(words) - 1))
        words[place] = draw(st.one_of(st.sampled_from(PIECES), st.sampled_from(words)))
    return "".join(words)


@QUICK
@given(damaged(WHOLE))
def test_any_inventory(text):
    try:
        inventory.parse("inventory.yaml", text.encode())
    except PolicyError as error:
        assert error.problems and all(each.span for each in error.problems)


@QUICK
@given(damaged(RULES))
def test_any_invariants(text):
    def read_file(path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", path)

    try:
        invariants.load("rules.yaml", text.encode(), read_file, ("web", "all"))
    except PolicyError as error:
        assert error.problems and all(each.span for each in error.problems)


@QUICK
@given(st.data())
def test_any_archive(data):
    given = (False, ("host/a",), {"host/a": "0" * 64}, {}, ())
    manifest = payload.Manifest("h", "p", "0", 1, "", "", 0, *given)
    whole = bytearray(payload.pack(manifest, {"host/a": (b"x" * 700, 0o644)}))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, 2600))] = data.draw(st.integers(0, 255))
    with pytest.raises(HostError):
        payload.unpack(bytes(whole))


@QUICK
@given(st.data())
def test_any_sync_file(data):
    least = b"version: 1\nrepository: git://example.org/a.git\nbranch: main\nbundles: b\nevery: 5m\n"
    whole = bytearray(least)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(least) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = syncconfig.parse("sync.yaml", bytes(whole))
    except PolicyError:
        return
    assert found.repository.partition("://")[0] in syncconfig.SCHEMES and not found.branch.startswith("-")


@QUICK
@given(st.binary(max_size=200))
def test_any_kept_result(data):
    assert outcome.from_bytes(data) is None
    assert outcome.from_bytes(b'{"findings": [], "artifacts": [], "policy": 1}') is None


def test_inventories_that_expand():
    bomb = "a: {hosts: {h: {x: &a [1, 1]}}}\n" + "".join(
        f"b{n}: {{vars: {{x: &b{n} [{', '.join(['*a' if not n else f'*b{n - 1}'] * 9)}]}}}}\n"
        for n in range(9)
    )
    with pytest.raises(PolicyError, match="aliases expand"):
        inventory.parse("inventory.yaml", bomb.encode())
    deep = "".join(f"{'  ' * (2 * n)}g{n}:\n{'  ' * (2 * n + 1)}children:\n" for n in range(40))
    with pytest.raises(PolicyError, match="nested"):
        inventory.parse("inventory.yaml", deep.encode())


def test_a_worker_that_is_killed_is_an_error(capsys):
    def work(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(HostError, match="was killed"):
        list(workers.each(work, 8, most=2))
    assert sorted(workers.each(lambda number: number * number, 40, most=3)) == [(n, n * n) for n in range(40)]


def test_an_interrupted_check_says_so_and_nothing_else(tmp_path):
    generated.write(tmp_path / "big", hosts=400, policies=60)
    # Where the tests run in the background, SIGINT is ignored.
    heard = ("env", "--default-signal=INT")
    command = [*heard, sys.executable, "-m", "fwpolicy", "check", "--all", "--no-cache", "--quiet", "big"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"fwpolicy: interrupted\n")


def test_progress_begins_after_a_second_in_a_log_after_ten(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fwpolicy.commands.progress.time.monotonic", lambda: now[0])

    def told(terminal: bool, shown: bool = True) -> str:
        stream = io.StringIO()
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stderr", stream)
        now[0] = 0.0
        progress = Progress(shown)
        for done in range(1, 41):
            now[0] = done * 0.3
            progress(done, 40, "policies")
        progress.end()
        return stream.getvalue()

    assert told(False) == "fwpolicy: 34 of 40 policies\n"
    live = told(True)
    assert live.startswith("\rfwpolicy: 4 of 40 policies\rfwpolicy: 5") and live.endswith("\r\x1b[K")
    assert told(True, shown=False) == ""


def test_a_revision_whose_inventory_is_wrong_is_named(fleet, capsys):
    fleet.write(inventory="all: [a]\n")
    fleet.commit()
    fleet.write(inventory="all: {hosts: {a: {fwpolicy_policies: policies/base.yaml}}}\n")
    assert main(["diff", "--all", "git:HEAD"]) == 1
    said = capsys.readouterr().err
    assert "in HEAD: inventory.yaml:1:6: error: group 'all' must be a mapping" in said
