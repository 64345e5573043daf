"""SysV init and OpenRC: the right commands of each distribution's tools, and what stands in the folders."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host import initscripts, services
from fwpolicy.host.openrc import OpenRC
from fwpolicy.host.services import ServiceState
from fwpolicy.host.sysv import SysV

if TYPE_CHECKING:
    from fwpolicy.host.initscripts import InitScripts

SCRIPT = """\
#!/bin/sh
NAME=ntpd
PIDFILE=/run/none-of-ours/$NAME.pid
"""


class Tools:
    """Does below `root` what the tools of a distribution do, and keeps what it was asked."""

    def __init__(self, root: Path, *running: str) -> None:
        self.root, self.running = root, set(running)
        self.asked: list[tuple[str, ...]] = []
        self.refused = ""
        self.deaf = False
        self.old = False

    def __call__(self, arguments: tuple[str, ...], timeout: float) -> tuple[int, str, str]:
        assert timeout > 0
        if arguments[0] == "chroot":
            assert arguments[1] == str(self.root)
            arguments = arguments[2:]
        self.asked.append(arguments)
        if self.refused in arguments[1:]:
            return 1, "", f"{arguments[0]}: it is not to be\n"
        if self.old and arguments[-1] == "status":
            return 3, "Usage: /etc/init.d/ntp {start|stop|restart}\n", ""
        program = arguments[0].rpartition("/")[2]
        status: int = getattr(self, f"do_{program.replace('-', '_').replace('.', '_')}")(*arguments[1:])
        return status, "", ""

    def changes(self) -> list[str]:
        """What was asked, but for what only looks."""
        asked = [" ".join(each) for each in self.asked if each[-1] != "status"]
        self.asked.clear()
        return asked

    def do_service(self, name: str, verb: str) -> int:
        if verb == "status":
            return 0 if name in self.running else 3
        if not self.deaf:
            (self.running.discard if verb == "stop" else self.running.add)(name)
        return 0

    do_rc_service = do_service

    def do_chmod(self, mode: str, path: str) -> int:
        place = self.root / path.lstrip("/")
        old = place.stat().st_mode & 0o7777
        new = {"a-x": old & ~0o111, "u+x": old | 0o100, "a+x": old | 0o111}.get(mode)
        place.chmod(int(mode, 8) if new is None else new)
        return 0

    def do_update_rc_d(self, *words: str) -> int:
        """Only its turning of links: the order is insserv's."""
        name, verb, *levels = (word for word in words if word != "-f")
        if verb == "remove":
            self._unlink(f"rc?.d/[SK]??{name}")
        for level in levels or ("2345" if verb in ("defaults", "enable", "disable") else ""):
            there = list(self.root.glob(f"etc/rc{level}.d/[SK]??{name}"))
            if verb != "defaults" or not there:
                self._unlink(f"rc{level}.d/[SK]??{name}")
                self._link(level, "K" if verb == "disable" else "S", name)
        return 0

    def do_chkconfig(self, *words: str) -> int:
        levels = words[words.index("--level") + 1] if "--level" in words else "2345"
        if words[0] == "--del":
            self._unlink(f"rc?.d/[SK]??{words[1]}")
        for level in levels if words[-1] in ("on", "off") else "":
            self._unlink(f"rc{level}.d/[SK]??{words[-2]}")
            self._link(level, "S" if words[-1] == "on" else "K", words[-2])
        return 0

    def do_insserv(self, *words: str) -> int:
        name, *where = words[-1].split(",s")
        self._unlink(f"rc?.d/[SK]??{name}")
        starts = re.findall(r"tart=([\d,S]+)", words[-1]) if where else ["3,5"]
        stops = re.findall(r"top=([\d,]+)", words[-1]) if where else []
        if words[0] != "-r":
            for kind, found in (("S", starts), ("K", stops)):
                for level in "".join(found).replace(",", ""):
                    self._link(level, kind, name)
        return 0

    def do_rc_update(self, *words: str) -> int:
        if words[0] == "add":
            (self.root / "etc/runlevels" / words[2] / words[1]).symlink_to(f"/etc/init.d/{words[1]}")
        else:
            for level in words[2:]:
                self._unlink(f"runlevels/{level}/{words[1]}")
        return 0

    def do_find(self, folder: str, *words: str) -> int:
        self._unlink(f"{folder.removeprefix('/etc/')}/*/{words[1]}")
        return 0

    def do_ln(self, _: str, target: str, link: str) -> int:
        (self.root / link.lstrip("/")).symlink_to(target)
        return 0

    def _unlink(self, pattern: str) -> None:
        etc = self.root / "etc"
        for link in (each for each in etc.glob("*/**/*") if each.is_symlink()):
            if link.relative_to(etc).match(pattern):
                link.unlink()

    def _link(self, level: str, kind: str, name: str) -> None:
        (self.root / f"etc/rc{level}.d/{kind}{'01' if kind == 'S' else '99'}{name}").symlink_to(
            f"../init.d/{name}"
        )


class LiveSysV(SysV):
    _offline = False


class LiveOpenRC(OpenRC):
    _offline = False


class Host:
    """Files of a host below a folder; its manager believes that it runs."""

    def __init__(self, root: Path, tool: str, *running: str) -> None:
        self.root = root
        for folder in (*(f"etc/rc{level}.d" for level in "S0123456"), "etc/init.d", "usr/sbin"):
            (root / folder).mkdir(parents=True)
        for level in ("boot", "default", "shutdown"):
            (root / "etc/runlevels" / level).mkdir(parents=True)
        for program in (tool, "service"):
            (root / "usr/sbin" / program).touch()
        self.tools = Tools(root, *running)
        kind = LiveOpenRC if tool == "rc-update" else LiveSysV
        self.manager: InitScripts = kind(str(root), self.tools)

    def script(self, name: str, *links: str, mode: int = 0o755) -> None:
        place = self.root / "etc/init.d" / name
        place.write_text(SCRIPT)
        place.chmod(mode)
        for link in links:
            (self.root / "etc" / link).symlink_to(f"../init.d/{name}")

    def links(self) -> list[str]:
        return sorted(
            str(each.relative_to(self.root / "etc"))
            for each in self.root.glob("etc/*/**/*")
            if each.is_symlink()
        )

    def mode(self, name: str) -> int:
        return (self.root / "etc/init.d" / name).stat().st_mode & 0o777


def without_number(link: str) -> str:
    return re.sub(r"[0-9]{2}(?=ntp)", "", link)


DEBIAN = ("rc2.d/S01ntp", "rc3.d/S01ntp", "rc4.d/S01ntp", "rc5.d/S01ntp", "rc0.d/K01ntp", "rc6.d/K01ntp")
ONLY_3 = ("rc2.d/K99ntp", "rc3.d/S01ntp", "rc4.d/K99ntp", "rc5.d/K99ntp")
TOOLS = ("update-rc.d", "chkconfig", "insserv")


def test_a_state_is_read_from_links_mode_and_status(tmp_path: Path) -> None:
    host = Host(tmp_path, "update-rc.d", "ntp")
    host.script("ntp", *DEBIAN, mode=0o750)
    host.script("masked", "rc2.d/K99masked", mode=0o644)
    (tmp_path / "etc/init.d/alias").symlink_to("ntp")
    (tmp_path / "shared").write_text(SCRIPT)
    (tmp_path / "etc/init.d/job").symlink_to("../../shared")  # as upstart's
    read = ServiceState("ntp", True, True, False, ("0750", "2345", "06"))
    for name in ("ntp", "ntp.service", "alias.service"):
        assert host.manager.status(("none", name)) == read
    assert host.manager.status(("masked",)) == ServiceState("masked", False, False, True, ("0644", "", "2"))
    job = host.manager.status(("job",))
    assert job and job.unit == "job"
    # Nobody runs a script with what may stand in a unit's name.
    for name in ("none", "ntp.timer", "../ntp", "-x", "fwpolicy-drift.timer"):
        assert host.manager.status((name,)) is None


def test_the_links_of_another_whose_name_ends_the_same_are_not_its(tmp_path: Path) -> None:
    host = Host(tmp_path, "update-rc.d")
    host.script("ntp")
    host.script("openntp", "rc2.d/S01openntp")
    state = host.manager.status(("ntp",))
    assert state and not state.enabled and state.kept == ("0755",)


OFF = {
    "update-rc.d": ["update-rc.d ntp disable 2 3 4 5"],
    # Its `off` alone would leave what `--level` has put elsewhere.
    "chkconfig": ["chkconfig --level 2345 ntp off"],
    "insserv": ["insserv -r ntp"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_off_is_stopped_in_no_runlevel_and_nobodys_to_execute(tmp_path: Path, tool: str) -> None:
    host = Host(tmp_path, tool, "ntp")
    host.script("ntp", *DEBIAN, mode=0o750)
    before, links = host.manager.status(("ntp",)), host.links()
    assert before
    host.manager.stop_and_disable("ntp.service")
    assert host.tools.changes() == ["service ntp stop", *OFF[tool], "chmod a-x /etc/init.d/ntp"]
    after = host.manager.status(("ntp",))
    assert after and (after.active, after.enabled, after.masked) == (False, False, True)
    assert host.mode("ntp") == 0o640
    host.manager.stop_and_disable("ntp")  # once more does no harm
    assert "service ntp stop" not in host.tools.changes()
    host.manager.restore(before)
    assert host.manager.status(("ntp",)) == before and host.mode("ntp") == 0o750
    assert [without_number(link) for link in host.links()] == [without_number(link) for link in links]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_part_of_the_runlevels_comes_back_as_it_was(tmp_path: Path, tool: str) -> None:
    host = Host(tmp_path, tool)
    host.script("ntp", *ONLY_3)
    before = host.manager.status(("ntp",))
    assert before and before.kept == ("0755", "3", "245")
    host.manager.stop_and_disable("ntp")
    host.manager.restore(before)
    assert host.manager.status(("ntp",)) == before
    assert host.links() == sorted(ONLY_3)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_not_in_the_boot_is_out_of_it_again(tmp_path: Path, tool: str) -> None:
    host = Host(tmp_path, tool)
    host.script("fwpolicy")
    before = host.manager.status(("fwpolicy.service",))
    assert before == ServiceState("fwpolicy", False, False, False, ("0755",))
    host.manager.enable("fwpolicy.service")
    enabled = host.manager.status(("fwpolicy",))
    assert enabled and enabled.enabled
    (tmp_path / "etc/init.d/fwpolicy").chmod(0o644)  # linked as it is, no boot starts it
    masked = host.manager.status(("fwpolicy",))
    assert masked and not masked.enabled
    host.manager.enable("fwpolicy")
    assert host.manager.status(("fwpolicy",)) == enabled
    host.manager.restore(ServiceState("fwpolicy.service", active=False, enabled=False, masked=False))
    assert host.links() == []
    host.tools.changes()
    (tmp_path / "etc/init.d/fwpolicy").unlink()
    host.manager.restore(enabled)
    assert host.tools.changes() == []


def test_what_does_not_stop_or_stay_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, "update-rc.d", "ntp")
    host.script("ntp", *DEBIAN, "rc1.d/S01ntp")  # update-rc.d(8) turns no link of runlevel 1
    with pytest.raises(HostError, match="ntp is still started at boot"):
        host.manager.stop_and_disable("ntp")
    (tmp_path / "etc/rc1.d/S01ntp").unlink()
    host.tools.deaf = True
    monkeypatch.setattr(initscripts, "_STOP_TIMEOUT", 0.2)
    host.tools.running.add("ntp")
    with pytest.raises(HostError, match="ntp still runs"):
        host.manager.stop_and_disable("ntp")
    host.tools.refused = "restart"
    with pytest.raises(HostError, match=r"^'service ntp restart' failed: service: it is not to be$"):
        host.manager.restart("ntp")


def test_without_a_tool_nothing_is_half_done(tmp_path: Path) -> None:
    host = Host(tmp_path, "nothing-of-the-kind")
    host.script("fwpolicy")
    with pytest.raises(HostError, match=r"none of update-rc.d, chkconfig and insserv is here"):
        host.manager.enable("fwpolicy")


def test_the_journals_commands_do_the_same_in_any_order_of_events(tmp_path: Path) -> None:
    host = Host(tmp_path, "update-rc.d", "ntp", "masked")
    host.script("ntp", *DEBIAN)
    host.script("masked", mode=0o644)
    host.script("fwpolicy")
    states = tuple(state for name in ("ntp", "masked") if (state := host.manager.status((name,))))
    live, boot = host.manager.returning(states, ("ntp",)), host.manager.returning_at_boot(states)
    assert ("service", "ntp", "restart") in live and live[-1] == ("service", "ntp", "restart")
    assert not any(command[0] == "service" for command in boot)  # their runlevel comes yet
    for commands in (live, boot):
        host.manager.stop_and_disable("ntp")
        (tmp_path / "etc/init.d/masked").chmod(0o755)
        for command in commands:
            assert host.tools(command, 1)[0] == 0
        found = [host.manager.status((name,)) for name in ("ntp", "masked")]
        host.tools.running.add("ntp")
        assert [state and state.kept for state in found] == [state.kept for state in states]
    assert host.manager.forgetting("fwpolicy.service") == (
        ("service", "fwpolicy", "stop"),
        ("update-rc.d", "-f", "fwpolicy", "remove"),
    )
    assert host.manager.forgetting("fwpolicy-drift.timer") == ()


def test_the_main_process_by_the_scripts_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, "update-rc.d")
    host.script("ntp")
    files = [str(path) for path in host.manager._pid_files("ntp")]
    assert files == ["/run/none-of-ours/ntpd.pid", "/run/ntp.pid", "/run/ntp/ntp.pid"]
    pid_file = tmp_path / "ntp.pid"
    monkeypatch.setattr(host.manager, "_pid_files", lambda _: iter((pid_file,)))
    for text, pid in (("1\n", 1), ("not a number", None), (str(2**22 + 1), None)):
        pid_file.write_text(text)
        assert host.manager.main_pid("ntp.service") == pid
        for host.tools.old in (False, True):
            state = host.manager.status(("ntp",))
            assert state and state.active == (host.tools.old and pid is not None)
    pid_file.unlink()
    assert host.manager.main_pid("ntp") is None


def test_an_image_is_edited_from_inside_it(tmp_path: Path) -> None:
    host = Host(tmp_path, "update-rc.d")
    host.script("ntp", *DEBIAN)
    image = SysV(str(tmp_path), host.tools)
    before = image.status(("ntp",))
    assert before == ServiceState("ntp", False, True, False, ("0755", "2345", "06"))
    image.stop_and_disable("ntp")
    assert not any("stop" in asked for asked in host.tools.asked)
    image.restart("ntp")
    image.restore(before)
    assert image.status(("ntp",)) == before
    for commands in (image.returning((before,), ()), image.forgetting("ntp")):
        assert commands and all(command[:2] == ("chroot", str(tmp_path)) for command in commands)


def test_openrc(tmp_path: Path) -> None:
    host = Host(tmp_path, "rc-update", "chronyd")
    host.script("chronyd", "runlevels/default/chronyd")
    host.script("fwpolicy")
    before = host.manager.status(("chrony", "chronyd"))
    assert before == ServiceState("chronyd", True, True, False, ("0755", "default"))
    host.manager.stop_and_disable("chronyd")
    assert host.tools.changes() == [
        "rc-service chronyd stop",
        "rc-update del chronyd default",
        "chmod a-x /etc/init.d/chronyd",
    ]
    off = host.manager.status(("chronyd",))
    assert off == ServiceState("chronyd", False, False, True, ("0644",))
    host.manager.enable("fwpolicy.service")
    host.manager.enable("fwpolicy.service")
    assert host.tools.changes() == ["rc-update add fwpolicy boot"]
    host.manager.restore(before)
    assert host.manager.status(("chronyd",)) == before
    host.manager.restore(ServiceState("fwpolicy.service", active=False, enabled=False, masked=False))
    assert host.links() == ["runlevels/default/chronyd"]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (("etc/inittab", "etc/init.d/ntp", "usr/lib/systemd/system/x.service"), "sysv"),
        (("etc/runlevels/boot/x", "etc/inittab", "etc/init.d/ntp"), "openrc"),
        (("usr/lib/systemd/system/x.service", "etc/init.d/ntp"), "systemd"),
        (("etc/hosts",), ""),
    ],
)
def test_an_images_init_system(tmp_path: Path, files: tuple[str, ...], kind: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert services.detect(str(tmp_path)).init == kind
    if kind == "sysv":
        (tmp_path / "sbin").mkdir()
        (tmp_path / "sbin/init").symlink_to("/lib/systemd/systemd")
        assert services.detect(str(tmp_path)).init == "systemd"
        (tmp_path / "sbin/chkconfig").touch()
        (tmp_path / "sbin/init").unlink()
        assert services.detect(str(tmp_path)).init == "chkconfig"


def test_a_script_that_does_not_wait_for_the_end_of_its_daemon(tmp_path: Path) -> None:
    """As Debian's of chrony: its restart stops, finds the daemon still there, and starts none."""
    host = Host(tmp_path, "update-rc.d", "chrony")
    pid_file = tmp_path / "chronyd.pid"
    host.script("chrony", *DEBIAN)
    script = tmp_path / "etc/init.d/chrony"
    script.write_text(script.read_text() + f"PIDFILE=/run/..{pid_file}\n")
    daemon = subprocess.Popen(["sleep", "60"])
    pid_file.write_text(f"{daemon.pid}\n")
    host.tools.deaf = True

    def ends() -> None:
        host.tools.running.discard("chrony")
        host.tools.deaf = False
        daemon.kill()
        daemon.wait()

    timer = threading.Timer(0.3, ends)
    timer.start()
    host.manager.restart("chrony")
    timer.join()
    assert host.tools.changes() == ["service chrony restart", "service chrony start"]
    assert "chrony" in host.tools.running
    pid_file.write_text("x")  # one that nobody can tell by its process is restarted and no more
    host.manager.restart("chrony")
    assert host.tools.changes() == ["service chrony restart"]
