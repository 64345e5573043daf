"""Start-up, side by side in one run: what `fwpolicy` costs beside bare Python and ferm.

CPU time (user + system) of whole processes, interleaved, medians; only the ratios travel.

    python bench/startup.py [RUNS]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FERM = "table filter chain INPUT {\n    policy DROP;\n    proto tcp dport ssh ACCEPT;\n}\n"
# As an installed program runs: its modules compiled by the first round, and kept.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
POLICY = "version: 1\ninput:\n  default: drop\n  allow: [ssh]\n"


def cpu_ms(command: list[str]) -> float:
    """CPU milliseconds of one run of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def commands(folder: Path) -> dict[str, list[str]]:
    """The contenders; ferm only parses and prints (no kernel), as `check` does."""
    policy, ferm = folder / "one-rule.yaml", folder / "one-rule.ferm"
    policy.write_text(POLICY)
    ferm.write_text(FERM)
    program = str(Path(sys.executable).with_name("fwpolicy"))
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "fwpolicy --help": [program, "--help"],
        "fwpolicy check": [program, "check", str(policy)],
        "ferm --noexec": ["ferm", "--noexec", "--lines", str(ferm)],
        "import dataclasses": [sys.executable, "-c", "import dataclasses"],
        "import yaml": [sys.executable, "-c", "import yaml"],
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory() as folder:
        contenders = commands(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(runs + 1):
            for name, command in contenders.items():
                spent = cpu_ms(command)
                if number:  # the first round only warms the caches
                    times[name].append(spent)
    medians = {name: statistics.median(each) for name, each in times.items()}
    bare, ferm = medians["python -c pass"], medians["ferm --noexec"]
    print(f"{'':20} {'CPU ms':>8} {'x bare':>8} {'x ferm':>8}    ({runs} runs, {os.cpu_count()} CPUs)")
    for name, median in medians.items():
        print(f"{name:20} {median:8.1f} {median / bare:8.2f} {median / ferm:8.2f}")
    print("aims: check at most 1.33 x ferm (100 ms where ferm takes 75), --help at most 2.5 x bare Python")


if __name__ == "__main__":
    main()
