"""A role and the daemons of a host: refused where one cannot be looked at, and no other service is turned."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.deploy import daemons
from fwpolicy.deploy.changes import FileChange
from fwpolicy.deploy.machine import Machine
from fwpolicy.deploy.timeservice import plan_daemons
from fwpolicy.errors import HostError
from fwpolicy.host.files import Files
from fwpolicy.host.services import ServiceState
from fwpolicy.host.timedaemons import Found
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig, TimeService
from tests.host.fakes import FakeServices

CLIENT, CLOSED = TimeService("client-only"), TimeService("closed")
MAIN = "/etc/chrony/chrony.conf"


def unit(name: str, active: bool = True) -> ServiceState:
    return ServiceState(f"{name}.service", active, active, False)


def found(group: str = "chrony.service", pid: int | None = 20, **more: object) -> Found:
    config = DaemonConfig("chrony", (4, 3), MAIN, (ConfigFile(MAIN, "server a\n"),))
    return Found(config, None, "/usr/sbin/chronyd", pid, ("chrony", "chronyd"), group, **more)  # type: ignore[arg-type]


@pytest.fixture
def services() -> FakeServices:
    known = FakeServices(
        unit("chrony"), unit("ssh"), unit("lab"), aliases={"chronyd.service": "chrony.service"}
    )
    known.main_pids = {"ssh.service": 7, "lab.service": 20}
    return known


@pytest.fixture
def machine(tmp_path: Path, services: FakeServices) -> Machine:
    return Machine(Files(str(tmp_path)), services, "/var/lib/fwpolicy", False)


@pytest.fixture
def discovered(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    here: list[Found] = []
    monkeypatch.setattr(daemons, "discover", lambda *_: tuple(here))
    return here


@pytest.mark.parametrize(
    ("group", "pid", "turned"),
    [
        ("chrony.service", 20, "chrony.service"),
        ("chronyd.service", 21, "chrony.service"),
        ("lab.service", 20, "lab.service"),
    ],
)
def test_the_daemons_service(
    machine: Machine, discovered: list[Found], group: str, pid: int, turned: str
) -> None:
    discovered.append(found(group, pid))
    for role in (CLIENT, CLOSED):
        (plan,), _ = plan_daemons(role, "manage", machine)
        assert plan.state is not None
        assert (plan.state.unit, plan.stop) == (turned, role is CLOSED)
        assert not [note for note in plan.notes if "process 2" in note]


@pytest.mark.parametrize("group", ["ssh.service", "lab.service", "gone.service", ""])
def test_a_daemon_started_by_hand_has_no_service(
    machine: Machine, services: FakeServices, discovered: list[Found], group: str
) -> None:
    discovered.append(found(group, pid=21))
    del services.units["chrony.service"]
    (plan,), _ = plan_daemons(CLOSED, "manage", machine)
    assert (plan.state, plan.stop) == (None, False)
    assert plan.notes == ("process 21 is no service of the init system; stop it where it was started",)
    (plan,), _ = plan_daemons(CLIENT, "manage", machine)
    assert plan.state is None
    assert plan.changes
    assert plan.notes[0] == "process 21 was started by hand: restart it yourself"


def test_closed_takes_the_idle_service_off_too(machine: Machine, discovered: list[Found]) -> None:
    discovered.append(found("ssh.service"))
    (plan,), _ = plan_daemons(CLOSED, "manage", machine)
    assert plan.state == unit("chrony")
    assert plan.stop
    assert plan.notes == ("process 20 is no service of the init system; stop it where it was started",)


def test_a_unit_is_turned_once(machine: Machine, discovered: list[Found]) -> None:
    discovered += [found(), found("ssh.service", pid=21)]
    plans, _ = plan_daemons(CLOSED, "manage", machine)
    assert [plan.stop for plan in plans] == [True, False]
    assert plans[1].state is None


@pytest.mark.parametrize("mode", ["manage", "verify"])
def test_a_daemon_that_cannot_be_looked_at_is_refused_and_the_others_are_handled(
    machine: Machine, discovered: list[Found], mode: str
) -> None:
    discovered += [found("lab.service", trouble="cannot read /etc/x"), found()]
    (first, second), notes = plan_daemons(CLIENT, mode, machine)
    assert first.refusals == ("chrony: cannot read /etc/x (--no-daemon leaves it alone)",)
    assert first.changes == ()
    assert notes == ()
    if mode == "manage":
        assert [change.path for change in second.changes] == [MAIN]
        assert second.refusals == ()


def test_left_alone_it_is_a_note(machine: Machine, discovered: list[Found]) -> None:
    discovered.append(found(trouble="cannot read /etc/x"))
    (plan,), _ = plan_daemons(CLIENT, "leave", machine)
    assert plan.notes[-1] == "cannot read /etc/x"
    assert plan.refusals == ()


def test_what_is_stopped_need_not_be_read(machine: Machine, discovered: list[Found]) -> None:
    discovered.append(found(trouble="cannot read /etc/x"))
    (plan,), _ = plan_daemons(CLOSED, "manage", machine)
    assert (plan.stop, plan.refusals) == (True, ())


def test_a_host_that_cannot_be_looked_at_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise HostError("cannot read /etc/passwd: input/output error")

    monkeypatch.setattr(daemons, "discover", fails)
    why = "time daemons were not looked for: cannot read /etc/passwd: input/output error"
    (plan,), notes = plan_daemons(CLIENT, "manage", machine)
    assert (plan.refusals, notes) == ((why,), ())
    assert plan_daemons(CLIENT, "leave", machine) == ((), (why,))


def test_an_include_that_leads_out_of_the_image_is_a_refusal(tmp_path: Path, machine: Machine) -> None:
    for path, text in (("usr/sbin/chronyd", "chronyd (chrony) version %s"), (MAIN[1:], "include /etc/o\n")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "etc/o").symlink_to("../../o")
    (plan,), _ = plan_daemons(CLIENT, "manage", machine)
    (refusal,) = plan.refusals
    assert refusal.startswith("chrony: its configuration was not read: cannot open /etc/o: it leads out of ")


# What a plan shows of a file


def shown(before: str, after: str) -> list[str]:
    return FileChange("/etc/ntp.conf", before, after).diff().splitlines()[3:]


def test_any_text_can_be_shown() -> None:
    text = b"# caf\xe9 \x1b]0;x\x07 \x9b2J\xe2\x80\xae\tgr\xc3\xbcn\r\n".decode("utf-8", "surrogateescape")
    (line,) = shown("", text)
    assert line == "+# caf\\xe9 \\x1b]0;x\\x07 \\x9b2J\\u202e\tgrün"
    assert line.encode()
    diff = FileChange("/etc/\x1b[2J\udce9", None, "a\n").diff()
    assert "\x1b" not in diff
    assert diff.encode()


def test_lines_are_those_of_the_daemon() -> None:
    assert shown("a\x0cb\u2028c\n", "a\x0cb\u2028d\n") == ["-a\\x0cb\\u2028c", "+a\\x0cb\\u2028d"]


@pytest.mark.parametrize(
    "line",
    [
        "crypto pw S3CRET",
        "crypto host a ident b PW  S3CRET randfile /r",
        "\tcrypto\x0bpw\x0cS3CRET",
        'crypto randfile "/a b" pw"S3CRET"',
        "#crypto pw S3CRET",
        "crypto pw \x85S3CRET",
        "crypto pw=S3CRET",
        "1 SHA1 S3CRET # somebody included ntp.keys",
        "  15 M S3CRET",
        "#2 AES128CMAC S3CRET",
        "10 SHA256 HEX:S3CRET",
        "1 ASCII:S3CRET",
        'constraint from "https://user:S3CRET@www.example"',
    ],
)
def test_secrets_are_not_shown(line: str) -> None:
    for before, after in (
        (f"{line}\n", f"#fwpolicy# {line}\n"),
        (f"#fwpolicy# #fwpolicy# {line}\n", ""),
        (f"{line}\nx\n", f"{line}\ny\n"),
    ):
        diff = shown(before, after)
        assert "S3CRET" not in "".join(diff)
        assert "(redacted)" in "".join(diff)


def test_what_is_no_secret_is_shown() -> None:
    lines = [
        "controlkey 15",
        "requestkey 16",
        "trustedkey 1 2",
        "commandkey 1",
        "keys /k",
        "crypto randfile /r",
        "# 3 servers are asked",
        "keyfile /etc/chrony/chrony.keys",
        "mailonchange root@localhost 0.5",
        "ntsserverkey /etc/k.pem",
        'constraint from "https://www.example/user@host"',
        "server 192.0.2.1 key 5 iburst",
    ]
    assert shown("", "".join(f"{line}\n" for line in lines)) == [f"+{line}" for line in lines]
