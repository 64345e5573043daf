"""Compiling, side by side in one run: CPU time and peak memory of `fwpolicy compile` and of its peers.

    python bench/compile.py [RUNS]

Each peer gets the same rules in its own language, and compiles to text as we do; so all start-up is in
the figures. `x ferm` and so on say how many times as much CPU a row took as that peer in the same run.
Read only those ratios: they hold to about a tenth from run to run, milliseconds to nothing. Whoever
takes more than three seconds is run once. Peers that are not installed are named and left out; foomuuri
is not one of them, for Debian 12 does not have it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import peers
from measure import Usage, side_by_side
from peers import Workload

PATIENCE_MS = 3000
COMPARED = ("ferm", "nftgen", "aerleon")
PEAK_MIB = 150


def workloads() -> list[Workload]:
    """Lines of a /24 and a port each, no two alike and in no order; every second address of a large group."""
    rules = tuple(
        (f"10.{n * 7919 % 65536 >> 8}.{n * 7919 % 256}.0/24", 1 + n * 104729 % 65535) for n in range(10_000)
    )
    group = tuple(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(0, 200_000, 2))
    return [
        *(Workload(f"{size:,} rules", rules[:size]) for size in (10, 1_000, 10_000)),
        Workload("100,000 addresses", group=group),
    ]


def compared(work: Workload, names: list[str], folder: Path, runs: int) -> dict[str, Usage]:
    commands = {}
    for name in names:
        place = folder / work.name.replace(" ", "-") / name
        place.mkdir(parents=True)
        commands[name] = peers.ALL[name](work, place)
    return side_by_side(commands, runs, PATIENCE_MS)


def table(title: str, found: dict[str, Usage]) -> None:
    beside = [name for name in COMPARED if name in found]
    heads = "".join(f"{f'x {name}':>11}" for name in beside)
    print(f"\n{title:20}{'CPU ms':>9}{'peak MiB':>10}{heads}")
    for name, spent in found.items():
        ratios = "".join(f"{spent.cpu_ms / found[each].cpu_ms:11.2f}" for each in beside)
        print(f"  {name:18}{spent.cpu_ms:9.0f}{spent.peak_mib:10.0f}{ratios}")


def aims(results: dict[str, dict[str, Usage]]) -> None:
    """What we want to be, and whether this run says that we are."""
    print()
    for title, found in results.items():
        ours = found["fwpolicy"]
        if title in ("10,000 rules", "100,000 addresses"):
            for name, most in (("ferm", 0.6), ("nftgen", 0.1), ("aerleon", 0.1)):
                if name in found:
                    _aim(f"{title}: x {name}", ours.cpu_ms / found[name].cpu_ms, most)
        elif title == "1,000 rules" and len(found) > 1:
            least = min(spent.cpu_ms for name, spent in found.items() if name not in ("fwpolicy", "proved"))
            _aim(f"{title}: x the fastest peer", ours.cpu_ms / least, 1)
    _aim("100,000 addresses: peak MiB", results["100,000 addresses"]["fwpolicy"].peak_mib, PEAK_MIB)


def _aim(what: str, is_now: float, most: float) -> None:
    print(f"{'reached' if is_now <= most else 'MISSED':8} {what:36} {is_now:7.2f}   (aim: at most {most})")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    names = [name for name in peers.ALL if peers.is_installed(name)]
    missing = [name for name in peers.ALL if name not in names]
    print(
        f"{runs} runs, {os.cpu_count()} CPUs" + (f"; not installed: {', '.join(missing)}" if missing else "")
    )
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for work in workloads():
            results[work.name] = compared(work, names, Path(folder), runs)
            table(work.name, results[work.name])
    aims(results)


if __name__ == "__main__":
    main()
