"""A tightening over 100,000 connections, side by side in one run with `conntrack -D` of the same ones.

CPU time (user + system) of whole processes, interleaved, medians; only the ratios travel. Half of the
connections are denied. Needs root.

    python bench/purge.py [ROUNDS [CONNECTIONS]]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from namespace import cpu_ms, inside, interleaved, namespace, run

PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
OPEN = "version: 1\nname: p\ninput: {default: accept}\noutput: {default: accept}\n"
TIGHT = "version: 1\nname: p\ninput: {default: accept, block: [tcp/8080]}\noutput: {default: accept}\n"
ENTRY = (
    "-I -t 9000 -u SEEN_REPLY,ASSURED -p tcp --state ESTABLISHED -s {} -d 192.0.2.1 --sport {} --dport {}\n"
)


class Purge:
    """The files of one run: two policies and the connections, as conntrack(8) reads them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.state = folder, str(folder / "state")
        for name, text in (("open", OPEN), ("tight", TIGHT)):
            (folder / f"{name}.yaml").write_text(text)
        lines = (
            ENTRY.format(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1024 + n % 60000, (8080, 9090)[n % 2])
            for n in range(count)
        )
        (folder / "entries").write_text("".join(lines))

    def applied(self, *, full: bool) -> float:
        with namespace("purge") as name:
            self._prepare(name, full=full)
            return cpu_ms(*self._apply(name, "tight"))

    def by_conntrack(self) -> float:
        with namespace("purge") as name:
            self._prepare(name, full=True)
            return cpu_ms(*inside(name, "conntrack", "-D", "-p", "tcp", "--dport", "8080"))

    def _prepare(self, name: str, *, full: bool) -> None:
        run("ip", "-n", name, "address", "add", "192.0.2.1/24", "dev", "lo")
        run("ip", "-n", name, "link", "set", "lo", "up")
        shutil.rmtree(self.state, ignore_errors=True)
        run(*self._apply(name, "open"))
        if full:
            run(*inside(name, "conntrack", "-R", str(self.folder / "entries")))

    def _apply(self, name: str, policy: str) -> tuple[str, ...]:
        options = ("--quiet", "--no-persist", "--no-daemon", "--no-prove", "--netns", name)
        return (PROGRAM, "apply", *options, "--state-dir", self.state, str(self.folder / f"{policy}.yaml"))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    if not shutil.which("conntrack"):
        print("conntrack is not installed: left out")
        return
    with tempfile.TemporaryDirectory(prefix="fwbench") as folder:
        bench = Purge(Path(folder), count)
        medians = interleaved(
            rounds,
            {
                "conntrack -D": bench.by_conntrack,
                "fwpolicy apply, no connections": lambda: bench.applied(full=False),
                "fwpolicy apply": lambda: bench.applied(full=True),
            },
        )
    print(f"{count} connections, half denied, {rounds} rounds {'CPU ms':>8} {'x conntrack -D':>15}")
    for name, median in medians.items():
        print(f"{name:45} {median:8.0f} {median / medians['conntrack -D']:15.2f}")


if __name__ == "__main__":
    main()
