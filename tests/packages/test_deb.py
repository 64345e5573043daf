"""What is in the Debian package, whose it is, and that it is the same bytes each time."""

from __future__ import annotations

import gzip
import re
import tarfile
from typing import TYPE_CHECKING

import pytest

from fwpolicy import VERSION
from fwpolicy.host.texts import shipped_names
from tests.lab.holder import run

from .deb import build
from .wheelhouse import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel

PACKAGE = "usr/lib/python3/dist-packages/fwpolicy"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/fwpolicy",
    "zsh": "usr/share/zsh/vendor-completions/_fwpolicy",
    "fish": "usr/share/fish/vendor_completions.d/fwpolicy.fish",
}
DEPENDS = {"nftables", "python3", "python3-nftables", "python3-yaml"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "--raw-extract", str(package), str(folder))
    return folder


@pytest.fixture(scope="module")
def members(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tarfile.TarInfo]:
    data = tmp_path_factory.mktemp("members") / "data.tar"
    with data.open("wb") as stream:
        run("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > "$2"', "sh", str(package), str(data))
        stream.close()
    with tarfile.open(data) as tar:
        return tar.getmembers()


@pytest.mark.slow
def test_the_same_bytes_each_time(package: Path, tmp_path: Path) -> None:
    """Whatever the umask, and whenever it is."""
    assert build(tmp_path, umask=0o077).read_bytes() == package.read_bytes()


def test_all_of_it_is_roots_and_nobody_elses_and_of_the_changelogs_time(
    members: list[tarfile.TarInfo],
) -> None:
    said = run("dpkg-parsechangelog", "--show-field=Timestamp", cwd=CHECKOUT / "deploy").stdout
    assert {member.mtime for member in members} == {int(said)}
    for member in members:
        assert (member.uid, member.gid) == (0, 0), member.name
        assert member.issym() or not member.mode & 0o7022, f"{member.name}: {member.mode:o}"


def test_every_module_and_policy_is_in_it(members: list[tarfile.TarInfo]) -> None:
    names = {member.name.removeprefix("./") for member in members if member.isfile()}
    tracked = run("git", "ls-files", "fwpolicy", "policies", cwd=CHECKOUT).stdout.split()
    parent, _, name = PACKAGE.rpartition("/")
    wanted = {f"{parent}/{path}" if path.startswith(f"{name}/") else f"{PACKAGE}/{path}" for path in tracked}
    assert {each for each in names if each.startswith(f"{PACKAGE}/")} == wanted
    assert {f"{PACKAGE}/policies/{shipped}.yaml" for shipped in shipped_names()} <= names
    assert {"usr/bin/fwpolicy", *COMPLETIONS.values()} <= names


def test_what_stands_in_its_place_is_made_of_this_program(unpacked: Path) -> None:
    for page in ("fwpolicy.1", "fwpolicy-policy.5"):
        packed = unpacked / f"usr/share/man/man{page[-1]}/{page}.gz"
        assert gzip.decompress(packed.read_bytes()) == (CHECKOUT / "docs/man" / page).read_bytes()
    for shell, path in COMPLETIONS.items():
        said = run("python3", "-m", "fwpolicy", "completion", shell, cwd=CHECKOUT).stdout
        assert (unpacked / path).read_text() == said
    assert (unpacked / "usr/bin/fwpolicy").read_text().startswith("#!/usr/bin/python3\n")


def test_zsh_takes_up_the_completion_by_itself(unpacked: Path) -> None:
    asked = "fpath=($1 $fpath); autoload -U compinit; compinit -u -D; print $_comps[fwpolicy]"
    folder = str((unpacked / COMPLETIONS["zsh"]).parent)
    assert run("zsh", "-f", "-c", asked, "zsh", folder).stdout == "_fwpolicy\n"


def test_what_it_says_of_itself(package: Path) -> None:
    fields = run("dpkg-deb", "--field", str(package)).stdout
    said = dict(re.findall(r"^(\S+): (.*)$", fields, re.MULTILINE))
    assert said["Version"].rpartition("-")[0] == VERSION
    assert said["Architecture"] == "all"
    needed = said["Depends"].split(", ")
    assert {re.split(r"[ :]", each)[0] for each in needed} == DEPENDS
    assert "python3 (>= 3.11)" in needed


def test_it_does_nothing_when_it_is_installed(unpacked: Path) -> None:
    """Compiling bytes is dh_python3's; there is no unit, no configuration, no trigger."""
    control = {path.name for path in (unpacked / "DEBIAN").iterdir()}
    assert control == {"control", "md5sums", "postinst", "prerm", "postrm"}
    assert {path.name for path in unpacked.iterdir()} == {"DEBIAN", "usr"}
    assert not list(unpacked.glob("usr/lib/systemd")) and not list(unpacked.glob("lib"))
    lines = [line.strip() for line in (unpacked / "DEBIAN/postinst").read_text().splitlines()]
    orders = [line for line in lines if line and not line.startswith(("#", "if ", "fi", "set -e"))]
    assert {line.split()[0] for line in orders} <= {"py3compile", "pypy3compile"}


def test_lintian_has_nothing_to_say(package: Path) -> None:
    said = run("lintian", "--fail-on=error,warning", "--allow-root", str(package), check=False, timeout=300)
    assert said.returncode == 0 and not said.stdout, said.stdout
