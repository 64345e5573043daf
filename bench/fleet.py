"""What many hosts cost: `check --all` and `compile --all` of 1,000 hosts that share 50 policies and
three invariants.

    python bench/fleet.py [HOSTS] [POLICIES]

Each verb with nothing kept, with everything kept, and after a line of one policy changed; and the diff as
a comment. Wall-clock time, for that is what a pipeline waits for, and CPU time of all processes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import ENVIRONMENT

from tests.fleet import generated

COLD, WARM = 60.0, 3.0


def spent(folder: Path, *words: str) -> tuple[float, float]:
    """(seconds, CPU seconds of all its processes) of one run of the program."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fwpolicy", *words],
        cwd=folder,
        env=ENVIRONMENT
        | {"XDG_CACHE_HOME": str(folder.parent / "cache"), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode not in (0, 2):
        raise RuntimeError(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def changed(folder: Path, number: int) -> None:
    """A line more in one role, which a fortieth of the hosts have."""
    path = folder / "policies" / "role-07.yaml"
    path.write_text(path.read_text().replace("  allow:\n", f"  allow:\n    - tcp/{number}\n", 1))


def told(what: str, found: tuple[float, float], most: float) -> None:
    seconds, cpu = found
    mark = "reached" if seconds <= most else "MISSED"
    print(f"{mark:8} {what:44} {seconds:7.2f} s {cpu:7.2f} s CPU   (aim: at most {most:.0f} s)")


def main() -> None:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    policies = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "repository"
        generated.write(folder, hosts, policies, invariants=True)
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *words], cwd=folder, check=True)
        print(f"{hosts:,} hosts, {policies} policies, {len(os.sched_getaffinity(0))} processors")
        told("check --all, nothing kept", spent(folder, "check", "--all", "--quiet"), COLD)
        compiled = ["compile", "--all", "-o", "../build", "--quiet"]
        told("compile --all after it", spent(folder, *compiled), COLD)
        told("compile --all, nothing kept", spent(folder, *compiled, "--no-cache"), COLD)
        told("check --all, all known", spent(folder, "check", "--all", "--quiet"), WARM)
        told("compile --all, all known", spent(folder, *compiled), WARM)
        changed(folder, 4711)
        told("check --all, one policy changed", spent(folder, "check", "--all", "--quiet"), WARM)
        changed(folder, 4712)
        told("compile --all, one policy changed", spent(folder, *compiled), WARM)
        told("diff --all of that", spent(folder, "diff", "--all", "git:HEAD", "--quiet"), COLD)


if __name__ == "__main__":
    main()
