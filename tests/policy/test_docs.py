"""docs/language.md is about this program: its example is a policy, and no key is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fwpolicy.errors import PolicyError
from fwpolicy.model.expect import failures
from fwpolicy.policy import gates, include, lines, log, nat, parse
from tests.policy.reading import HEAD, read

TEXT = (Path(__file__).parent.parent.parent / "docs" / "language.md").read_text(encoding="utf-8")
EXAMPLE = TEXT.split("```yaml\n")[1].split("```")[0]
LOCK = "version: 1\ngroups: {mirrors: {hosts: [deb.example.org], addresses: [192.0.2.3]}}\n"
KEYS = {
    *parse.TOP,
    *parse.GROUP_SOURCES,
    *parse.HOSTS_KEYS,
    *parse.NTP_KEYS,
    *parse.APPLY_KEYS,
    *gates.KEYS,
    *(key for keys in lines.MATCH_KEYS.values() for key in keys),
    *lines.LIMIT_KEYS,
    *lines.LABEL_KEYS,
    *lines.TEST_KEYS,
    *lines.TEST_MORE,
    *log.KEYS,
    *(key for keys in nat.KEYS.values() for key in keys),
    *("clamp-mss", "except", "comment", "action", "optional"),
}


def test_the_example_is_a_policy_and_its_tests_hold():
    files = {
        "base.yaml": "output: {default: accept}\n",
        "web.lock": LOCK,
        "feeds/drop.txt": "203.0.113.9 # a feed\n",
    }
    policy = read(EXAMPLE, names=("web.yaml",), files=files)
    assert len(policy.tests) == 3
    assert failures(policy) == ()


RULE_KEYS = TEXT.split("## Rule keys\n")[1].split("\n## ")[0]
LINES = [row.rsplit("`", 2)[1] for row in RULE_KEYS.splitlines() if row.endswith("}` |")]


def is_a_line_of(section: str, line: str) -> bool:
    head = "".join(re.findall(r"^(?:groups|zones|services):.*\n(?: .*\n)*", EXAMPLE, re.M))
    section, kind = section.split()
    try:
        read(
            f"{HEAD}{head}{section}: {{default: drop, {kind}: [{line}]}}\n",
            names=("web.yaml",),
            files={"web.lock": LOCK, "feeds/drop.txt": "203.0.113.9\n"},
        )
    except PolicyError:
        return False
    return True


@pytest.mark.parametrize("line", LINES)
def test_the_examples_of_rules_are_lines_of_the_example(line):
    sections = ("input allow", "input block", "output allow", "forward allow")
    assert any(is_a_line_of(section, line) for section in sections)


def test_there_are_examples_of_rules():
    assert len(LINES) >= 15


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_described(key):
    assert re.search(rf"`[^`\n]*\b{re.escape(key)}\b[^`\n]*`|^ *{re.escape(key)}:", TEXT, re.M), key


@pytest.mark.parametrize("key", (*include.SCALARS, *include.LISTS))
def test_what_can_be_overridden_is_a_key(key):
    top, _, rest = key.partition(".")
    assert top in parse.TOP
    assert rest == "default" or rest in {"ntp", *log.KEYS, *parse.APPLY_KEYS}
