"""Applying 100,000 networks, side by side in one run with `nft -f` alone and, where it is there, ipset.

CPU time (user + system) of whole processes, interleaved, medians; only the ratios travel. The
addresses stand in both texts as a feed has them: in no order, some within others. Needs root.

    python bench/apply.py [ROUNDS [NETWORKS]]
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from namespace import cpu_ms, inside, interleaved, namespace, run

if TYPE_CHECKING:
    from collections.abc import Callable

# Few lengths become hashes, many stay an interval tree (compiler/passes/prefixhash.py).
LENGTHS = {"few lengths": (24, 24, 24, 24, 32, 22), "many lengths": (*range(18, 33), *(24,) * 6)}
POLICY = """\
version: 1
name: feed
groups: {{abuse: {{file: {file}}}}}
input:
  default: drop
  allow: [ssh]
  block: [{{from: abuse}}]
"""
NFT = """\
table inet feed {{
    set abuse {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {elements} }}; }}
    chain input {{
        type filter hook input priority 0; policy drop;
        ip saddr @abuse drop
        tcp dport 22 accept
    }}
}}
"""
PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
OPTIONS = ("--no-persist", "--no-daemon", "--quiet")


def networks(count: int, lengths: tuple[int, ...]) -> list[str]:
    """Random ones, the same every time."""
    chance, found = random.Random(1), {}
    while len(found) < count:
        length = chance.choice(lengths)
        value = chance.randrange(11 << 24, 223 << 24) >> (32 - length) << (32 - length)
        found[f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}/{length}"] = None
    return list(found)


class Feed:
    """The files of one mix: a policy with its feed, the same feed with one line changed, nft's text."""

    def __init__(self, folder: Path, lines: list[str]) -> None:
        self.state = str(folder / "state")
        self.policies = [self._policy(folder, "a", lines)]
        self.policies.append(self._policy(folder, "b", [*lines[1:], "10.9.8.0/24"]))
        self.nft, self.ipset = str(folder / "feed.nft"), str(folder / "feed.ipset")
        Path(self.nft).write_text(NFT.format(elements=", ".join(lines)))
        adds = "".join(f"add abuse {line}\n" for line in lines)
        Path(self.ipset).write_text(f"create abuse hash:net maxelem {len(lines)}\n{adds}")

    @staticmethod
    def _policy(folder: Path, name: str, lines: list[str]) -> str:
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{name}.yaml").write_text(POLICY.format(file=f"{name}.txt"))
        return str(folder / f"{name}.yaml")

    def load(self, *command: str) -> float:
        """Of a loader that starts from nothing."""
        with namespace("load") as name:
            return cpu_ms(*inside(name, *command))

    def applied(self, *how: str) -> float:
        with namespace("apply") as name:
            shutil.rmtree(self.state, ignore_errors=True)
            return cpu_ms(*self._apply(name, self.policies[0], *how))

    def changed(self, *how: str) -> float:
        """One network of the feed, over what was applied."""
        with namespace("change") as name:
            shutil.rmtree(self.state, ignore_errors=True)
            run(*self._apply(name, self.policies[0], *how))
            return cpu_ms(*self._apply(name, self.policies[1], *how))

    def looked_at(self) -> float:
        with namespace("status") as name:
            shutil.rmtree(self.state, ignore_errors=True)
            run(*self._apply(name, self.policies[0]))
            return cpu_ms(PROGRAM, "status", "--quiet", "--netns", name, "--state-dir", self.state)

    def changed_by_nft(self) -> float:
        with namespace("nft") as name:
            run(*inside(name, "nft", "-f", self.nft))
            return cpu_ms(*inside(name, "nft", "add", "element", "inet", "feed", "abuse", "{ 10.9.8.0/24 }"))

    def contenders(self) -> dict[str, Callable[[], float]]:
        found: dict[str, Callable[[], float]] = {
            "nft -f": lambda: self.load("nft", "-f", self.nft),
            "fwpolicy compile": lambda: cpu_ms(PROGRAM, "compile", "--quiet", "--no-prove", self.policies[0]),
            "fwpolicy apply": lambda: self.applied("--no-prove"),
            "fwpolicy apply, proved": self.applied,
            "nft, one more": self.changed_by_nft,
            "fwpolicy apply, one changed": lambda: self.changed("--no-prove"),
            "fwpolicy apply, one changed, proved": self.changed,
            "fwpolicy status": self.looked_at,
        }
        if shutil.which("ipset"):
            found["ipset restore"] = lambda: self.load("ipset", "restore", "-file", self.ipset)
        return found

    def _apply(self, name: str, policy: str, *how: str) -> tuple[str, ...]:
        return (PROGRAM, "apply", *OPTIONS, *how, "--netns", name, "--state-dir", self.state, policy)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    for mix, lengths in LENGTHS.items():
        with tempfile.TemporaryDirectory(prefix="fwbench") as folder:
            feed = Feed(Path(folder), networks(count, lengths))
            medians = interleaved(rounds, feed.contenders())
        report(f"{count} networks, {mix}, {rounds} rounds", medians)
    print("aims: apply at most 0.6 of nft -f, one changed at most 0.1 (beyond compiling); proofs come on top")


def report(title: str, medians: dict[str, float]) -> None:
    whole = medians["nft -f"]
    print(f"{title:44} {'CPU ms':>8} {'x nft -f':>9}")
    compiled = medians["fwpolicy compile"]
    beyond = {"  of that beyond compiling": medians["fwpolicy apply, one changed"] - compiled}
    for name, median in (medians | beyond).items():
        print(f"{name:44} {median:8.0f} {median / whole:9.2f}")


if __name__ == "__main__":
    main()
