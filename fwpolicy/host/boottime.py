"""Time and boots as the kernel counts them: nobody sets these clocks, and no reboot keeps them."""

from __future__ import annotations

import os
import time
from pathlib import Path


def uptime() -> float:
    """Seconds since the boot, time asleep included (CLOCK_BOOTTIME, clock_gettime(2)): the host's, which
    every time namespace counts from (time_namespaces(7))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _offset()


def _offset(proc: str = "/proc") -> float:
    """What is added in the time namespace that we are in; the file is about the one of our children."""
    own = Path(proc, "self")
    try:
        if (own / "ns/time").readlink() != (own / "ns/time_for_children").readlink():
            return 0.0
        rows = [line.split() for line in (own / "timens_offsets").read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0.0
    return sum(int(whole) + int(rest) / 1e9 for clock, whole, rest in rows if clock == "boottime")


def boot() -> str:
    """What names this boot and no other (random(4)); "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def started(pid: int, proc: str = "/proc") -> float | None:
    """When the process began, in seconds since the boot (field 22 of proc_pid_stat(5)); None: unknown."""
    try:
        text = Path(proc, str(pid), "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in brackets, and may hold anything, brackets too.
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK") - _offset(proc) if len(fields) > 19 else None
