"""What a host that sysvinit boots needs to be one of the lab: a word that it is up, and a hand inside.

With systemd PID 1 starts a daemon, whoever asks for it; with sysvinit that is a child of the shell. A process
that the lab puts into a guest is without the clock's capability and without nspawn's filter of system calls:
ntpd would give up, or with the capability set the machine's clock. So what may start a daemon is run by init.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import time
from typing import TYPE_CHECKING

from .holder import ENVIRONMENT, CommandError

if TYPE_CHECKING:
    from pathlib import Path

READY = "/run/lab-ready"
_FOLDER = "/run/lab"
_HAND = "/etc/lab-hand"
_NUMBERS = itertools.count(1)

# inittab(5), without terminals.
_INITTAB = f"""\
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
{"".join(f"l{level}:{level}:wait:/etc/init.d/rc {level}{chr(10)}" for level in range(7))}\
ha:2345:respawn:/bin/sh {_HAND}
"""
# Runs one command after the other: a folder's `command`, when its name is told.
_SCRIPT = f"""\
mkdir -p {_FOLDER}
[ -p {_FOLDER}/told ] || mkfifo {_FOLDER}/told
touch {READY}
while read -r place < {_FOLDER}/told; do
    sh "$place/command" </dev/null >"$place/said" 2>"$place/errors"
    echo $? >"$place/status.new"
    mv "$place/status.new" "$place/status"
done
"""
FILES = {"/etc/inittab": _INITTAB, _HAND: _SCRIPT}


def ask(
    root: Path, command: tuple[str, ...], check: bool, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Have the init of the guest whose files are below `root` run a command; its output in text."""
    inside = f"{_FOLDER}/{next(_NUMBERS)}"
    place = root / inside[1:]
    place.mkdir()
    (place / "command").write_text(f"cd /; exec {shlex.join((*ENVIRONMENT, *command))}\n")
    with (root / f"{_FOLDER[1:]}/told").open("w") as told:
        told.write(f"{inside}\n")
    deadline = time.monotonic() + timeout
    while not (place / "status").exists():
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(command, timeout)
        time.sleep(0.01)
    status = int((place / "status").read_text())
    said, errors = ((place / name).read_text() for name in ("said", "errors"))
    if check and status:
        raise CommandError(f"{' '.join(command)}: exit {status}\n{said}{errors}")
    return subprocess.CompletedProcess(command, status, said, errors)
