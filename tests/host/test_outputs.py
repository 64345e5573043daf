"""outputs.py: a file is written whole, and nothing but a file is ever written over."""

from __future__ import annotations

import os

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
