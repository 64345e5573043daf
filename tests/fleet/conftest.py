"""Repositories of policies, written where the test runs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada Example"), ("EMAIL", "ada@example.org"))
}


class Repo:
    """The folder that the test works in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **files: str) -> None:
        """`a__b=TEXT` is the file a/b.yaml."""
        for name, text in files.items():
            self.file(f"{name.replace('__', '/')}.yaml", text)

    def file(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *words: str, day: int = 1, given: str | None = None) -> str:
        date = f"2026-01-{day:02}T12:00:00+00:00"
        when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(
            ["git", *words],
            cwd=self.path,
            input=given,
            env=os.environ | WHO | when | {"GIT_CONFIG_GLOBAL": "/dev/null"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, message: str = "a change", day: int = 1) -> str:
        if not (self.path / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message, day=day)
        return self.git("rev-parse", "HEAD")

    def with_header(self, commit: str, header: str) -> str:
        """The same commit with one more header; no branch has it."""
        head, _, message = self.git("cat-file", "commit", commit).partition("\n\n")
        text = f"{head}\n{header}\n\n{message}\n"
        return self.git("hash-object", "-t", "commit", "-w", "--stdin", given=text)


@pytest.fixture
def repo(tmp_path, monkeypatch):
    folder = tmp_path / "repo"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Repo(folder)


INVENTORY = """\
all:
  children:
    web:
      vars: {fwpolicy_policies: [policies/base.yaml, policies/web.yaml]}
      hosts:
        web-[01:03]:
    db:
      vars: {fwpolicy_policies: [policies/base.yaml, policies/db.yaml]}
      hosts:
        db-01:
        db-02: {fwpolicy_policies: [policies/base.yaml]}
"""
BASE = """\
version: 1
name: base
input:
  default: drop
  allow:
    - {service: ssh, from: 192.0.2.0/24}
tests:
  - {allow: ssh, from: 192.0.2.7}
"""
WEB = "version: 1\ninput: {allow: [https]}\n"
DB = "version: 1\ninput: {allow: [{service: tcp/5432, from: 10.0.0.0/8, family: ipv4}]}\n"


@pytest.fixture
def fleet(repo):
    """Five hosts of three different policies."""
    repo.write(inventory=INVENTORY, policies__base=BASE, policies__web=WEB, policies__db=DB)
    return repo
