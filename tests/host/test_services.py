"""systemctl is asked the right things, and its answers are understood; offline it is the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host import services
from fwpolicy.host.services import NoServices, ServiceState, Systemd
from tests.host.fakes import FakeServices

UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=ntp.service\n"


class Systemctl:
    """Answers by verb; keeps what it was asked."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, arguments: tuple[str, ...], timeout: float) -> tuple[int, str, str]:
        assert timeout > 0
        self.asked.append(arguments)
        verb = next(word for word in arguments[1:] if not word.startswith("-"))
        return self.answers.get(verb.replace("-", "_"), (0, "", ""))


def show(unit: str, load: str, active: str, state: str) -> tuple[int, str, str]:
    return 0, f"Id={unit}\nLoadState={load}\nActiveState={active}\nUnitFileState={state}\n", ""


def test_an_alias_resolves_to_the_real_unit() -> None:
    run = Systemctl(show=show("ntpsec.service", "loaded", "active", "enabled"))
    assert Systemd(run=run).status(("ntp",)) == ServiceState("ntpsec.service", True, True, False)
    assert run.asked == [
        ("systemctl", "show", "--property", "Id,LoadState,ActiveState,UnitFileState", "--", "ntp.service")
    ]


@pytest.mark.parametrize(
    ("load", "active", "state", "expected"),
    [
        ("loaded", "inactive", "disabled", (False, False, False)),
        ("loaded", "activating", "static", (True, False, False)),
        ("masked", "inactive", "masked", (False, False, True)),
        ("loaded", "failed", "enabled-runtime", (False, True, False)),
    ],
)
def test_states(load: str, active: str, state: str, expected: tuple[bool, bool, bool]) -> None:
    run = Systemctl(show=show("chrony.service", load, active, state))
    assert Systemd(run=run).status(("chrony",)) == ServiceState("chrony.service", *expected)


def test_the_first_unit_that_exists_counts() -> None:
    run = Systemctl(show=show("x.service", "not-found", "inactive", ""))
    assert Systemd(run=run).status(("a", "b.service")) is None
    assert [asked[-1] for asked in run.asked] == ["a.service", "b.service"]


@pytest.mark.parametrize(("shown", "pid"), [("MainPID=812\n", 812), ("MainPID=0\n", None), ("", None)])
def test_the_main_process(shown: str, pid: int | None) -> None:
    run = Systemctl(show=(0, shown, ""))
    assert Systemd(run=run).main_pid("chrony") == pid
    assert run.asked == [("systemctl", "show", "--property", "MainPID", "--", "chrony.service")]
    assert Systemd("/image", run=run).main_pid("chrony") is None
    assert len(run.asked) == 1


def test_off_is_stopped_disabled_and_masked() -> None:
    run = Systemctl()
    Systemd(run=run).stop_and_disable("chrony")
    assert run.asked == [
        ("systemctl", "disable", "--now", "chrony.service"),
        ("systemctl", "mask", "--", "chrony.service"),
    ]


def test_a_unit_of_the_administrator_is_disabled_all_the_same() -> None:
    error = "Failed to mask unit: File '/etc/systemd/system/x.service' already exists."
    Systemd(run=Systemctl(mask=(1, "", error))).stop_and_disable("x")
    with pytest.raises(HostError, match=r"^systemctl mask x.service failed: Failed to mask unit: Read-only"):
        Systemd(run=Systemctl(mask=(1, "", "Failed to mask unit: Read-only file system\n"))).stop_and_disable(
            "x"
        )


def test_restore() -> None:
    run = Systemctl()
    Systemd(run=run).restore(ServiceState("a.service", active=True, enabled=True, masked=False))
    Systemd(run=run).restore(ServiceState("b.service", active=False, enabled=False, masked=True))
    assert [asked[1:] for asked in run.asked] == [
        ("unmask", "a.service"),
        ("enable", "a.service"),
        ("start", "a.service"),
        ("unmask", "b.service"),
        ("disable", "b.service"),
        ("stop", "b.service"),
        ("mask", "--", "b.service"),
    ]


def test_errors_are_one_line_with_systemds_reason() -> None:
    error = 'Job for x.service failed.\nSee "systemctl status x.service" for details.\n'
    with pytest.raises(HostError) as caught:
        Systemd(run=Systemctl(restart=(1, "", error))).restart("x")
    reason = 'Job for x.service failed. See "systemctl status x.service" for details.'
    assert str(caught.value) == f"systemctl restart x.service failed: {reason}"


def test_a_missing_or_slow_systemctl_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="no-such-systemctl is not installed"):
        services.run_command(("no-such-systemctl",), 1)
    with pytest.raises(HostError, match="'sleep 5' did not end within 0 s"):
        services.run_command(("sleep", "5"), 0.05)


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl")
def test_an_image_is_edited_offline(tmp_path: Path) -> None:
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (units / "ntpsec.service").write_text(UNIT)
    manager = services.detect(str(tmp_path))
    assert manager.status(("ntp",)) is None
    manager.enable("ntpsec")
    enabled = ServiceState("ntpsec.service", active=False, enabled=True, masked=False)
    assert manager.status(("ntp", "ntpsec")) == enabled
    manager.stop_and_disable("ntpsec")
    assert manager.status(("ntpsec",)) == ServiceState("ntpsec.service", False, False, True)
    assert (tmp_path / "etc/systemd/system/ntpsec.service").readlink() == Path("/dev/null")
    manager.restore(enabled)
    assert manager.status(("ntpsec",)) == enabled
    manager.restart("ntpsec")
    manager.reload_manager()


def test_without_an_init(tmp_path: Path) -> None:
    manager = services.detect(str(tmp_path))
    assert isinstance(manager, NoServices)
    assert manager.status(("ntp",)) is None
    manager.reload_manager()
    for refused in (manager.restart, manager.stop_and_disable, manager.enable):
        with pytest.raises(HostError, match=r"x: no service manager runs here"):
            refused("x")
    with pytest.raises(HostError):
        manager.restore(ServiceState("x", True, True, False))


def test_the_fake_keeps_the_protocol() -> None:
    before = ServiceState("ntpsec.service", True, True, False)
    fake = FakeServices(before, aliases={"ntp.service": "ntpsec.service"})
    manager: services.Services = fake
    assert manager.status(("none", "ntp")) == before
    manager.stop_and_disable("ntp")
    assert manager.status(("ntpsec",)) == ServiceState("ntpsec.service", False, False, True)
    with pytest.raises(HostError, match="masked"):
        manager.restart("ntpsec")
    manager.restore(before)
    manager.restart("ntpsec")
    assert manager.status(("ntpsec",)) == before
    with pytest.raises(HostError):
        manager.enable("none")
