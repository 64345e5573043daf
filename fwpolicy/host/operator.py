"""Where the person at this terminal comes from, over SSH.

sudo drops SSH_CONNECTION, and a terminal multiplexer keeps that of a session long gone; the socket
of the sshd above us says it as it is (proc(5); sshd(8) forks a process for each connection).
"""

from __future__ import annotations

from pathlib import Path

from fwpolicy.host import boottime, processes
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@record
class Operator:
    """`address`: theirs, as text, without an interface; `port`: ours, which they came to, at `here` ("" where
    nobody says). `began`: when the connection did, in seconds since the boot (boottime.uptime), None where
    that is unknown."""

    address: str
    port: int
    here: str = ""
    began: float | None = None


# Deeper than any shell: a cycle in a faked /proc ends here.
_DEEPEST = 64


def operator(environment: Mapping[str, str], proc: str = "/proc") -> Operator | None:
    """The operator of this process; None at a console, or where we may not know."""
    return (
        _by_socket(Path(proc))
        or _by_environment(environment.get("SSH_CONNECTION", ""))
        or _by_ancestors(Path(proc))
    )


def _by_ancestors(proc: Path) -> Operator | None:
    """What a shell above us was begun with, that sudo has dropped: in a terminal multiplexer no sshd is."""
    for pid in _ancestors(proc):
        try:
            words = (proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in words:
            if word.startswith(b"SSH_CONNECTION="):
                return _by_environment(word.partition(b"=")[2].decode(errors="replace"))
    return None


def _by_socket(proc: Path) -> Operator | None:
    """The topmost sshd with a connection: those below it hold forwarded ones, too."""
    found = None
    for pid in _ancestors(proc):
        if _field(proc, pid, "Name").startswith("sshd"):
            connections = processes.connections(pid, str(proc))
            # The lowest descriptor: sshd has the connection before anything is forwarded.
            found = (pid, connections[0]) if connections else found
    if found is None:
        return None
    pid, connection = found
    # sshd(8) forks a process for each connection, as soon as it is there.
    began = boottime.started(pid, str(proc))
    return Operator(_plain(connection.peer), connection.port, _plain(connection.address), began)


def _ancestors(proc: Path) -> Iterator[int]:
    pid = _parent(proc, "self")
    for _ in range(_DEEPEST):
        if pid <= 1:
            return
        yield pid
        pid = _parent(proc, pid)


def _parent(proc: Path, pid: int | str) -> int:
    text = _field(proc, pid, "PPid")
    return int(text) if text.isdigit() else 0


def _field(proc: Path, pid: int | str, name: str) -> str:
    try:
        lines = (proc / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _by_environment(connection: str) -> Operator | None:
    """ssh(1): client's address and port, server's address and port."""
    words = connection.split()
    if len(words) != 4 or not words[3].isdigit():
        return None
    peer, here = (_plain(word.partition("%")[0]) for word in (words[0], words[2]))
    return Operator(peer, int(words[3]), here)


def _plain(address: str) -> str:
    """An IPv4 peer of a socket for both families (RFC 4291 2.5.5.2) is written as IPv4."""
    return address.removeprefix("::ffff:") if "." in address else address
