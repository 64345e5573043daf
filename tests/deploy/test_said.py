"""What a policy was read of, kept with a generation and found again."""

from __future__ import annotations

import json
from binascii import b2a_base64

import pytest

from fwpolicy.deploy.machine import machine
from fwpolicy.deploy.said import Said, keep, said
from fwpolicy.deploy.state import State

KEPT = Said(1, (("a.yaml", b"version: 1\n"), ("feed.txt", b""), ("x\udcff", b"\xff\xfe\r\n\n{\xc3\xa4")))


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state/generations/3").mkdir(parents=True)
    return State(machine(str(tmp_path), None, "/state"))


def test_every_byte_comes_back(state):
    keep(state, 3, KEPT)
    assert said(state, 3) == KEPT
    assert said(state, 4) is None


def test_nobody_else_can_read_it(state, tmp_path):
    keep(state, 3, KEPT)
    assert (tmp_path / "state/generations/3/policy.kept").stat().st_mode & 0o777 == 0o600


def test_what_earlier_versions_kept_is_read(state, tmp_path):
    files = [[name, b2a_base64(content, newline=False).decode()] for name, content in KEPT.files]
    text = json.dumps({"named": KEPT.named, "files": files})
    (tmp_path / "state/generations/3/policy.json").write_text(f"{text}\n")
    assert said(state, 3) == KEPT


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-1], lambda text: text + b"x", lambda _: b"", lambda _: b"[]\n"]
)
def test_what_is_damaged_is_nothing(state, tmp_path, damage):
    keep(state, 3, KEPT)
    path = tmp_path / "state/generations/3/policy.kept"
    path.write_bytes(damage(path.read_bytes()))
    assert said(state, 3) is None
