"""Daemons are found by process and by program, and their files read in the daemon's own order."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.deploy import daemons
from fwpolicy.host import timedaemons
from fwpolicy.host.files import Files
from fwpolicy.ir.timeservice import Source, TimeService
from fwpolicy.record import replace
from tests.host.fakeproc import FakeProc

# What each program prints when asked --version, or holds in itself.
SAYS = {
    "ntpd": "ntpd 4.2.8p15@1.3728-o Wed Sep 23 11:46:38 UTC 2020 (1)\n",
    "ntpsec": "ntpd ntpsec-1.2.2\n",
    "chrony": "chronyd (chrony) version 4.3 (+CMDMON +NTP)\n",
    "openntpd": "ntpd: invalid option -- '-'\nusage: ntpd [-dnSsv] [-f file] [-p file]\n",
    "busybox": "BusyBox v1.36.1\nUsage: ntpd [-dnqNwl]\n",
}
HOLDS = {
    "ntpd": "\x7fELF\0ntpd 4.2.8p15@1.3728-o\0",
    "ntpsec": "\x7fELF\0ntpd ntpsec-%s\0",
    "chrony": "\x7fELF\0chronyd (chrony) version %s (%s)\n\0",
    "openntpd": "\x7fELF\0usage: %s [-dnSsv] [-f file] [-p file]\n\0",
}


def put(root: Path, path: str, text: str = "", mode: int = 0o644) -> str:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)
    return path


@pytest.mark.parametrize("kind", list(HOLDS))
def test_an_image_is_looked_at_without_starting_anything(tmp_path: Path, kind: str) -> None:
    program = put(tmp_path, "/usr/sbin/chronyd" if kind == "chrony" else "/usr/sbin/ntpd", HOLDS[kind])
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert (found.config.kind, found.program, found.pid, found.copy) == (kind, program, None, None)
    assert found.config.version == ((4, 2, 8, 15) if kind == "ntpd" else ())
    assert found.config.files == ()
    assert found.config.main == daemons.daemon(kind).look.mains[0]
    assert daemons.discover(Files(str(tmp_path)), "timesyncd") == ()
    assert daemons.discover(Files(str(tmp_path)), "none") == ()


def test_an_unknown_program_is_no_daemon_of_ours(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/ntpd", SAYS["busybox"])
    assert daemons.discover(Files(str(tmp_path))) == ()


def test_rhel_paths_and_the_check_command(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/chronyd", HOLDS["chrony"])
    put(tmp_path, "/etc/chrony.conf", "server a\n")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert found.check == ("/usr/sbin/chronyd", "-p", "-f", "/etc/chrony.conf")
    assert found.units == ("chrony", "chronyd")
    assert daemons.sources(found) == (Source("a"),)


def test_chrony_reads_in_this_order(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/chronyd", HOLDS["chrony"])
    text = "confdir /a /b\nsourcedir /run/s\ninclude /etc/chrony/x/*.c\nserver m\n"
    put(tmp_path, "/etc/chrony/chrony.conf", text)
    for path in (
        "/a/20.conf",
        "/b/10.conf",
        "/b/20.conf",
        "/a/no.txt",
        "/run/s/d.sources",
        "/etc/chrony/x/1.c",
    ):
        put(tmp_path, path, f"server {path}\n")
    put(tmp_path, "/b/10.conf", "include /etc/chrony/chrony.conf\n")
    (tmp_path / "etc/chrony/x/2.c").symlink_to("1.c")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert [file.path for file in found.config.files] == [
        "/etc/chrony/chrony.conf",
        "/b/10.conf",
        "/a/20.conf",
        "/run/s/d.sources",
        "/etc/chrony/x/1.c",
    ]


def test_ntpsec_reads_ntp_d_and_relative_includes(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/ntpd", HOLDS["ntpsec"])
    put(tmp_path, "/etc/ntpsec/ntp.conf", "includefile more.conf\nincludefile dir\n")
    for path in ("more.conf", "dir/b.conf", "dir/a.conf", "ntp.d/x.conf", "ntp.d/x.txt"):
        put(tmp_path, f"/etc/ntpsec/{path}")
    (found,) = daemons.discover(Files(str(tmp_path)))
    names = [file.path.removeprefix("/etc/ntpsec/") for file in found.config.files]
    assert names == ["ntp.conf", "more.conf", "dir/a.conf", "dir/b.conf", "ntp.d/x.conf"]


def test_timesyncd_drop_ins(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/systemd-timesyncd")
    put(tmp_path, "/etc/systemd/timesyncd.conf", "[Time]\nNTP=main\n")
    put(tmp_path, "/usr/lib/systemd/timesyncd.conf.d/50.conf", "[Time]\nNTP=vendor\n")
    put(tmp_path, "/etc/systemd/timesyncd.conf.d/50.conf", "[Time]\nNTP=\nNTP=own\n")
    put(tmp_path, "/usr/lib/systemd/timesyncd.conf.d/10.conf", "[Time]\nNTP=ten\n")
    (tmp_path / "etc/systemd/timesyncd.conf.d/10.conf").symlink_to("/dev/null")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert [file.path for file in found.config.files] == [
        "/etc/systemd/timesyncd.conf",
        "/etc/systemd/timesyncd.conf.d/50.conf",
    ]
    assert daemons.sources(found) == (Source("own"),)


def test_a_dhcp_copy_is_found_in_an_image_too(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/ntpd", HOLDS["ntpsec"])
    put(tmp_path, "/etc/ntpsec/ntp.conf", "pool p\n")
    put(tmp_path, "/run/ntpsec/ntp.conf.dhcp", "server 192.0.2.5 iburst\n")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert found.config.main == "/etc/ntpsec/ntp.conf"
    assert found.copy is not None
    assert daemons.sources(found) == (Source("192.0.2.5"),)


class Host:
    """This machine's root, with programs and configurations of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = FakeProc(folder / "proc")

    def program(self, kind: str, name: str) -> str:
        script = (
            f"#!/bin/sh\n[ \"$*\" = --version ] || touch {self.folder}/started\ncat <<'E'\n{SAYS[kind]}E\n"
        )
        return str(self.folder) + put(self.folder, f"/bin/{name}", script, 0o755)

    def config(self, name: str, text: str) -> str:
        return str(self.folder) + put(self.folder, f"/etc/{name}", text)

    def look(self, kind: str, **changes: object) -> timedaemons.Look:
        look = daemons.daemon(kind).look
        nowhere = (f"{self.folder}/nowhere/{look.programs[0].rpartition('/')[2]}",)
        return replace(look, programs=nowhere, **changes)

    def discover(self, *looks: timedaemons.Look, kind: str = "auto") -> tuple[timedaemons.Found, ...]:
        found = timedaemons.discover(Files(), looks, kind, str(self.proc.folder))
        assert not (self.folder / "started").exists()
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_running_daemon_is_found_by_its_process(host: Host) -> None:
    program = host.program("ntpsec", "ntpd")
    main = host.config("ntp.conf", "pool p\n")
    host.proc.process(
        20, "/usr/sbin/ntpd", "-p", "/run/ntpd.pid", "-c", main, exe=program, unit="ntpsec.service"
    )
    host.proc.process(21, "ntpd: asynchronous dns resolver", exe=program, parent=20, unit="ntpsec.service")
    looks = [host.look(kind) for kind in ("ntpd", "ntpsec", "openntpd", "chrony", "timesyncd")]
    (found,) = host.discover(*looks)
    assert (found.config.kind, found.config.version, found.pid) == ("ntpsec", (1, 2, 2), 20)
    assert found.config.main == main
    assert found.units == ("ntpsec.service", "ntpsec", "ntpd")
    assert host.discover(*looks, kind="ntpd") == ()


@pytest.mark.parametrize(
    ("kind", "version"), [("ntpd", (4, 2, 8, 15)), ("openntpd", ()), ("chrony", (4, 3)), ("busybox", None)]
)
def test_the_kinds_are_told_apart(host: Host, kind: str, version: tuple[int, ...] | None) -> None:
    program = host.program(kind, "chronyd" if kind == "chrony" else "ntpd")
    host.proc.process(20, program, "-f", "/m", "-c", "/m", exe=program)
    looks = [host.look(kind) for kind in ("ntpd", "ntpsec", "chrony")]
    looks.append(replace(host.look("openntpd"), programs=("/nowhere/ntpd",)))
    found = host.discover(*looks)
    assert [(one.config.kind, one.config.version) for one in found] == (
        [] if version is None else [(kind, version)]
    )


def test_running_ones_come_first_and_installed_ones_after(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, "-F", "1", exe=program)
    installed = replace(host.look("ntpd"), programs=(host.program("ntpd", "ntpd"),))
    found = host.discover(installed, host.look("chrony"))
    assert [(one.config.kind, one.pid) for one in found] == [("chrony", 20), ("ntpd", None)]


def test_a_stranger_who_names_himself_chronyd_is_not_believed(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, "-f", "/etc/shadow", exe=program, uid=54321)
    assert host.discover(host.look("chrony")) == ()


def test_a_program_that_others_can_write_is_not_started(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    Path(program).chmod(0o777)
    host.proc.process(20, program, exe=program)
    (found,) = host.discover(host.look("chrony"))
    assert found.config.version == (4, 3)
    Path(program).write_text(f"#!/bin/sh\ntouch {host.folder}/started\n")
    assert host.discover(host.look("chrony")) == ()


def test_the_dhcp_copy_and_its_original_are_both_changed(host: Host) -> None:
    program = host.program("ntpsec", "ntpd")
    original = host.config("ntp.conf", "pool p\nrestrict default kod\n")
    copy = host.config("ntp.conf.dhcp", "server 192.0.2.5\nrestrict default kod\n")
    host.proc.process(20, program, "-c", copy, exe=program)
    (found,) = host.discover(host.look("ntpsec", mains=(original,), copies=((copy, original),)))
    assert found.config.main == original
    assert found.copy is not None
    assert found.copy.main == copy
    change = daemons.change(TimeService("client-only"), found)
    assert [file.path for file in change.files] == [original, copy]
    assert all("restrict default ignore" in file.text for file in change.files)
    assert "is a copy" in change.notes[-1]


def test_a_process_whose_program_we_may_not_see(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, "/usr/sbin/chronyd")
    (found,) = host.discover(replace(host.look("chrony"), programs=(program,)))
    assert (found.program, found.pid) == (program, 20)
