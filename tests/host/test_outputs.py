"""outputs.py: a file is written whole, and nothing but a file is ever written over."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host.outputs import FlatOutputs, Outputs, fresh_file, write_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [write_file, fresh_file])
def test_what_is_no_file_stays_as_it_is(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "device").symlink_to("/dev/full")
    before = names(tmp_path)
    for name in ("pipe", "folder", "link", "nowhere", "device"):
        with pytest.raises(HostError, match=f"{name}: is "):
            write(str(tmp_path / name), b"new", 0o644)
    assert names(tmp_path) == before
    assert (tmp_path / "target").read_text() == "old"


def test_nobody_else_can_write_to_the_folders_that_are_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)
    try:
        write_file("a/b/c", b"new", 0o644)
        assert Outputs("all/hosts").write("web-01", {"ruleset.nft": ("new", 0o644)})
        FlatOutputs(str(tmp_path / "bundles"), b"head")
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) == 6 and {path.stat().st_mode & 0o777 for path in made} == {0o755}
    (tmp_path / "link").symlink_to("nowhere")
    for place in ("a/b/c", "link", "a/b/c/d"):
        with pytest.raises(HostError, match=r"no folder|Not a directory"):
            Outputs(place)


@pytest.mark.parametrize("write", [write_file, fresh_file])
def test_a_file_is_written_again(tmp_path, write):
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        write(str(path), content, 0o640)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, 0o640)
    assert names(tmp_path) == ["file"]


def test_nothing_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "file.new")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(HostError, match="file: No space left on device"):
        write_file(str(tmp_path / "file"), b"new", 0o644)
    assert names(tmp_path) == []


class KilledError(BaseException):
    """Nothing that is caught."""


def killed_at(step, monkeypatch, work):
    """`work`, killed before its `step`-th change of the disk; whether it got that far."""
    left = iter(range(step))

    def before(function):
        def changed(*words, **more):
            if next(left, None) is None:
                raise KilledError
            return function(*words, **more)

        return changed

    with monkeypatch.context() as patched, suppress(KilledError):
        for name in ("mkdir", "open", "fchmod", "replace", "unlink", "rmdir"):
            patched.setattr(f"os.{name}", before(getattr(os, name)))
        work()
        return False
    return True


def folders(place, *hosts):
    content = {"ruleset.nft": ("new", 0o644), "ntp.conf": (f"of {hosts}", 0o600)}
    outputs = Outputs(place)
    outputs.expect({host: tuple(content) for host in hosts})
    for host in hosts:
        outputs.write(host, content)
    outputs.finish({"format": 1}, {host: tuple(content) for host in hosts})


def bundles(place, *hosts):
    outputs = FlatOutputs(place, b"head")
    outputs.expect({host: (f"{host}.fwb",) for host in hosts})
    for host in hosts:
        write_file(f"{place}/{host}.fwb", f"head {hosts}".encode(), 0o644)
    outputs.finish({"format": 1}, {host: f"{host}.fwb" for host in hosts}, whole=True)


def tree(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("run", [folders, bundles])
@pytest.mark.parametrize("first", [(), ("a", "b")])
def test_whenever_a_run_is_killed_the_next_one_cleans_up(tmp_path, monkeypatch, run, first):
    """Hosts that only the killed one knew of among it; what is somebody else's stays."""
    mine, wanted = tmp_path / "mine", tmp_path / "wanted"
    for place in (mine, wanted):
        place.mkdir()
        (place / "z.fwb").write_text("head of somebody else's")
        (place / "z").mkdir()
        (place / "z/ruleset.nft").write_text("somebody else's")
    run(str(wanted), "b", "d")
    step = 0
    while True:
        there = tmp_path / str(step)
        shutil.copytree(mine, there)
        if first:
            run(str(there), *first)
        died = killed_at(step, monkeypatch, lambda there=there: run(str(there), "b", "c"))
        # What was there unlisted, and is no host's now, is not known to be ours.
        run(str(there), "b", "d")
        assert tree(there) == tree(wanted), step
        if not died:
            break
        step += 1
    assert step > 10


@pytest.mark.parametrize("run", [folders, bundles])
def test_what_was_there_is_nobodys_until_it_is_written_over(tmp_path, monkeypatch, run):
    """A run that is killed before that has not made it its own."""
    for name in ("b.fwb", "b/ruleset.nft", "b/ntp.conf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("head of somebody else's")
    before = {name: content for name, content in tree(tmp_path).items() if content}
    step = 0
    while killed_at(step, monkeypatch, lambda: run(str(tmp_path), "a", "b")):
        if {**tree(tmp_path), **before} != tree(tmp_path):
            break
        run(str(tmp_path), "a")
        assert {**tree(tmp_path), **before} == tree(tmp_path), step
        step += 1
    assert step > 5
