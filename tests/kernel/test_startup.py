"""What a program does before it does anything: each module of an apply costs half a millisecond."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

POLICY = (
    "version: 1\nname: p\ngroups: {abuse: {file: feed.txt}}\ninput: {default: drop, block: [{from: abuse}]}\n"
)
# What only proofs, daemons, connections that are there, and questions need.
NOT_NEEDED = (
    "fwpolicy.model.",
    "fwpolicy.deploy.proof",
    "fwpolicy.deploy.flows",
    "fwpolicy.deploy.daemons",
    "fwpolicy.deploy.timeservice",
    "fwpolicy.commands.difftext",
    "fwpolicy.commands.outlooktext",
    "dataclasses",
    "inspect",
    "subprocess",
    "tempfile",
)
MOST_OF_OURS, MOST_PATTERNS = 116, 36
PROGRAM = """\
import re._compiler, sys
real, compiled = re._compiler.compile, []
re._compiler.compile = lambda *asked: compiled.append(asked) or real(*asked)
from fwpolicy import cli
assert cli.main(sys.argv[1:]) == 0
print(len(compiled), *sorted(sys.modules), sep="\\n")
"""


@pytest.fixture
def apply(netns, tmp_path):
    (tmp_path / "p.yaml").write_text(POLICY)
    where = ("--quiet", "--no-persist", "--netns", netns, "--state-dir", str(tmp_path / "state"))

    def run(feed: str, *how: str) -> tuple[int, list[str]]:
        (tmp_path / "feed.txt").write_text(feed)
        command = [sys.executable, "-c", PROGRAM, "apply", *where, *how, str(tmp_path / "p.yaml")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        number, *modules = done.stdout.splitlines()
        return int(number), modules

    return run


def test_an_apply_of_other_addresses_imports_what_it_needs(apply):
    apply("192.0.2.0/24\n", "--no-prove")
    patterns, modules = apply("192.0.2.0/24\n203.0.113.9\n", "--no-prove")
    assert [name for name in modules if name.startswith(NOT_NEEDED)] == []
    assert len([name for name in modules if name.startswith("fwpolicy")]) <= MOST_OF_OURS
    assert patterns <= MOST_PATTERNS


def test_proofs_are_still_made_where_they_are_wanted(apply):
    apply("192.0.2.0/24\n")
    _, modules = apply("192.0.2.0/24\n203.0.113.9\n")
    assert "fwpolicy.deploy.proof" in modules and "fwpolicy.model.prove" in modules
