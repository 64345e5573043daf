"""Results that are kept: what is old goes, what is asked for stays, and nothing of it is needed."""

from __future__ import annotations

import os
import time

import pytest

from fwpolicy.errors import HostError
from fwpolicy.host.store import Store, default_folder, own_text

DAY = 86400


def age(path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_what_is_asked_for_stays(tmp_path):
    store = Store(str(tmp_path / "kept"))
    for digest in ("aa1", "bb2", "cc3"):
        store.put("made", digest, digest.encode())
    files = {path.name: path for path in tmp_path.rglob("made/*/*")}
    assert sorted(files) == ["1", "2", "3"]
    age(files["1"], 40)
    age(files["2"], 40)
    age(files["3"], 20)
    assert store.get("made", "bb2") == b"bb2"
    store.prune()
    assert (store.get("made", "aa1"), store.get("made", "bb2"), store.get("made", "cc3")) == (
        None,
        b"bb2",
        b"cc3",
    )
    assert store.get("read", "bb2") is None


def test_without_a_folder_nothing_is_kept():
    store = Store(None)
    store.put("made", "aa1", b"x")
    assert store.get("made", "aa1") is None
    store.prune()


def test_a_folder_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="--no-cache does without"):
        Store(str(tmp_path / "file" / "kept"))
    store = Store(str(tmp_path / "kept"))
    (tmp_path / "kept" / "made").touch()
    store.put("made", "aa1", b"x")  # no failure: it costs time, and nothing else
    assert store.get("made", "aa1") is None


def test_where_it_is(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == "/somewhere/fwpolicy/fleet"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_folder() == "/home/ada/.cache/fwpolicy/fleet"
    monkeypatch.setenv("HOME", "nowhere")
    assert default_folder() is None


def test_the_programs_own_text_is_all_of_it():
    names = {name for name, _ in own_text()}
    assert {"/cli.py", "/fleet/judge.py", "/policy/load.py", "/model/nft/__init__.py"} <= names
    assert list(own_text()) == list(own_text())
