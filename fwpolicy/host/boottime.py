"""Time and boots as the kernel counts them: nobody sets these clocks, and no reboot keeps them."""

from __future__ import annotations

import os
import time
from pathlib import Path


def uptime() -> float:
    """Seconds since the boot, time asleep included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
    return int(fields[19]) / os.sysconf("SC_CLK_TCK") if len(fields) > 19 else None
