"""The awk program makes of a host's rules what `reload.restore` makes."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product

import pytest

from fwpolicy.backends.iptables import reload
from fwpolicy.deploy.script.pieces import piece
from tests.golden import cases

from .test_texts import NEW, SAVED

AWKS = [words for words in (("gawk",), ("mawk",), ("busybox", "awk")) if shutil.which(words[0])]
CASES = ("router", "ntp-client", "holes", "bastion")


def merged(awk, saved: str, rules: str, folder) -> str:
    (folder / "fwpolicy.awk").write_text(piece("reload.awk"))
    (folder / "rules").write_text(rules)
    command = (*awk, "-v", "text=rules", "-f", "fwpolicy.awk")
    done = subprocess.run(command, input=saved, capture_output=True, text=True, check=True, cwd=folder)
    assert not done.stderr
    return done.stdout


def tables(text: str) -> dict[str, list[str]]:
    """Lines by table: in which order tables come that only lose something is no matter."""
    found = {}
    for line in text.splitlines():
        if line.startswith("*"):
            found[line] = block = []
        elif line[:1] != "#":
            block.append(line)
    return found


@pytest.mark.parametrize("awk", AWKS, ids=" ".join)
@pytest.mark.parametrize(("before", "after"), [*product(CASES, CASES), ("router", ""), ("", "router")])
def test_of_one_policy_after_another(awk, before, after, tmp_path):
    old, new = (cases.iptables(case).rules[0].text if case else "" for case in (before, after))
    # As it is saved: appended in order, each table whole.
    saved = old.replace("-I INPUT 1", "-A INPUT").replace("-I OUTPUT 1", "-A OUTPUT")
    for hook in ("FORWARD", "PREROUTING", "POSTROUTING"):
        saved = saved.replace(f"-I {hook} 1", f"-A {hook}")
    assert tables(merged(awk, saved, new, tmp_path)) == tables(reload.restore(new, saved))


@pytest.mark.parametrize("awk", AWKS, ids=" ".join)
def test_beside_others_and_with_quotes(awk, tmp_path):
    assert AWKS
    assert merged(awk, SAVED, NEW, tmp_path) == reload.restore(NEW, SAVED)
    assert merged(awk, SAVED, "", tmp_path) == reload.restore("", SAVED)
