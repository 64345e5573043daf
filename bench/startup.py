"""Start-up, side by side in one run: what `fwpolicy` costs beside bare Python and ferm.

CPU time (user + system) of whole processes, interleaved, medians; only the ratios travel. As root also of an
apply of one rule that changes nothing, in a network namespace of its own.

    python bench/startup.py [RUNS]
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from measure import side_by_side
from namespace import namespace

FERM = "table filter chain INPUT {\n    policy DROP;\n    proto tcp dport ssh ACCEPT;\n}\n"
POLICY = "version: 1\ninput:\n  default: drop\n  allow: [ssh]\n"


def commands(folder: Path, netns: str | None) -> dict[str, list[str]]:
    """The contenders; ferm only parses and prints (no kernel), as `check` does."""
    policy, ferm = folder / "one-rule.yaml", folder / "one-rule.ferm"
    policy.write_text(POLICY)
    ferm.write_text(FERM)
    program = str(Path(sys.executable).with_name("fwpolicy"))
    where = ["--no-persist", "--no-daemon", "--state-dir", str(folder / "state"), "--netns", str(netns)]
    apply = [program, "apply", "--quiet", "--no-prove", *where, str(policy)]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "fwpolicy --help": [program, "--help"],
        "fwpolicy check": [program, "check", str(policy)],
        "ferm --noexec": ["ferm", "--noexec", "--lines", str(ferm)],
        "import dataclasses": [sys.executable, "-c", "import dataclasses"],
        "import yaml": [sys.executable, "-c", "import yaml"],
        **({"fwpolicy apply": apply} if netns else {}),
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    alone = namespace("startup") if os.geteuid() == 0 and shutil.which("ip") else nullcontext()
    with tempfile.TemporaryDirectory() as folder, alone as netns:
        found = side_by_side(commands(Path(folder), netns), runs)
    medians = {name: spent.cpu_ms for name, spent in found.items()}
    bare, ferm = medians["python -c pass"], medians["ferm --noexec"]
    print(f"{'':20} {'CPU ms':>8} {'x bare':>8} {'x ferm':>8}    ({runs} runs, {os.cpu_count()} CPUs)")
    for name, median in medians.items():
        print(f"{name:20} {median:8.1f} {median / bare:8.2f} {median / ferm:8.2f}")
    print("aims: check at most 1.33 x ferm (100 ms where ferm takes 75), --help at most 2.5 x bare Python")


if __name__ == "__main__":
    main()
