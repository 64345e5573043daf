"""fwpolicy init against real sockets, in a network namespace of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwpolicy.cli import main
from tests.lab import netns as spaces
from tests.lab.holder import run

pytestmark = pytest.mark.kernel

CHECKOUT = Path(__file__).parents[2]
V4, V6 = "192.0.2.1", "2001:db8::1"
# As much of sshd as /proc shows: a process of its name with the connection, and children below it.
SSHD = """
import ctypes, socket, subprocess, sys
ctypes.CDLL(None).prctl(15, b"sshd", 0, 0, 0)
connection, _ = socket.create_server(("192.0.2.1", 2222)).accept()
done = subprocess.run(sys.argv[1:])
sys.exit(done.returncode)
"""


@pytest.fixture
def host(netns: str):
    """A namespace with addresses of both families; `listen` opens sockets in it."""
    run("ip", "-n", netns, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    run("ip", "-n", netns, "address", "add", f"{V4}/24", "dev", "eth0")
    run("ip", "-n", netns, "address", "add", f"{V6}/64", "dev", "eth0", "nodad")
    run("ip", "-n", netns, "link", "set", "eth0", "up")
    with contextlib.ExitStack() as stack:
        yield Host(netns, stack)


class Host:
    def __init__(self, name: str, stack: contextlib.ExitStack) -> None:
        self.name, self.stack = name, stack

    def listen(self, kind: str, address: str, port: int) -> None:
        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            found = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind((address, port))
            if kind == "tcp":
                found.listen()
            return found

        self.stack.enter_context(spaces.call(make, f"/run/netns/{self.name}"))

    def command(self, *arguments: str, before: tuple[str, ...] = (), **options) -> str:
        return run(*self.words(*arguments, before=before), cwd=CHECKOUT, env=environment(), **options).stdout

    def words(self, *arguments: str, before: tuple[str, ...] = ()) -> tuple[str, ...]:
        inside = ("ip", "netns", "exec", self.name)
        return (*inside, *before, sys.executable, "-m", "fwpolicy", *arguments)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}


def checked(text: str, folder: Path, capsys) -> str:
    """The text, which `check` takes without a word; what it says is returned."""
    path = folder / "first.yaml"
    path.write_text(text)
    capsys.readouterr()
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def allowed(text: str) -> set[str]:
    return {line.split("#")[0].strip(" -") for line in text.splitlines() if line.startswith("    - ")}


def test_the_listeners_of_a_namespace(host, tmp_path, capsys):
    for kind, address, port in (
        *(("tcp", "0.0.0.0", 22), ("tcp", "::", 22), ("tcp", V4, 80), ("tcp", V6, 443)),
        *(("udp", "0.0.0.0", 53), ("tcp", "0.0.0.0", 53), ("udp", "::", 5353), ("udp", V6, 9999)),
        *(("tcp", "127.0.0.1", 5432), ("tcp", "::1", 6379), ("udp", "127.0.0.1", 323)),
        ("udp", "0.0.0.0", 40123),
    ):
        host.listen(kind, address, port)
    text = host.command("init")
    assert allowed(text) == {"ping", "ssh", "http", "https", "dns", "udp/5353", "udp/9999"}
    for port in ("tcp/5432", "tcp/6379", "udp/323"):
        assert f"    # {port}: " in text
    assert "    # udp/40123: " in text and f"on {V4} only" in text
    assert "input: default drop, output: default accept" in checked(text, tmp_path, capsys)
    assert main(["init", "--netns", host.name]) == 0
    assert capsys.readouterr().out == text


def test_the_operator_by_the_socket_of_sshd(host, tmp_path, capsys):
    words = host.words("init", before=(sys.executable, "-c", SSHD))
    with subprocess.Popen(words, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, text=True) as sshd:
        host.stack.enter_context(spaces.call(connected, f"/run/netns/{host.name}"))
        text, _ = sshd.communicate(timeout=60)
    assert sshd.returncode == 0
    assert f"operators: [{V4}]" in text
    assert "{allow: tcp/2222, from: operators}" in text and "keeps you in" in text
    assert allowed(text) == {"ping", "tcp/2222"}
    assert "2 tests held" in checked(text, tmp_path, capsys)


def connected() -> socket.socket:
    """A connection to the sshd above, as soon as it listens."""
    for _ in range(300):
        try:
            return socket.create_connection((V4, 2222))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


def test_a_time_daemon_that_nobody_can_ask(host, tmp_path, capsys):
    program = tmp_path / "systemd-timesyncd"
    shutil.copy(os.path.realpath(sys.executable), program)
    words = (
        "ip",
        "netns",
        "exec",
        host.name,
        str(program),
        "-c",
        "import time; print(1, flush=True); time.sleep(99)",
    )
    home = {"PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(words, env=os.environ | home, stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout.readline()
            text = host.command("init")
        finally:
            daemon.kill()
    assert "  ntp: client-only" in text and "timesyncd runs here" in text
    assert "role ntp: client-only" in checked(text, tmp_path, capsys)


def test_a_role_of_ones_own_choice(host, tmp_path, capsys):
    host.listen("udp", "::", 123)
    text = host.command("init", "ntp-closed")
    assert "    # udp/123: " in text and "role ntp: closed" in checked(text, tmp_path, capsys)


def test_nothing_is_overwritten(host, tmp_path, capsys):
    path = tmp_path / "first.yaml"
    assert main(["init", "-o", str(path), "--netns", host.name]) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and f"wrote {path}" in shown.err
    before = path.read_bytes()
    assert main(["init", "-o", str(path), "--netns", host.name]) == 1
    assert "exists, and is not overwritten" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert main(["init", "-o", str(tmp_path / "link"), "--netns", host.name]) == 1
    assert main(["init", "-o", str(tmp_path / "no" / "such"), "--netns", host.name]) == 1
    assert path.read_bytes() == before and not (tmp_path / "elsewhere").exists()
