"""An apply that strace(1) kills at its Nth system call that writes, and everything that watched it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from fwpolicy.record import record

if TYPE_CHECKING:
    from collections.abc import Callable

# Whatever changes a file, a folder, or (as netlink messages) the kernel's tables; and new processes.
WRITES = (
    *("write", "pwrite64", "writev", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir"),
    *(
        "mkdirat",
        "rmdir",
        "symlink",
        "symlinkat",
        "chmod",
        "fchmod",
        "fchmodat",
        "chown",
        "fchown",
        "fchownat",
    ),
    *("utimensat", "fsync", "fdatasync", "ftruncate", "setxattr", "fsetxattr", "sendto", "sendmsg"),
    *("fork", "clone", "execve"),
)


@record
class Call:
    """A system call: the `number`th of this name, from 1."""

    name: str
    number: int


def traced(work: Callable[[], None], log: Path, kill_at: Call | None = None) -> bool:
    """Run `work` in a process of its own; True if it came to its end. `log` gets a line for each call of
    WRITES; before the call `kill_at` the process is gone."""
    child = os.fork()
    if child == 0:
        _stop_then(work)
    os.waitpid(child, os.WUNTRACED)
    # strace(1) counts the calls of each name apart.
    inject = (f"--inject={kill_at.name}:signal=KILL:when={kill_at.number}",) if kill_at else ()
    traces = kill_at.name if kill_at else ",".join(WRITES)
    command = ["strace", "-qq", f"--attach={child}", f"--output={log}", f"--trace={traces}", *inject]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait_traced(child, tracer)
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    tracer.wait(20)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def _stop_then(work: Callable[[], None]) -> None:
    try:
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _wait_traced(child: int, tracer: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while not re.search(r"^TracerPid:\s+[1-9]", Path(f"/proc/{child}/status").read_text(), re.MULTILINE):
        assert tracer.poll() is None and time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.002)


def calls(log: Path) -> list[Call]:
    """The calls of the log, from the first that changes a file or folder by its name: until then nothing is
    begun."""
    names = re.findall(r"^(\w+)\(", log.read_text(errors="replace"), re.MULTILINE)
    counted: dict[str, int] = {}
    found = []
    for name in names:
        counted[name] = counted.get(name, 0) + 1
        found.append(Call(name, counted[name]))
    begun = next(
        number for number, name in enumerate(names) if name.startswith(("mkdir", "rename", "unlink"))
    )
    return found[begun:]


def copied(folder: Path, to: Path) -> Path:
    """The same files with their modes and times."""
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(folder, to, symlinks=True)
