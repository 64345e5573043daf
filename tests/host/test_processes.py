"""/proc is read as the kernel writes it; the last tests read the real one."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from fwpolicy.host import processes
from fwpolicy.host.processes import Listener, Process
from tests.host.fakeproc import FakeProc


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def test_processes(proc: FakeProc) -> None:
    proc.process(
        7, "/usr/sbin/chronyd", "-F", "1", exe="/usr/sbin/chronyd (deleted)", uid=101, unit="chrony.service"
    )
    proc.process(3, "ntpd:", exe="/usr/sbin/ntpd", parent=7)
    proc.process(2)
    proc.process(9, "/usr/sbin/ntpd", exe="/usr/sbin/ntpd", namespace="2")
    assert processes.processes(str(proc.folder)) == (
        Process(3, 7, "ntpd:", "/usr/sbin/ntpd", ("ntpd:",)),
        Process(
            7, 1, "chronyd", "/usr/sbin/chronyd", ("/usr/sbin/chronyd", "-F", "1"), 101, "chrony.service"
        ),
    )


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("0::/system.slice/chrony.service", "chrony.service"),
        ("0::/system.slice/ssh.service", "ssh.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/chrony.service", "user@0.service"),
        ("0::/user.slice/user-0.slice/session-3.scope", ""),
        ("0::/", ""),
    ],
)
def test_the_unit_is_the_managers_own(proc: FakeProc, group: str, unit: str) -> None:
    proc.process(7, "chronyd")
    (proc.folder / "7" / "cgroup").write_text(group + "\n")
    assert processes.processes(str(proc.folder))[0].unit == unit


def test_namespaces_that_we_may_not_see_count_as_ours(proc: FakeProc) -> None:
    proc.process(7, "ntpd", namespace="2")
    for kind in ("net", "pid"):
        (proc.folder / "7" / "ns" / kind).unlink()
    assert [process.pid for process in processes.processes(str(proc.folder))] == [7]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("ntpd -c /a", "/a"),
        ("ntpd -c/a -g", "/a"),
        ("ntpd -gNc /a", "/a"),
        ("ntpd -p -c -c /b", "/b"),
        ("ntpd -u ntp:ntp -pc /a", None),
        ("ntpd --configfile=/a", "/a"),
        ("ntpd --configfile /a -g", "/a"),
        ("ntpd -c /a -c /b", "/b"),
        ("ntpd -c", ""),
        ("ntpd: ntp engine", None),
    ],
)
def test_option(arguments: str, value: str | None) -> None:
    assert processes.option(tuple(arguments.split()), "c", "cpu", "configfile") == value


def test_listeners(proc: FakeProc) -> None:
    proc.process(7, "/usr/sbin/ntpd")
    proc.process(8, "ntpd-child", parent=7)
    proc.socket("udp", "00000000", 123, 100, pid=8)
    proc.socket("udp", "c0000201", 123, 101, state="01")
    proc.socket("udp", "7f000001", 323, 102)
    proc.socket("udp6", "20010db8000000000000000000000001", 123, 103, pid=7)
    proc.socket("tcp6", "0" * 32, 4460, 104, pid=7, state="0A")
    (proc.folder / "7" / "fd" / "100").symlink_to("socket:[100]")
    assert processes.listeners("udp", 123, str(proc.folder)) == (
        Listener("udp", 4, "0.0.0.0", 123, 7, "ntpd"),
        Listener("udp", 6, "2001:db8::1", 123, 7, "ntpd"),
    )
    assert processes.listeners("udp", proc=str(proc.folder))[1] == Listener(
        "udp", 4, "127.0.0.1", 323, None, ""
    )
    assert processes.listeners("tcp", 4460, str(proc.folder)) == (Listener("tcp", 6, "::", 4460, 7, "ntpd"),)


def test_own_addresses(proc: FakeProc) -> None:
    (proc.folder / "net" / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "Local:\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 192.0.2.1\n        /32 host LOCAL\n"
        "     |-- 192.0.2.255\n        /32 link BROADCAST\n"
    )
    (proc.folder / "net" / "if_inet6").write_text("20010db8000000000000000000000001 02 40 00 80 eth0\n")
    assert processes.own_addresses(str(proc.folder)).prefixes() == ("127.0.0.0/8", "192.0.2.1", "2001:db8::1")


def test_a_proc_without_networking_is_empty(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    assert processes.listeners("udp", proc=str(tmp_path)) == ()
    assert not processes.own_addresses(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="needs the real /proc")
def test_the_real_proc() -> None:
    me = next(process for process in processes.processes() if process.pid == os.getpid())
    assert Path(me.exe) == Path(sys.executable).resolve()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        (found,) = processes.listeners("udp", port)
    assert (found.family, found.address, found.pid) == (4, "127.0.0.1", os.getpid())
    assert (4, 0x7F000001) in processes.own_addresses()
