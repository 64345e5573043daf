"""Programs that answer: what they get, what they say, and what becomes of those that never end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host import programs
from fwpolicy.host.netns import entered

SH = "/bin/sh"


def sh(text: str, seconds: float = 10) -> programs.Ended:
    return programs.run((SH, "-c", text), seconds)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_status_and_words() -> None:
    assert sh("echo out; echo err >&2; exit 3") == programs.Ended(3, "out\n", "err\n")
    assert sh("kill -TERM $$").status == -15
    assert sh("true").status == 0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("echo one; echo two; echo", "two"),
        ("echo out; echo first >&2; echo last >&2", "last"),
        ("true", ""),
        (r"printf 'a\033[31mb\n'", "a\\x1b[31mb"),
        ("printf '\\377\\n'", "\ufffd"),
        (f"printf '%0{300}d' 7", "0" * 200),
    ],
)
def test_the_last_word(text: str, word: str) -> None:
    assert sh(text).last_word == word


def test_what_it_gets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No input, no environment of ours, no terminal, no descriptors, and arguments as they are."""
    monkeypatch.setenv("LD_PRELOAD", "/tmp/evil.so")
    monkeypatch.setenv("BASH_ENV", "/tmp/evil")
    monkeypatch.chdir(tmp_path)
    ended = programs.run(("/usr/bin/env",), 10)
    assert dict(line.split("=", 1) for line in ended.out.splitlines()) == programs.ENVIRONMENT
    assert sh("cat; pwd; cat /dev/tty").out == "/\n"
    odd = ("/usr/bin/printf", "%s|", "a b", "$HOME", "`id`", "*", "")
    assert programs.run(odd, 10).out == "a b|$HOME|`id`|*||"
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    assert f"/{descriptor}\n" not in sh("for f in /proc/self/fd/*; do echo $f; done").out
    os.close(descriptor)


def test_only_the_last_of_much_is_kept() -> None:
    ended = sh("head -c 5000000 /dev/zero | tr '\\0' x; echo end")
    assert len(ended.out) == 65536
    assert ended.out.endswith("xend\n")


def test_one_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(HostError, match=r"^/bin/sh did not end within 1 s$"):
        sh(f"sleep 600 & echo $! $$ > {pids}; trap '' TERM; wait; sleep 600", 1)
    assert 1 <= time.monotonic() - began < 3
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_one_that_writes_without_end_is_killed() -> None:
    with pytest.raises(HostError, match="did not end"):
        programs.run(("/usr/bin/yes",), 0.5)


def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    ended = sh(f"echo ready; sleep 600 & echo $! > {pids}")
    assert time.monotonic() - began < 3
    assert ended == programs.Ended(0, "ready\n", "")
    pid = int(pids.read_text())
    assert alive(pid)
    os.kill(pid, 9)


def test_one_that_closes_its_output_and_goes_on() -> None:
    began = time.monotonic()
    assert sh("echo said; exec >&- 2>&-; sleep 0.4; exit 7") == programs.Ended(7, "said\n", "")
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("mode", "content", "why"),
    [
        (None, "", "No such file or directory"),
        (0o644, "#!/bin/sh\n", "Permission denied"),
        (0o755, "true\n", "Exec format error"),
        (0o755, "#!/no/such/shell\n", "No such file or directory"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, mode: int | None, content: str, why: str) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text(content)
        program.chmod(mode)
    with pytest.raises(HostError) as caught:
        programs.run((str(program),), 5)
    assert str(caught.value) == f"{program} cannot be started: {why}"


@pytest.mark.kernel
def test_its_network_is_the_callers(netns: str) -> None:
    with entered(netns):
        ended = programs.run(("/bin/cat", "/proc/self/net/dev"), 5)
    assert [line.split(":")[0].strip() for line in ended.out.splitlines()[2:]] == ["lo"]


def test_an_interruption_kills_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = tmp_path / "pids"

    def interrupted(*_: object) -> None:
        while not pids.exists() or not pids.read_text().strip():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "_heard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh(f"echo $$ > {pids}; sleep 600")
    assert gone(int(pids.read_text()))
