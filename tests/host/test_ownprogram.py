"""Which fwpolicy root's units run, and what of it others could change: real virtual environments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host.files import Files
from fwpolicy.host.ownprogram import exposed, find

NOBODY = 65534
HOST = Files()

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def program(folder: Path, interpreter: str | Path = "/usr/bin/python3") -> Path:
    """A `fwpolicy` that anybody may run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fwpolicy"
    path.write_text(f"#!{interpreter}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with a package of our name in it."""
    place = tmp_path / "opt"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    program(place / "bin", place / "bin/python3")
    package = packages(place) / "fwpolicy"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it is looked at, not run')\n")
    return place


def packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def looked(environment: Path) -> str | None:
    return exposed(str(environment / "bin/fwpolicy"), HOST, True)


def test_the_first_that_systemd_would_find(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    assert find(files) is None
    program(tmp_path / "usr/bin")
    assert find(files) == "/usr/bin/fwpolicy"
    hidden = program(tmp_path / "usr/local/sbin")
    assert find(files) == "/usr/local/sbin/fwpolicy"
    hidden.chmod(0o644)
    assert find(files) == "/usr/bin/fwpolicy"


@needs_root
def test_an_environment_of_roots_alone(environment: Path) -> None:
    assert looked(environment) is None


@needs_root
@pytest.mark.parametrize(
    "path", ["bin", "bin/fwpolicy", "pyvenv.cfg", "lib", "{packages}", "{packages}/fwpolicy/__init__.py"]
)
def test_one_piece_that_is_somebody_elses(environment: Path, path: str) -> None:
    piece = environment / path.format(packages=packages(environment).relative_to(environment))
    os.chown(piece, NOBODY, NOBODY)
    assert looked(environment) == str(piece)


@needs_root
def test_an_editable_install_of_a_users_folder(environment: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "home"
    (packages(environment) / "fwpolicy/__init__.py").unlink()
    (packages(environment) / "fwpolicy").rmdir()
    (theirs / "fwpolicy").mkdir(parents=True)
    (packages(environment) / "_editable.pth").write_text(f"{theirs}\n")
    os.chown(theirs, NOBODY, NOBODY)
    assert looked(environment) == str(theirs)


@needs_root
def test_what_python_runs_first_is_looked_at_and_not_run(environment: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = packages(environment) / "theirs.pth"
    path.write_text(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n")
    os.chown(path, NOBODY, NOBODY)
    assert looked(environment) == str(path)
    assert not ran.exists()


@needs_root
def test_the_first_of_very_many_files(environment: Path) -> None:
    package = packages(environment) / "fwpolicy"
    for number in range(600):
        (package / f"{number:03}_{'x' * 120}.py").touch()
    piece = package / f"000_{'x' * 120}.py"
    assert looked(environment) is None
    os.chown(piece, NOBODY, NOBODY)
    assert looked(environment) == str(piece)


@needs_root
def test_behind_a_link_of_roots(environment: Path, tmp_path: Path) -> None:
    link = tmp_path / "sbin/fwpolicy"
    link.parent.mkdir()
    link.symlink_to(environment / "bin/fwpolicy")
    assert exposed(str(link), HOST, True) is None
    os.chown(environment / "bin", NOBODY, NOBODY)
    assert exposed(str(link), HOST, True) == str(environment / "bin")


@needs_root
def test_what_is_not_roots_alone_is_not_run(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin/python3"
    python.unlink()
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    python.chmod(0o777)
    assert looked(environment) == str(python)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("first", ["/bin/sh", "/usr/bin/env python3", "python3", ""])
def test_what_is_no_script_of_a_python(tmp_path: Path, first: str) -> None:
    program(tmp_path / "usr/bin", first)
    with pytest.raises(HostError, match=r"^/usr/bin/fwpolicy does not begin with the path of its Python"):
        exposed("/usr/bin/fwpolicy", Files(str(tmp_path)), False)


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    path = program(tmp_path, tmp_path / "python3")
    with pytest.raises(HostError, match=r"python3 cannot be started: No such file or directory$"):
        exposed(str(path), HOST, True)
