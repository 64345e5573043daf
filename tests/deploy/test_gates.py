"""Gates of a real host: programs and connections of this machine, daemons as their tools would answer."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fwpolicy.addresses import of
from fwpolicy.deploy import daemons, gates
from fwpolicy.deploy.clocks import CHRONY
from fwpolicy.deploy.machine import Machine
from fwpolicy.errors import HostError, Span
from fwpolicy.host import programs
from fwpolicy.host.files import Files
from fwpolicy.host.services import NoServices
from fwpolicy.host.timedaemons import Found
from fwpolicy.ir.timeservice import DaemonConfig
from fwpolicy.policy.gates import Program, Reach, Synchronised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = Span("a.yaml", 1, 1, 2)
HOST = Machine(Files("/"), NoServices(), "/var/lib/fwpolicy", True)
NOW = 1_700_000_000.0
SILENT = "chrony has had no answer since the apply; the last came"


def program(*arguments: str) -> Program:
    return Program(arguments, HERE)


def script(folder: Path, text: str, mode: int = 0o755) -> Program:
    path = folder / "gate"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return program(str(path))


def said(*asked: Any, machine: Machine = HOST) -> tuple[str, ...]:
    return gates.unmet(asked, machine, NOW)


# Programs


def test_a_program_that_succeeds() -> None:
    assert said(program("/bin/true"), program("/bin/sh", "-c", "exit 0")) == ()


def test_each_that_fails_has_its_sentence(tmp_path: Path) -> None:
    broken = script(tmp_path, "echo checking; echo the shop is down >&2; exit 2")
    missing = program("/no/such/program")
    assert said(program("/bin/false"), program("/bin/true"), broken, missing) == (
        "/bin/false ended with status 1",
        f"{broken.arguments[0]} ended with status 2: the shop is down",
        "/no/such/program cannot be started: No such file or directory",
    )


def test_a_program_that_a_signal_ends(tmp_path: Path) -> None:
    (sentence,) = said(script(tmp_path, "kill -SEGV $$"))
    assert sentence.endswith("/gate ended with signal SIGSEGV")


def test_one_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "RUN_SECONDS", 0.6)
    (sentence,) = said(script(tmp_path, "exec sleep 600"))
    assert sentence.endswith("/gate did not end within 1 s")


def test_what_others_than_root_can_change_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    open_to_all = script(tmp_path, f"touch {ran}", 0o777)
    path = open_to_all.arguments[0]
    assert said(open_to_all) == (f"{path} is not run: others than root can change {path}",)
    folder = tmp_path / "open"
    folder.mkdir()
    inside = script(folder, f"touch {ran}")
    folder.chmod(0o777)
    assert said(inside) == (f"{inside.arguments[0]} is not run: others than root can change {folder}",)
    assert not ran.exists()
    folder.chmod(0o755)
    assert said(inside) == ()
    assert ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_another_users_program_is_not_run(tmp_path: Path) -> None:
    given = script(tmp_path, "true")
    os.chown(given.arguments[0], 65534, 65534)
    assert "is not run" in said(given)[0]


# Reach


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """A port on which somebody listens, over both families, and one on which nobody does."""
    with ExitStack() as stack:
        one = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = one.getsockname()[1]
        stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        yield [port, closed.getsockname()[1]]


def test_all_of_reach_must_answer(ports: list[int]) -> None:
    listening, closed = ports
    assert said(Reach("shop", listening, of("127.0.0.1", "::1"), HERE)) == ()
    assert said(Reach("shop", listening, of("127.0.0.1-127.0.0.2"), HERE)) == (
        "shop of 127.0.0.2 is not reached: Connection refused",
    )
    assert said(Reach(f"tcp/{closed}", closed, of("127.0.0.1-127.0.0.3"), HERE)) == (
        f"tcp/{closed} of 127.0.0.1 is not reached: Connection refused (and 2 more of 3)",
    )


# Synchronised


def found(kind: str, pid: int | None = 7) -> Found:
    config = DaemonConfig(kind, (), f"/etc/{kind}.conf", ())
    return Found(config, None, f"/usr/sbin/{kind}", pid, (kind,))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`daemons`: those of the host; `tools`: by kind when its latest answer came, as its tool says."""
    told: dict[str, Any] = {"daemons": (), "tools": {}}
    tool = script(tmp_path, "exit 0").arguments[0]

    def discover(files: Files, kind: str) -> tuple[Found, ...]:
        assert files is HOST.files
        return tuple(one for one in told["daemons"] if kind in ("auto", one.config.kind))

    def daemon(kind: str) -> Any:
        clock = type(CHRONY)((tool,), lambda ask, now: told["tools"].get(kind))
        return type("Daemon", (), {"clock": told.get("clock", clock)})

    monkeypatch.setattr(daemons, "discover", discover)
    monkeypatch.setattr(daemons, "daemon", daemon)
    yield told


@pytest.mark.parametrize(
    ("running", "tools", "sentence"),
    [
        ((found("chrony"),), {"chrony": NOW + 1}, None),
        ((found("chrony"),), {"chrony": NOW}, f"{SILENT} 0 s before it"),
        ((found("chrony"),), {"chrony": NOW - 312}, f"{SILENT} 312 s before it"),
        ((found("chrony"),), {}, "chrony is not synchronised"),
        ((found("chrony", None),), {"chrony": NOW + 1}, "no time daemon runs here"),
        ((), {}, "no time daemon runs here"),
        ((found("chrony"), found("timesyncd")), {"timesyncd": NOW + 1}, None),
        ((found("chrony"), found("ntpd")), {}, "chrony is not synchronised; ntpd is not synchronised"),
        ((found("ntpd"), found("ntpd")), {}, "ntpd is not synchronised"),
    ],
)  # fmt: skip
def test_synchronised(answers: dict[str, Any], running: Any, tools: Any, sentence: str | None) -> None:
    answers.update(daemons=running, tools=tools)
    assert said(Synchronised("auto", HERE)) == (() if sentence is None else (sentence,))


def test_only_the_roles_daemon_counts(answers: dict[str, Any]) -> None:
    answers.update(daemons=(found("chrony"),), tools={"chrony": NOW + 1})
    assert said(Synchronised("chrony", HERE)) == ()
    assert said(Synchronised("openntpd", HERE)) == ("openntpd does not run here",)


def test_a_tool_that_is_missing(answers: dict[str, Any]) -> None:
    answers.update(daemons=(found("chrony"),), clock=type(CHRONY)(("/no/such/chronyc",), CHRONY.answered))
    assert said(Synchronised("auto", HERE)) == (
        "chrony cannot be asked whether it is synchronised: chronyc is not installed",
    )


def test_a_tool_that_fails_says_nothing(answers: dict[str, Any], tmp_path: Path) -> None:
    """However well what it prints may look."""
    line = "C0A84D01,server,2,1700000001.5,0,0,0,0,0,0,0,0,1,Normal"
    for status, held in ((0, True), (1, False)):
        tool = script(tmp_path, f"echo {line}; exit {status}").arguments[0]
        answers.update(daemons=(found("chrony"),), clock=type(CHRONY)((tool,), CHRONY.answered))
        assert (said(Synchronised("auto", HERE)) == ()) == held


def test_daemons_that_cannot_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def discover(*_: object) -> None:
        raise HostError("cannot look at /etc: Permission denied")

    monkeypatch.setattr(daemons, "discover", discover)
    assert said(Synchronised("auto", HERE)) == ("cannot look at /etc: Permission denied",)


def test_an_image_cannot_be_asked(tmp_path: Path) -> None:
    image = Machine(Files(str(tmp_path)), NoServices(), "/var/lib/fwpolicy", False)
    sentences = said(program("/bin/true"), Synchronised("auto", HERE), machine=image)
    assert sentences == ("an image has no network, no clock and no programs to ask",) * 2


# Waiting


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_PAUSE", 0.05)


def waited(asked: tuple[Any, ...], seconds: float) -> tuple[tuple[str, ...], list[str], float]:
    heard: list[str] = []
    began = boottime()
    found = gates.wait(asked, HOST, NOW, began + seconds, heard.append)
    return found, heard, boottime() - began


def test_what_holds_is_not_waited_for() -> None:
    found, heard, seconds = waited((program("/bin/true"),), 20)
    assert (found, heard) == ((), [])
    assert seconds < 2


def test_no_gates_hold() -> None:
    assert waited((), 5)[0] == ()


def test_it_asks_until_all_hold(tmp_path: Path, quick: None) -> None:
    """The third time the script succeeds; what it says each time is told once."""
    count = tmp_path / "count"
    late = script(tmp_path, f"echo x >> {count}; echo not yet >&2; test $(wc -l < {count}) -ge 3")
    found, heard, seconds = waited((late, program("/bin/true")), 20)
    assert (found, seconds < 10) == ((), True)
    assert heard == [f"waiting: {late.arguments[0]} ended with status 1: not yet"]
    assert len(count.read_text().splitlines()) == 4  # and once more, together with the other


def test_what_held_before_is_asked_again_at_the_end(tmp_path: Path, quick: None) -> None:
    """Two gates that are never open at the same time are not both met."""
    flag = tmp_path / "flag"
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    while_no_flag = script(first, f"test ! -e {flag}")
    making_it = script(second, f"test -e {flag} && exit 0; touch {flag}; exit 1")
    found, _, _ = waited((while_no_flag, making_it), 2)
    assert found == (f"{while_no_flag.arguments[0]} ended with status 1",)


def test_the_time_is_over(quick: None) -> None:
    found, heard, seconds = waited((program("/bin/false"), program("/bin/true")), 1)
    assert found == ("/bin/false ended with status 1",)
    assert heard == ["waiting: /bin/false ended with status 1"]
    assert 0.9 <= seconds < 1.5


def test_a_program_gets_no_more_than_the_time_that_is_left(tmp_path: Path) -> None:
    found, _, seconds = waited((script(tmp_path, "exec sleep 600"),), 2)
    assert "did not end within 2 s" in found[0]
    assert 2 <= seconds < 4


def test_what_holds_too_late_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: tuple[str, ...], seconds: float) -> programs.Ended:
        time.sleep(0.3)
        return programs.Ended(0, "", "")

    monkeypatch.setattr(programs, "run", run)
    found, _, _ = waited((program("/bin/true"),), 0.2)
    assert found == ("the gates hold, but only now that the time is over",)


def test_a_deadline_that_is_past(quick: None) -> None:
    assert waited((program("/bin/false"),), -5)[0] == ("/bin/false ended with status 1",)
    assert waited((program("/bin/true"),), -5)[0] != ()
