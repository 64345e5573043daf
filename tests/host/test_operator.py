"""The operator is found through sshd's socket, else by what ssh told the shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.host import processes
from fwpolicy.host.operator import Operator, operator
from fwpolicy.host.processes import Connection
from tests.host.fakeproc import FakeProc

US, THEM = "c0000201", "c6336407"


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """Under sudo: sshd listens, forks a monitor as root, which forks the user's."""
    fake = FakeProc(tmp_path / "proc")
    (fake.folder / "self" / "status").write_text("Name:\tpython3\nPPid:\t14\n")
    fake.process(10, "sshd")
    fake.process(11, "sshd-session", parent=10)
    fake.process(12, "sshd-session", parent=11, uid=1000)
    fake.process(13, "bash", parent=12, uid=1000)
    fake.process(14, "sudo", parent=13)
    fake.socket("tcp", "00000000", 22, 100, pid=10, state="0A")
    return fake


def test_by_the_socket_of_sshd(proc: FakeProc) -> None:
    proc.socket("tcp", US, 22, 300, pid=11, state="01", peer=(THEM, 40000))
    (proc.folder / "12" / "fd" / "300").symlink_to("socket:[300]")
    # What the user forwards: sshd connects to it, with a lower inode for once.
    proc.socket("tcp", "7f000001", 50000, 200, pid=12, state="01", peer=("7f000001", 5432))
    assert operator({}, str(proc.folder)) == Operator("198.51.100.7", 22, "192.0.2.1")
    stale = {"SSH_CONNECTION": "203.0.113.1 5 192.0.2.1 22"}
    assert operator(stale, str(proc.folder)) == Operator("198.51.100.7", 22, "192.0.2.1")


def test_the_lowest_descriptor_is_the_connection(proc: FakeProc) -> None:
    proc.socket("tcp", US, 22, 4, pid=11, state="01", peer=(THEM, 40000))
    proc.socket("tcp", US, 8080, 10, pid=11, state="01", peer=("cb007101", 40000))
    assert [each.port for each in processes.connections(11, str(proc.folder))] == [22, 8080]
    assert operator({}, str(proc.folder)) == Operator("198.51.100.7", 22, "192.0.2.1")


def test_an_ipv4_peer_of_an_ipv6_socket(proc: FakeProc) -> None:
    mapped = "00000000000000000000ffff"
    proc.socket("tcp6", mapped + US, 2222, 300, pid=11, state="01", peer=(mapped + THEM, 40000))
    assert operator({}, str(proc.folder)) == Operator("198.51.100.7", 2222, "192.0.2.1")
    assert processes.connections(11, str(proc.folder)) == (
        Connection("::ffff:192.0.2.1", 2222, "::ffff:198.51.100.7", 40000),
    )


@pytest.mark.parametrize(
    ("connection", "found"),
    [
        ("198.51.100.7 40000 192.0.2.1 22", Operator("198.51.100.7", 22, "192.0.2.1")),
        ("fe80::1%eth0 40000 fe80::2%eth0 2222", Operator("fe80::1", 2222, "fe80::2")),
        ("", None),
        ("198.51.100.7 40000", None),
        ("a b c d", None),
    ],
)
def test_by_the_environment(connection: str, found: Operator | None, proc: FakeProc) -> None:
    assert operator({"SSH_CONNECTION": connection}, str(proc.folder)) == found


def test_nobody(tmp_path: Path) -> None:
    assert operator({}, str(tmp_path)) is None
    assert processes.connections(1, str(tmp_path)) == ()


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    fake = FakeProc(tmp_path / "proc")
    fake.process(5, "a", parent=6)
    fake.process(6, "b", parent=5)
    (fake.folder / "self" / "status").write_text("PPid:\t5\n")
    assert operator({}, str(fake.folder)) is None


def test_ephemeral_ports(tmp_path: Path) -> None:
    assert processes.ephemeral_ports(str(tmp_path)) == (32768, 60999)
    first, last = processes.ephemeral_ports()
    assert 0 < first < last < 65536


def test_in_a_terminal_multiplexer_a_shell_above_sudo_remembers(proc: FakeProc) -> None:
    """No sshd is above its server, and sudo has dropped what ssh said. When it began nobody knows."""
    (proc.folder / "13" / "environ").write_bytes(b"HOME=/\0SSH_CONNECTION=198.51.100.7 40000 192.0.2.1 22\0")
    assert operator({}, str(proc.folder)) == Operator("198.51.100.7", 22, "192.0.2.1", None)
