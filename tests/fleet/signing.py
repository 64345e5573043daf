"""Keys that sign, and files that say who may."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from fwpolicy.cli import main


@pytest.fixture
def keys(tmp_path):
    """Two keys, and the file that allows the first of them to sign."""
    if shutil.which("ssh-keygen") is None:
        if os.environ.get("CI"):
            pytest.fail("needs ssh-keygen; in CI a skip is a failure", pytrace=False)
        pytest.skip("needs ssh-keygen")
    folder = tmp_path / "keys"
    folder.mkdir()
    make_keys(folder)
    return folder


def make_keys(folder) -> None:
    for name in ("release", "stranger"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    (folder / "signers").write_text(allowed(folder, "release"))


def allowed(folder, name: str, options: str = 'namespaces="fwpolicy-bundle"') -> str:
    return f"{name}@example.org {options} {(folder / f'{name}.pub').read_text()}"


@pytest.fixture
def make(fleet, keys):
    """Makes bundles of what the repository says, at a commit of its own."""
    fleet.day = 0

    def of(*words: str, commit: bool = True, out: str = "out") -> int:
        if commit:
            fleet.day += 1
            fleet.commit(day=fleet.day)
        (fleet.path / ".git/info/exclude").write_text("out*\n")
        return main(["bundle", *words, "-o", out, "--key", str(keys / "release"), "--quiet"])

    return of
