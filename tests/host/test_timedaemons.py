"""Daemons are found by process and by program, and their files read in the daemon's own order."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
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
        """The kind's, with this host's programs of its names."""
        look = daemons.daemon(kind).look
        names = {program.rpartition("/")[2] for program in look.programs}
        here = tuple(f"{self.folder}/bin/{name}" for name in sorted(names))
        return replace(look, programs=here, **changes)

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
    assert (found.units, found.group) == (("ntpsec", "ntpd"), "ntpsec.service")
    assert host.discover(*looks, kind="ntpd") == ()


@pytest.mark.parametrize(
    ("kind", "version"), [("ntpd", (4, 2, 8, 15)), ("openntpd", ()), ("chrony", (4, 3)), ("busybox", None)]
)
def test_the_kinds_are_told_apart(host: Host, kind: str, version: tuple[int, ...] | None) -> None:
    program = host.program(kind, "chronyd" if kind == "chrony" else "ntpd")
    host.proc.process(20, program, "-f", "/m", "-c", "/m", exe=program)
    found = host.discover(*[host.look(kind) for kind in ("ntpd", "ntpsec", "chrony", "openntpd")])
    assert [(one.config.kind, one.config.version) for one in found] == (
        [] if version is None else [(kind, version)]
    )


def test_running_ones_come_first_and_installed_ones_after(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, "-F", "1", exe=program)
    host.program("ntpd", "ntpd")
    found = host.discover(host.look("ntpd"), host.look("chrony"))
    assert [(one.config.kind, one.pid) for one in found] == [("chrony", 20), ("ntpd", None)]


def test_a_stranger_who_names_himself_chronyd_is_not_believed(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, "-f", "/etc/shadow", exe=program, uid=54321)
    assert [one.pid for one in host.discover(host.look("chrony"))] == [None]


def test_a_program_that_others_can_write_is_not_started(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    Path(program).chmod(0o777)
    host.proc.process(20, program, exe=program)
    Path(program).write_text(f"#!/bin/sh\ntouch {host.folder}/started\n# {SAYS['chrony']}")
    (found,) = host.discover(host.look("chrony"))
    assert found.trouble == f"{program} is not started: others than root can change {program}"
    (host.proc.folder / "20/exe").unlink()
    (host.proc.folder / "20/cmdline").write_bytes(b"sh\0")
    (found,) = host.discover(host.look("chrony", version=r"chronyd \(chrony\) version (\d+)\.(\d+)"))
    assert (found.pid, found.config.version, found.check, found.trouble) == (None, (4, 3), (), "")


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
    (found,) = host.discover(host.look("chrony"))
    assert (found.program, found.pid) == (program, 20)


# What a process says is checked


def account(host: Host, monkeypatch: pytest.MonkeyPatch) -> int:
    """The user ID of the daemon's account _chrony."""
    monkeypatch.setattr(timedaemons, "_users", lambda files: {4242: "_chrony"})
    return 4242


@pytest.mark.parametrize("gone", ["", " (deleted)"])
def test_a_program_elsewhere_is_not_the_daemon(
    host: Host, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    uid = account(host, monkeypatch)
    program = host.program("chrony", "chronyd")
    script = f"#!/bin/sh\ntouch {host.folder}/started\necho '{SAYS['chrony']}'\n"
    theirs = str(host.folder) + put(host.folder, "/var/lib/chrony/chronyd", script, 0o755)
    host.proc.process(20, program, "-f", "/etc/shadow", exe=theirs + gone, uid=uid, unit="chrony.service")
    found = host.discover(host.look("chrony"))
    assert [(one.pid, one.check[:1]) for one in found] == [(20, ()), (None, (program,))]
    assert found[0].config.files == ()
    assert found[0].trouble == (
        f"process 20 runs {theirs}, which is not where chrony is installed ({program}): not ours to configure"
    )


def test_a_program_that_an_upgrade_replaced_is_the_daemon(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, exe=f"{program} (deleted)")
    (found,) = host.discover(host.look("chrony"))
    assert (found.program, found.pid, found.check[0], found.trouble) == (program, 20, program, "")
    Path(program).unlink()
    (found,) = host.discover(host.look("chrony"))
    assert found.trouble == f"process 20 runs {program}, which is no longer there to be asked what it is"


def test_links_of_the_system_to_a_program_are_followed(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    (host.folder / "sbin").symlink_to("bin")
    host.proc.process(20, program, exe=program)
    named = f"{host.folder}/sbin/chronyd"
    (found,) = host.discover(replace(host.look("chrony"), programs=(named,)))
    assert (found.program, found.pid, found.trouble) == (named, 20, "")


def test_a_configuration_that_others_can_change_is_not_ours(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = account(host, monkeypatch)
    program = host.program("chrony", "chronyd")
    secret = host.config("shadow", "root:x\n")
    theirs = host.folder / "var/lib/chrony"
    theirs.mkdir(parents=True)
    theirs.chmod(0o777)
    (theirs / "chrony.conf").symlink_to(secret)
    whole = f"{theirs}/chrony.conf"
    host.proc.process(20, program, "-f", whole, exe=program, uid=uid)
    (found,) = host.discover(host.look("chrony"))
    assert (found.config.main, found.config.files, found.check) == (whole, (), ())
    assert found.trouble == (
        f"process 20 says that its configuration is {whole}, "
        f"and others than root can change {theirs}: not ours to configure"
    )
    (found,) = host.discover(host.look("chrony", mains=(whole,)))
    assert found.config.files == ()
    assert found.trouble.startswith(f"its configuration was not read: cannot open {whole}: it is behind a ")


@pytest.mark.parametrize(
    ("name", "uid", "why"),
    [
        ("chrony-lab.conf", 4242, ""),
        ("shadow", 0, ""),
        ("shadow", 4242, ", a file that is not named like one (chrony*.conf): not ours to configure"),
        ("chrony-none.conf", 4242, ", a file that is not there: not ours to configure"),
    ],
)
def test_a_daemon_without_roots_rights_points_at_no_other_file_of_roots(
    host: Host, monkeypatch: pytest.MonkeyPatch, name: str, uid: int, why: str
) -> None:
    account(host, monkeypatch)
    program = host.program("chrony", "chronyd")
    for each in ("shadow", "chrony-lab.conf"):
        host.config(each, "server a\n")
    main = f"{host.folder}/etc/{name}"
    host.proc.process(20, program, "-f", main, exe=program, uid=uid)
    (found,) = host.discover(host.look("chrony"))
    assert found.trouble == (f"process 20 says that its configuration is {main}{why}" if why else "")


def test_what_a_process_says_is_shown_escaped(host: Host) -> None:
    program = host.program("chrony", "chronyd")
    host.proc.process(20, program, "-f", f"{host.folder}/proc/net/../../../\x1b[2J", exe=program)
    host.folder.parent.chmod(0o777)
    (found,) = host.discover(host.look("chrony"))
    host.folder.parent.chmod(0o700)
    assert "\x1b" not in found.trouble + found.config.main
    assert r"\x1b[2J" in found.config.main


def test_the_service_counts_not_what_was_started_beside_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = account(host, monkeypatch)
    program = host.program("chrony", "chronyd")
    host.proc.process(19, program, exe=program, uid=uid, unit="ssh.service")
    host.proc.process(20, program, exe=program, uid=uid, unit="chrony.service")
    (found,) = host.discover(host.look("chrony"))
    assert (found.pid, found.group) == (20, "chrony.service")


def test_what_others_can_change_includes_no_file_of_roots(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/ntpd", HOLDS["ntpsec"])
    put(tmp_path, "/etc/ntpsec/ntp.conf", "includefile more.conf\n")
    put(tmp_path, "/etc/ntpsec/more.conf", "server a\n")
    put(tmp_path, "/etc/frr.conf", "enable password x\n")
    copy = tmp_path / "run/ntpsec/ntp.conf.dhcp"
    put(tmp_path, "/run/ntpsec/own.conf")
    copy.parent.chmod(0o777)
    copy.write_text("includefile /etc/ntpsec/more.conf\nincludefile own.conf\n")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert found.copy is not None
    assert [file.path for file in found.copy.files][1:] == ["/etc/ntpsec/more.conf", "/run/ntpsec/own.conf"]
    copy.write_text("includefile /etc/frr.conf\n")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert found.copy is None
    assert found.trouble == (
        "its configuration was not read: /run/ntpsec/ntp.conf.dhcp, "
        "which others than root can change, includes /etc/frr.conf"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("include /etc/out.conf\n", "cannot open /etc/out.conf: it leads out of "),
        ("include /etc/loop.conf\n", "cannot open /etc/loop.conf: too many symbolic links"),
        ("confdir /etc/loop.conf\n", "cannot open /etc/loop.conf: too many symbolic links"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_trouble_of_its_daemon_alone(
    tmp_path: Path, text: str, why: str
) -> None:
    put(tmp_path, "/usr/sbin/chronyd", HOLDS["chrony"])
    put(tmp_path, "/usr/sbin/ntpd", HOLDS["ntpsec"])
    put(tmp_path, "/etc/ntpsec/ntp.conf", "server a\n")
    put(tmp_path, "/etc/chrony/chrony.conf", text)
    (tmp_path / "etc/out.conf").symlink_to("../../out")
    (tmp_path / "etc/loop.conf").symlink_to("loop.conf")
    ntpsec, chrony = daemons.discover(Files(str(tmp_path)))
    assert (ntpsec.trouble, len(ntpsec.config.files)) == ("", 1)
    assert chrony.config.main == "/etc/chrony/chrony.conf"
    assert chrony.trouble.startswith(f"its configuration was not read: {why}")


def test_a_main_file_that_cannot_be_read_is_not_passed_over_for_another(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/chronyd", HOLDS["chrony"])
    put(tmp_path, "/etc/chrony.conf")
    (tmp_path / "etc/chrony").mkdir()
    (tmp_path / "etc/chrony/chrony.conf").symlink_to("../../../out")
    (found,) = daemons.discover(Files(str(tmp_path)))
    assert "cannot open /etc/chrony/chrony.conf: it leads out of" in found.trouble


@pytest.mark.kernel
def test_a_real_process_of_the_daemons_account_makes_root_start_and_write_nothing() -> None:
    user = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as own:
        folder = Path(name)
        folder.chmod(0o755)
        theirs = Path(own) / "chronyd"
        shutil.copy(os.path.realpath("/bin/sh"), theirs)
        os.chown(own, user.pw_uid, user.pw_gid)
        os.chown(theirs, user.pw_uid, user.pw_gid)
        installed = put(folder, "/sbin/chronyd")
        secret = name + put(folder, "/etc/shadow", "root:x\n")
        shutil.copy("/bin/sh", name + installed)
        link = Path(own) / "chrony.conf"
        link.symlink_to(secret)
        look = replace(
            daemons.daemon("chrony").look, programs=(name + installed,), version="", accounts=("nobody",)
        )
        for program, main, why in (
            (str(theirs), secret, f"runs {theirs}, which is not where chrony is installed"),
            (name + installed, secret, "is not named like one"),
            (name + installed, str(link), f"others than root can change {own}: not ours"),
        ):
            Path(program).chmod(0o755)
            command = (program, "-c", "read forever", "chronyd", "-f", main)
            with subprocess.Popen(command, user="nobody", group=user.pw_gid, stdin=subprocess.PIPE) as daemon:
                if program == str(theirs):
                    # Swapped while it runs: /proc calls the old one deleted.
                    theirs.unlink()
                    theirs.write_text(f"#!/bin/sh\ntouch {own}/started\n")
                    theirs.chmod(0o755)
                found = timedaemons.discover(Files(), (look,))
                daemon.kill()
            (one,) = [each for each in found if each.pid == daemon.pid]
            assert why in one.trouble
            assert (one.config.files, one.copy, one.check) == ((), None, ())
            assert not (Path(own) / "started").exists()
