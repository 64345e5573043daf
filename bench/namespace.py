"""What benches that need a kernel share: namespaces of their own, CPU time, interleaved rounds."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# As an installed program runs: its modules compiled by the first round, and kept.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def namespace(suffix: str) -> Iterator[str]:
    """A new network namespace by name, gone afterwards."""
    name = f"fwbench-{os.getpid()}-{suffix}"
    run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        run("ip", "netns", "del", name)


def inside(name: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


def run(*command: str, **options: str) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=ENVIRONMENT, input=options.get("input")
    )
    return done.stdout


def cpu_ms(*command: str) -> float:
    """CPU milliseconds (user and system) of one run of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def interleaved(
    rounds: int,
    contenders: dict[str, Callable[[], float]],
    of: Callable[[list[float]], float] = statistics.median,
) -> dict[str, float]:
    """The median of each, or what `of` makes of them: one of everything a round, the first of which only
    warms the caches."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            spent = measure()
            if number:
                found[name].append(spent)
    return {name: of(each) for name, each in found.items()}
