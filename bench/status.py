"""`fwpolicy status` and `apply` where nothing differs, side by side in one run with `nft list ruleset`, and
with what ferm takes to load the same small policy (each time anew: it does not look).

Wall time, as an operator waits, and CPU time (user + system), interleaved, medians; only the ratios
travel. Needs root.

    python bench/status.py [ROUNDS]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from apply import networks
from namespace import cpu_ms, inside, interleaved, namespace, run

PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
SMALL = "version: 1\nname: small\ninput:\n  default: drop\n  allow: [ssh, http, https]\n"
LARGE = """\
version: 1
name: large
groups: {{abuse: {{file: {file}}}}}
input:
  default: drop
  allow: [ssh]
  block: [{{from: abuse}}]
"""
# The same for ferm, which loads iptables.
FERM = """\
domain (ip ip6) table filter chain INPUT {
    policy DROP;
    interface lo ACCEPT;
    mod state state (ESTABLISHED RELATED) ACCEPT;
    proto (icmp ipv6-icmp) ACCEPT;
    proto tcp dport (22 80 443) ACCEPT;
}
"""
COUNT = 100_000


def wall_ms(*command: str) -> float:
    begin = time.perf_counter()
    run(*command)
    return (time.perf_counter() - begin) * 1000


def compare(title: str, policy: str, folder: str, rounds: int) -> None:
    state = f"{folder}/{title}"
    with namespace("status") as name:
        host = ("--netns", name, "--state-dir", state)
        run(PROGRAM, "apply", "--quiet", "--no-persist", "--no-daemon", *host, policy)
        commands = {
            "nft list ruleset": inside(name, "nft", "list", "ruleset"),
            "fwpolicy status": [PROGRAM, "status", *host],
            "fwpolicy apply": [PROGRAM, "apply", "--no-persist", "--no-daemon", *host, policy],
            **_ferm(title, name, folder),
            "python -c pass": [sys.executable, "-c", "pass"],
        }
        ways = {
            (measure.__name__, what): lambda command=command, measure=measure: measure(*command)
            for what, command in commands.items()
            for measure in (wall_ms, cpu_ms)
        }
        found = interleaved(rounds, ways)
    print(f"{title:20} {'wall ms':>8} {'x nft':>6} {'CPU ms':>8} {'x nft':>6}    ({rounds} rounds)")
    for what in commands:
        wall, cpu = (found[measure, what] for measure in ("wall_ms", "cpu_ms"))
        over = [found[measure, "nft list ruleset"] for measure in ("wall_ms", "cpu_ms")]
        print(f"{what:20} {wall:8.1f} {wall / over[0]:6.2f} {cpu:8.1f} {cpu / over[1]:6.2f}")


def _ferm(title: str, name: str, folder: str) -> dict[str, list[str]]:
    """Where it is installed, of the small policy."""
    if title != "small" or not shutil.which("ferm"):
        return {}
    (Path(folder) / "ferm.conf").write_text(FERM)
    return {"ferm": inside(name, "ferm", f"{folder}/ferm.conf")}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(prefix="fwbench") as folder:
        (Path(folder) / "small.yaml").write_text(SMALL)
        feed = Path(folder) / "feed.txt"
        feed.write_text("".join(f"{each}\n" for each in networks(COUNT, (24, 32))))
        (Path(folder) / "large.yaml").write_text(LARGE.format(file=feed.name))
        for title in ("small", "large"):
            compare(title, f"{folder}/{title}.yaml", folder, rounds)
    print("aims, of wall time with a small policy, Python's start included: status 120 ms, apply 250 ms")


if __name__ == "__main__":
    main()
