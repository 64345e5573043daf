"""What the benchmarks share: CPU time and memory of whole processes, side by side in one run.

Contenders take turns, so that whatever else the machine does slows all of them; medians; only the
ratios travel from one machine to another.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from typing import NamedTuple

# As an installed program runs: its modules compiled by the first round, and kept.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Usage(NamedTuple):
    """CPU time (user + system) and the largest resident set, which is never below this program's own."""

    cpu_ms: float
    peak_mib: float


def usage(command: list[str], well: tuple[int, ...] = (0,)) -> Usage:
    """Of one run of `command`. Raises CalledProcessError where it does not end with one of `well`."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    ) as process:
        _, status, spent = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in well:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Usage((spent.ru_utime + spent.ru_stime) * 1000, spent.ru_maxrss / 1024)


def side_by_side(
    contenders: dict[str, list[str]], runs: int, patience_ms: float = float("inf")
) -> dict[str, Usage]:
    """The median of `runs` rounds, after one that warms the caches.

    Who takes longer than `patience_ms` in that one is not run again; who fails in it is named and left out.
    """
    found: dict[str, list[Usage]] = {}
    once: dict[str, Usage] = {}
    for name, command in contenders.items():
        try:
            first = usage(command)
        except subprocess.CalledProcessError as error:
            print(f"{name} failed: {error}")
            continue
        found[name] = []
        if first.cpu_ms > patience_ms:
            once[name] = first
    for _ in range(runs):
        for name in found.keys() - once.keys():
            found[name].append(usage(contenders[name]))
    return {name: once.get(name) or _median(each) for name, each in found.items()}


def _median(of: list[Usage]) -> Usage:
    return Usage(*(statistics.median(column) for column in zip(*of, strict=True)))
