"""A cgroup for each host: with --keep-unit nspawn builds its tree below the cgroup it is started in."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

# Unified, or the hybrid layout's two that systemd uses (systemd.io/CGROUP_DELEGATION).
_TOPS = tuple(Path("/sys/fs/cgroup") / name for name in ("", "unified", "systemd"))
_NAME = re.compile(r"fwlab-(\d+)-.*")
# A process that moves itself and then becomes the command: no moment outside, no preexec_fn,
# which is not safe in a process with threads.
_ENTER = """
import os, sys
split = sys.argv.index("--")
for directory in sys.argv[1:split]:
    with open(directory + "/cgroup.procs", "w") as procs:
        procs.write("0")
os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
"""


def launcher(name: str) -> tuple[str, ...]:
    """The words before a command that start it in the cgroup of the host `name`."""
    directories = [top / f"fwlab-{os.getpid()}-{name}" for top in _TOPS if (top / "cgroup.procs").exists()]
    for directory in directories:
        directory.mkdir(exist_ok=True)
    return (sys.executable, "-I", "-S", "-c", _ENTER, *map(str, directories), "--")


def remove(name: str) -> None:
    """Remove the cgroup of the host `name`, once its processes are gone."""
    for top in _TOPS:
        remove_tree(top / f"fwlab-{os.getpid()}-{name}")


def remove_stale() -> None:
    """Remove what test runs that are no more left behind."""
    for top in filter(Path.is_dir, _TOPS):
        for directory in top.iterdir():
            match = _NAME.fullmatch(directory.name)
            if match and not Path(f"/proc/{match[1]}").exists():
                remove_tree(directory)


def of_lxc() -> set[Path]:
    """The cgroups that LXC makes at the top of every hierarchy; it leaves some behind."""
    tops = [Path("/sys/fs/cgroup"), *(path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir())]
    return {path for top in tops for path in top.glob("lxc.*")}


def remove_tree(top: Path) -> None:
    """Remove what is empty of a tree of cgroups."""
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
