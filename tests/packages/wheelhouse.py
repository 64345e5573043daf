"""A folder for pip on hosts without a network: our wheel, and all that it needs.

`python -m tests.packages.wheelhouse DIR`, as `make wheelhouse` does.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from tests.lab.holder import run

CHECKOUT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
# What glibc's wheels and musl's (Alpine) are called: PEP 600, PEP 656.
SYSTEMS = (("manylinux2014", "manylinux_2_17", "manylinux_2_28"), ("musllinux_1_2",))
REQUIREMENTS = "requirements.txt"


def build(folder: Path, pythons: tuple[str, ...] = PYTHONS, machines: tuple[str, ...] = MACHINES) -> None:
    """Fill the folder anew. Raises CommandError where pip cannot get something."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=CHECKOUT)
    (ours,) = folder.glob("fwpolicy-*.whl")
    for python in pythons:
        for machine in machines:
            for system in SYSTEMS:
                _fetch(ours, folder, python, tuple(f"{name}_{machine}" for name in system))
    (folder / REQUIREMENTS).write_text(requirements(folder))


def _fetch(wheel: Path, folder: Path, python: str, platforms: tuple[str, ...]) -> None:
    """What the wheel needs under this Python on these platforms."""
    named = [word for platform in platforms for word in ("--platform", platform)]
    only = ("--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *named)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download")
    run(*pip, f"--dest={folder}", *only, str(wheel), timeout=300)


def requirements(folder: Path) -> str:
    """For `pip install --require-hashes -r`: one version of each project, with the hashes of its wheels."""
    hashes: dict[str, list[str]] = {}
    for wheel in sorted(folder.glob("*.whl")):
        project, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        hashes.setdefault(f"{project}=={version}", []).append(f"--hash=sha256:{digest}")
    projects = [name.partition("==")[0].lower() for name in hashes]
    if len(projects) != len(set(projects)):
        raise SystemExit(f"{folder}: not the same versions for every Python: {', '.join(hashes)}")
    return "".join(" \\\n    ".join((name, *each)) + "\n" for name, each in hashes.items())


if __name__ == "__main__":
    place = Path(sys.argv[1])
    build(place)
    print(f"{place}: {len(list(place.glob('*.whl')))} wheels")
