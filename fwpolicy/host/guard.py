"""A process beside this one that runs a command if this one dies, or when a time is over.

It is of no terminal and no session of ours: a hang-up, a kill of the shell's process group and SIGKILL to
this process alone leave it alive. What ends a whole control group (logind.conf(5), KillUserProcesses) ends
it too; then the journal waits for the next command or the next boot.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from fwpolicy.host.boottime import uptime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

_DONE = b"done"
# A step of a longer sleep: a sleeper that nobody needs any more goes soon.
_NAP = 1.0


class Guard:
    """The near end of the line to the watching process."""

    def __init__(self, line: int) -> None:
        self._line = line

    def release(self) -> None:
        """All is well: the command will not run."""
        self._say(_DONE)

    def until(self, deadline: float, needed: str) -> None:
        """The command runs at `deadline` (boottime.uptime) if the file `needed` is still there then."""
        self._say(f"{deadline} {needed}".encode())

    def abandon(self) -> None:
        """As if this process had died: the command runs now."""
        self._say(b"")

    def _say(self, word: bytes) -> None:
        if self._line < 0:
            return
        line, self._line = self._line, -1
        with suppress(BrokenPipeError):
            if word:
                os.write(line, word)
        os.close(line)


def watch(command: tuple[str, ...], environment: Mapping[str, str]) -> Guard:
    """Start the watching process; it runs `command` (an absolute program first) in this process's network
    namespace. Raises OSError."""
    far, near = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _become_watcher(far, command, environment)
    os.close(far)
    os.waitpid(child, 0)
    return Guard(near)


def _become_watcher(line: int, command: tuple[str, ...], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.setsid()
        if os.fork() == 0:
            _settle(line)
            _wait(line)
            os.execve(command[0], command, dict(environment))  # noqa: S606 (no shell is meant)
    finally:
        os._exit(0)


def _settle(line: int) -> None:
    """Nothing of the parent's is kept: neither its lock, nor a pipe that somebody reads to its end."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) != line:
            _close(int(name))
    os.chdir("/")


def _close(descriptor: int) -> None:
    with suppress(OSError):  # what listed the folder is closed already
        os.close(descriptor)


def _wait(line: int) -> None:
    """Until the command is due; ends the process where it never will be."""
    said = os.read(line, 4096)
    if said == _DONE:
        os._exit(0)
    if not said:
        return
    moment, _, needed = said.decode().partition(" ")
    while uptime() < float(moment):
        if not os.path.exists(needed):  # noqa: PTH110
            os._exit(0)
        time.sleep(min(_NAP, max(0.0, float(moment) - uptime())))
