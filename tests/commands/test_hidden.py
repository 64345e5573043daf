"""Files of the host's that a policy leads to, by whatever way: told of, and not a word of theirs is shown."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fwpolicy.cli import main

SECRET = "root:$6$salt$hash:19000:0:99999:7:::\n"
HEAD = "version: 1\n"
INPUT = "input: {default: drop, allow: [ssh]}\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of policies, and beside it what they have no business with."""
    (tmp_path / "shadow").write_text(SECRET)
    (tmp_path / "binary").write_bytes(b"root:$6$salt$hash\n\xff\xfe\n")
    (tmp_path / "mapping").write_text("root: $6$salt$hash\n")
    (tmp_path / "policies").mkdir()
    monkeypatch.chdir(tmp_path / "policies")
    return tmp_path


def linked(name: str, what: str) -> None:
    Path(name).symlink_to(f"../{what}")


def refused(capsys, *words: str) -> str:
    assert main(list(words)) == 1
    said = capsys.readouterr()
    assert "salt" not in said.err + said.out, said.err
    return said.err


WAYS = {
    "an operand": None,
    "a group": f"{HEAD}groups: {{g: {{file: link.txt}}}}\n{INPUT}",
    "an include": f"{HEAD}include: [link.txt]\n{INPUT}",
    "an include of an include": f"{HEAD}include: [inner.yaml]\n{INPUT}",
}


@pytest.mark.parametrize("what", ["shadow", "binary", "mapping"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["check", "lint", "explain", "lock"])
def test_nothing_is_shown_of_where_a_link_leads_out(place, capsys, verb, way, what):
    linked("link.txt", what)
    (place / "policies/inner.yaml").write_text("include: [link.txt]\n")
    operand = "link.txt"
    if text := WAYS[way]:
        operand = "p.yaml"
        (place / "policies/p.yaml").write_text(text)
    if verb == "lock" and way == "a group":
        return  # it reads none
    more = ["tcp/22", "from", "192.0.2.1"] if verb == "explain" else []
    assert "link.txt:" in refused(capsys, verb, operand, *more)
    assert "link.txt:" in refused(capsys, verb, operand, *more, "--json")


def test_nothing_is_shown_of_an_include_by_its_own_path(place, capsys):
    for path in (f"{place}/shadow", "../shadow"):
        (place / "policies/p.yaml").write_text(f"{HEAD}include: [{path}]\n{INPUT}")
        assert "outside of the policy's folder: nothing of it is shown" in refused(capsys, "check", "p.yaml")


def test_nothing_is_shown_of_a_lock_file_that_leads_out(place, capsys):
    linked("p.lock", "shadow")
    (place / "policies/p.yaml").write_text(f"{HEAD}groups: {{g: {{hosts: [a.example]}}}}\n{INPUT}")
    assert "p.lock:1:1: error: this cannot be read as a lock file" in refused(capsys, "check", "p.yaml")


def test_what_lies_in_the_repository_is_shown(place, capsys):
    """Links within it, and folders beside the policy's own."""
    subprocess.run(["git", "init", "-q", ".."], check=True)
    linked("link.yaml", "mapping")
    (place / "policies/p.yaml").write_text(f"{HEAD}include: [link.yaml, ../mapping]\n{INPUT}")
    assert main(["check", "p.yaml"]) == 1
    assert capsys.readouterr().err.count("unknown key 'root'") == 2


def test_an_include_outside_counts_as_any_other(place, capsys):
    (place / "base.yaml").write_text(INPUT)
    linked("link.yaml", "base.yaml")
    (place / "policies/p.yaml").write_text(f"{HEAD}include: [link.yaml]\n")
    assert main(["check", "p.yaml"]) == 0


@pytest.mark.parametrize(
    "what", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/kmsg"]
)
def test_what_the_kernel_shows_as_files_is_none(place, capsys, what):
    Path("link.txt").symlink_to(what)
    (place / "policies/p.yaml").write_text(WAYS["a group"])
    assert "cannot read link.txt: is not a regular file" in refused(capsys, "check", "p.yaml")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_lock_file_that_is_no_file_says_so(place, capsys, kind):
    if kind == "fifo":
        os.mkfifo("p.lock")
    elif kind == "folder":
        Path("p.lock").mkdir()
    else:
        Path("p.lock").symlink_to("/dev/zero")
    (place / "policies/p.yaml").write_text(f"{HEAD}groups: {{g: {{hosts: [a.example]}}}}\n{INPUT}")
    said = refused(capsys, "check", "p.yaml")
    what = "Is a directory" if kind == "folder" else "is not a regular file"
    assert f"cannot read p.lock: {what}" in said and "resolve" not in said
