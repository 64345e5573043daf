"""The wheelhouse installs where there is no network, and what it installs works there."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tests.lab.holder import run

from .wheelhouse import MACHINES, PYTHONS, REQUIREMENTS, SYSTEMS, build

pytestmark = pytest.mark.kernel

OFFLINE = ("unshare", "--net")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this Python and this machine alone."""
    folder = tmp_path_factory.mktemp("wheels") / "wheelhouse"
    build(folder, (HERE,), (platform.machine(),))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    return tmp_path / "venv/bin"


def install(environment: Path, house: Path, check: bool = True) -> str:
    """What docs/installing.md says, without a network; what pip says."""
    pip = (*OFFLINE, str(environment / "pip"), "install", "--disable-pip-version-check")
    options = ("--no-index", "--find-links", str(house), "--require-hashes", "-r", str(house / REQUIREMENTS))
    done = run(*pip, *options, check=check)
    return done.stdout + done.stderr


def test_it_installs_and_checks_without_a_network(environment: Path, house: Path, tmp_path: Path) -> None:
    """And what was changed on the way is refused."""
    (wheel,) = house.glob("fwpolicy-*.whl")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole + b"\0")
    assert "DO NOT MATCH THE HASHES" in install(environment, house, check=False)
    wheel.write_bytes(whole)
    install(environment, house)
    checked = run(*OFFLINE, str(environment / "fwpolicy"), "check", "ntp-client", cwd=tmp_path)
    assert "proved" in checked.stdout
    libyaml = "import yaml; assert yaml.__with_libyaml__"
    run(str(environment / "python"), "-c", libyaml, cwd=tmp_path)


@pytest.mark.slow
def test_all_pythons_and_machines(tmp_path: Path) -> None:
    build(tmp_path)
    names = [path.name for path in tmp_path.glob("*.whl")]
    for python in PYTHONS:
        for machine in MACHINES:
            for system in SYSTEMS:
                tag, libc = f"-cp{python.replace('.', '')}-", system[0]
                assert [name for name in names if tag in name and f"{libc}_{machine}" in name], (tag, machine)
