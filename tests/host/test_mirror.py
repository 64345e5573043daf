"""The mirror of a repository that nobody trusts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host.mirror import GOOD, INCOMING, CommitTree, Mirror, UnreachableError
from fwpolicy.host.programs import ENVIRONMENT
from fwpolicy.host.texts import SHIPPED
from tests.fleet.conftest import repo
from tests.fleet.signing import allowed, keys

__all__ = ["keys", "repo"]


def mirror(repo, url: str | None = None, seconds: float = 30) -> Mirror:
    return Mirror(str(repo.path.parent / "mirror.git"), url or f"file://{repo.path}", "main", seconds)


def test_it_follows_links_inside_and_none_out(repo):
    repo.file("a/b.yaml", "version: 1\n")
    for name, target in (("in", "a/b.yaml"), ("out", "../x"), ("root", "/etc/passwd"), ("up", "..")):
        (repo.path / name).symlink_to(target)
    (repo.path / "folder").symlink_to("a")
    repo.file("odd name.yaml", "1\n")
    commit = repo.commit()
    found = mirror(repo)
    assert found.fetch() == commit
    for name in ("in", "folder/b.yaml", "a/b.yaml"):
        assert found.read(commit, name) == b"version: 1\n"
    assert found.read(commit, "odd name.yaml") == b"1\n"
    for name in ("out", "root", "up/etc/passwd"):
        with pytest.raises(OSError, match="is a link that leads out of the repository"):
            found.read(commit, name)
    for name in ("/etc/passwd", "../x", "a\nb"):
        with pytest.raises(OSError, match="is outside of the repository"):
            found.read(commit, name)
    for name in ("nowhere", "a", "a/b.yaml/c", "x blob 3"):
        with pytest.raises(FileNotFoundError):
            found.read(commit, name)
    tree = CommitTree(found, commit, "a/inventory.yaml")
    assert tree.read("a/../in") == b"version: 1\n" and tree.inside("a/../in") == "in"
    shipped = next(f"{folder}/ntp-client.yaml" for folder in SHIPPED if Path(folder).is_dir())
    assert tree.is_shipped(shipped) and b"client-only" in tree.read(shipped)


def no_folder(place: Path) -> None:
    shutil.rmtree(place)
    place.write_text("")


def oldest_pack(place: Path) -> list[Path]:
    first = min((place / "objects/pack").glob("*.pack"), key=lambda pack: pack.stat().st_mtime_ns)
    return [first, first.with_suffix(".idx")]


DAMAGES = {
    "a file": no_folder,
    "an empty HEAD": lambda place: (place / "HEAD").write_text(""),
    "a garbled configuration": lambda place: (place / "config").write_text("[core\n\0"),
    "no objects": lambda place: shutil.rmtree(place / "objects"),
    "empty objects": lambda place: [
        (each.chmod(0o600), each.write_bytes(b""))
        for each in (place / "objects").rglob("*")
        if each.is_file()
    ],
    "a missing pack": lambda place: [each.unlink() for each in oldest_pack(place)],
    "a pack that is cut short": lambda place: [
        (each.chmod(0o600), os.truncate(each, 20)) for each in oldest_pack(place)
    ],
    "an empty ref": lambda place: (place / INCOMING).write_text(""),
    "a lock of what died": lambda place: (place / f"{INCOMING}.lock").write_text(""),
}


@pytest.mark.parametrize("news", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_made_anew(repo, damage, news):
    for name in ("a", "same", "folder/same"):
        repo.file(name, f"{name}\n")
    repo.commit()
    found = mirror(repo)
    found.keep(found.fetch())
    repo.file("a", "1\n")
    repo.commit()
    found.keep(found.fetch())
    repo.file("a", "2\n" if news else "1\n")
    commit = repo.commit() if news else repo.git("rev-parse", "HEAD")
    DAMAGES[damage](Path(found.place))
    away = mirror(repo, "file:///nowhere")
    with pytest.raises(HostError):
        away.fetch()
    assert Path(found.place).exists()
    assert found.fetch() == commit and found.read(commit, "a") == (b"2\n" if news else b"1\n")
    assert found.read(commit, "same") == b"same\n" and found.read(commit, "folder/same") == b"folder/same\n"


def test_a_whole_one_stays(repo):
    """Neither a branch that is gone nor one that takes too long is a reason to fetch everything again."""
    repo.file("a", "1\n")
    repo.commit()
    found = mirror(repo)
    found.fetch()
    kept = Path(found.place).stat().st_ino
    repo.git("branch", "-m", "main", "other")
    with pytest.raises(UnreachableError, match="couldn't find remote ref refs/heads/main"):
        found.fetch()
    repo.git("branch", "-m", "other", "main")
    with pytest.raises(UnreachableError, match="did not end within 0 s"):
        mirror(repo, seconds=0).fetch()
    assert Path(found.place).stat().st_ino == kept


def test_what_a_dead_git_left(repo):
    repo.file("a", "1\n")
    first = repo.commit()
    found = mirror(repo)
    found.tidy()  # of one that is not there yet
    found.keep(found.fetch())
    place = Path(found.place)
    whole = {path for path in place.rglob("*") if path.is_file()}
    left = [f"{name}.lock" for name in ("config", "HEAD", "packed-refs", INCOMING, GOOD)]
    (place / "objects/ab").mkdir()
    for name in (*left, "packed-refs.new", "objects/pack/tmp_pack_XyZ", "objects/ab/tmp_obj_XyZ"):
        (place / name).write_text("")
    repo.file("a", "2\n")
    second = repo.commit()
    inode = place.stat().st_ino
    found.tidy()
    assert {path for path in place.rglob("*") if path.is_file()} == whole
    assert found.fetch() == second and found.leads_to(first, "", second)
    # What nobody has, and of which nobody remembers what it said, leads to nothing.
    assert not found.leads_to("0" * 40, "", second) and found.says("0" * 40) == ""
    assert found.leads_to("0" * 40, found.says(first), second)
    assert not found.leads_to("0" * 40, found.says(second), first)
    found.keep(second)
    assert place.stat().st_ino == inode


@pytest.fixture
def small(monkeypatch):
    """Mirrors may have 256 KiB."""
    monkeypatch.setattr("fwpolicy.host.mirror.MOST_BYTES", 256 * 1024)


def many(repo, name: str, bytes_each: int, files: int) -> str:
    """A commit with so many files that nobody can compress."""
    for number in range(files):
        path = repo.path / f"{name}/{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(bytes_each))
    return repo.commit()


@pytest.mark.parametrize("files", [1, 150])  # as it is, and in a pack
def test_a_server_that_sends_too_much(repo, small, monkeypatch, files):
    many(repo, "large", 600_000 // files, files)
    found = mirror(repo)
    with pytest.raises(UnreachableError):
        found.fetch()
    left = [path.stat().st_size for path in Path(found.place).rglob("tmp_*") if path.is_file()]
    assert sum(left) and max(left) <= 256 * 1024  # what died left it
    found.tidy()
    assert not [path for path in Path(found.place).rglob("tmp_*") if path.is_file()]
    monkeypatch.undo()
    assert mirror(repo).fetch()


def test_a_mirror_that_grew_too_large(repo, small):
    """By what was on the branch for a while: what is there now is all that is fetched again."""
    repo.file("a", "1\n")
    first = repo.commit()
    found = mirror(repo)
    found.keep(found.fetch())
    for name in ("x", "y"):
        repo.git("reset", "-q", "--hard", first)
        many(repo, name, 150_000, 1)
        found.tidy()
        assert Path(found.place).exists()
        found.fetch()
    repo.git("reset", "-q", "--hard", first)
    found.tidy()
    assert not Path(found.place).exists()
    assert found.fetch() == first and found.leads_to(first, "", first)
    size = sum(path.stat().st_size for path in Path(found.place).rglob("*") if path.is_file())
    assert size < 100_000


def test_a_git_has_only_so_much_memory(repo, monkeypatch):
    many(repo, "x", 1000, 150)
    monkeypatch.setattr("fwpolicy.host.mirror._MOST_MEMORY", 1 << 20)
    with pytest.raises(HostError):
        mirror(repo).fetch()
    monkeypatch.undo()
    assert mirror(repo).fetch()


def test_what_lies_beside_the_inventory(repo):
    for name in ("group_vars/all.yml", "host_vars/a/b.yml", "other/c.yml"):
        repo.file(f"site/{name}", "x: 1\n")
    commit = repo.commit()
    found = mirror(repo)
    found.fetch()
    beside = CommitTree(found, commit, "site/inventory.yaml").beside()
    assert beside == ["site/group_vars/all.yml", "site/host_vars/a/b.yml"]


def test_a_server_that_says_nothing(repo):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x.git"
        found = mirror(repo, url, seconds=1)
        with pytest.raises(UnreachableError, match="did not end within 1 s"):
            found.fetch()
        assert "did not end within 1 s" in found.answers(1)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert url not in running
    with pytest.raises(UnreachableError, match=r"unable to connect.*refused"):
        found.fetch()


def test_transports_that_the_url_does_not_name(repo, tmp_path):
    """Even one that got past the reading of the configuration, and one that a helper would bring."""
    repo.file("a", "1")
    repo.commit()
    ran = tmp_path / "ran"
    for url in (f"ext::touch {ran}", "fd::0", str(repo.path)):
        with pytest.raises(UnreachableError, match="not allowed"):
            mirror(repo, url).fetch()
    assert not ran.exists()


def test_where_git_is_not_installed(repo, tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(HostError, match="git is not installed, and sync fetches with it"):
        mirror(repo).fetch()


def test_nobodys_configuration_counts(repo, tmp_path, monkeypatch):
    repo.file("a", "1")
    commit = repo.commit()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "fsmonitor"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {hooks}/fsmonitor\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    config.rename(tmp_path / ".gitconfig")
    found = mirror(repo)
    found.fetch()
    found.keep(commit)
    assert not (tmp_path / "ran").exists()


def test_objects_are_checked(repo):
    """What no git would make: a tree that has a file `.git`."""
    repo.file("a", "1")
    repo.commit()
    blob = repo.git("rev-parse", "HEAD:a")
    words = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    entry = b"100644 .git\0" + bytes.fromhex(blob)
    made = subprocess.run(words, cwd=repo.path, input=entry, capture_output=True, check=True).stdout
    commit = repo.git("commit-tree", "-m", "x", made.decode().strip())
    repo.git("update-ref", "refs/heads/main", commit)
    with pytest.raises(UnreachableError, match=r"hasDotgit|contains '\.git'"):
        mirror(repo).fetch()


def test_a_signature_of_another_kind(repo, keys):
    """A commit that says it is signed by OpenPGP is asked of no gpg, whatever keys root has there."""
    repo.file("a", "1")
    first = repo.commit()
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----"
    made = repo.with_header(first, signature)
    repo.git("update-ref", "refs/heads/main", made)
    found = mirror(repo)
    assert found.fetch() == made
    (keys / "signers").write_text(allowed(keys, "release", 'namespaces="git"'))
    for commit in (made, first):
        with pytest.raises(HostError, match="signed by nobody in"):
            found.signer(commit, str(keys / "signers"))
