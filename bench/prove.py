"""What the proofs cost: CPU time and peak memory of `fwpolicy prove`, and of questions to foreign rulesets.

    python bench/prove.py [RUNS]

Policies of 1,000 and 10,000 lines with zones, port lists and groups of 1 to 1,000 prefixes (about 7 prefixes
for each line in all), and one with 100,000 addresses in a single group. `prove` reads the policy, compiles
it, reads the text with the model's own front end and compares; what compiling alone takes is subtracted.
`lint` finds the idle lines of the same policies.
Foreign: iptables-save text as a node of a cluster with 400 services has it, explained and compared with
itself after a change.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import usage

from tests.model.foreign import kubernetes

PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
# What `lint` and `diff` end with where they found nothing, or something (docs/cli.md). A `check` has to hold.
FOUND = (0, 2, 3)

# (seconds of CPU, MiB) at most, as the project aims.
AIMS = {"1,000 lines": (1.5, None), "10,000 lines": (10.0, 300.0), "100,000 addresses": (1.0, None)}
FOREIGN = 3.0
# Seconds of CPU that `lint` takes in all.
LINT = {"1,000 lines": 1.5, "10,000 lines": 10.0}


def policy(lines: int, seed: int = 5) -> str:
    """A policy of so many lines, nine in ten of them `allow`."""
    draw = random.Random(seed)
    groups = max(10, lines // 20)
    text = ["version: 1", "groups:"]
    for number in range(groups):
        members = {_prefix(draw) for _ in range(int(10 ** draw.uniform(0, 3)))}
        text.append(f"  g{number}: [{', '.join(sorted(members))}]")
    text.append("zones: {" + ", ".join(f"z{n}: eth{n}" for n in range(12)) + "}")
    text += ["input:", "  default: drop", "  allow:"]
    text += [_line(draw, groups) for _ in range(lines * 9 // 10)]
    text += ["  block:", *(_line(draw, groups) for _ in range(lines // 10)), "output: {default: accept}"]
    return "\n".join(text) + "\n"


def _prefix(draw: random.Random) -> str:
    if draw.random() < 0.8:
        return f"{draw.randrange(1, 224)}.{draw.randrange(256)}.{draw.randrange(256)}.0/24"
    return f'"2001:db8:{draw.randrange(1, 65536):x}:{draw.randrange(1, 65536):x}::/64"'


def _line(draw: random.Random, groups: int) -> str:
    ports = [f"tcp/{draw.randrange(1, 60000)}" for _ in range(draw.choice((1, 1, 1, 2, 4)))]
    zone = f", in: z{draw.randrange(12)}" if draw.random() < 0.4 else ""
    return f"    - {{service: [{', '.join(ports)}], from: g{draw.randrange(groups)}{zone}}}"


def addresses(folder: Path, count: int) -> str:
    """A policy with one group of so many addresses, and its side file."""
    draw = random.Random(7)
    found = {f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in draw.sample(range(1 << 24), count)}
    (folder / "feed.txt").write_text("\n".join(sorted(found)))
    return "version: 1\ngroups: {feed: {file: feed.txt}}\ninput: {default: accept, block: [{from: feed}]}\n"


def spent(words: list[str], well: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """(CPU seconds, peak MiB) of one run of the program, as it is installed."""
    found = usage([PROGRAM, *words], well)
    return found.cpu_ms / 1000, found.peak_mib


def proof_of(path: Path, runs: int) -> tuple[float, float, float]:
    """(CPU seconds of the proof alone, of everything, peak MiB): medians."""
    whole = [spent(["check", "--quiet", str(path)]) for _ in range(runs)]
    without = [spent(["check", "--quiet", "--no-prove", str(path)]) for _ in range(runs)]
    total = statistics.median(each[0] for each in whole)
    return total - statistics.median(each[0] for each in without), total, max(each[1] for each in whole)


def lint_of(path: Path, runs: int) -> float:
    """CPU seconds of `lint`: the median."""
    return statistics.median(spent(["lint", "--quiet", str(path)], FOUND)[0] for _ in range(runs))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {
            "1,000 lines": policy(1000),
            "10,000 lines": policy(10_000),
            "100,000 addresses": addresses(folder, 100_000),
        }
        print(f"{'':20} {'proof s':>8} {'check s':>8} {'MiB':>6}   aim")
        for what, text in texts.items():
            path = folder / "policy.yaml"
            path.write_text(text)
            proof, total, mib = proof_of(path, runs)
            seconds, memory = AIMS[what]
            aim = f"proof {seconds} s" + (f", {memory:.0f} MiB" if memory else "")
            print(f"{what:20} {proof:8.2f} {total:8.2f} {mib:6.0f}   {aim}")
            if what in LINT:
                print(f"{'  lint':20} {lint_of(path, runs):8.2f} {'':15}   lint {LINT[what]} s")
        foreign(folder, runs)


def foreign(folder: Path, runs: int) -> None:
    text = kubernetes.text(400)
    old, new = folder / "node.v4", folder / "new.v4"
    old.write_text(text)
    new.write_text(
        text.replace("-A INPUT", "-A INPUT -p tcp --dport 22 -s 203.0.113.0/24 -j DROP\n-A INPUT", 1)
    )
    rules = sum(line.startswith("-A") for line in text.splitlines())
    for words in (["explain", str(old), "tcp/22 from 203.0.113.9"], ["diff", str(old), str(new)]):
        seconds = statistics.median(spent(words, FOUND)[0] for _ in range(runs))
        print(f"{words[0]}, {rules} foreign rules: {seconds:.2f} s   aim {FOREIGN} s")


if __name__ == "__main__":
    main()
