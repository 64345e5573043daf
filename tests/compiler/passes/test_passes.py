"""What each pass makes of its case, and that small rulesets stay as they are written."""

from __future__ import annotations

import pytest

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.passes import PASSES, merge
from tests.compiler.build import allow, policy, section
from tests.compiler.passes import cases
from tests.compiler.passes.cases import numbered


@pytest.mark.parametrize("which", PASSES, ids=lambda each: each.NAME)
def test_the_case_of_a_pass(which):
    assert cases.texts(which) == tuple(file.read_text() for file in cases.files(which))


@pytest.mark.parametrize("which", PASSES, ids=lambda each: each.NAME)
def test_a_pass_finds_nothing_more_in_what_it_made(which):
    once = compile_ruleset(cases.CASES[which], passes=(which,))
    assert which.run(once) == once


@pytest.mark.parametrize("which", PASSES, ids=lambda each: each.NAME)
def test_a_few_lines_are_left_as_they_are(which):
    lines = [allow(f"tcp/{n}", source=f"192.0.2.{n}") for n in range(1, 6)]
    few = policy(section("input", "drop", *numbered(*lines, allow("udp/4-6"), allow("udp/8-9"))))
    plain = compile_ruleset(few, passes=())
    assert which.run(plain) == plain


def test_the_counters_of_all_lines_stay():
    for wanted in cases.CASES.values():
        plain, done = compile_ruleset(wanted, passes=()), compile_ruleset(wanted)
        assert plain.tables[0].counters == done.tables[0].counters


def test_limiters_of_one_rule_are_never_joined():
    """Two rules with `limit rate` each let twice as much through as one."""
    lines = numbered(allow("dns", log="asked"))
    plain = compile_ruleset(policy(section("input", "drop", *lines)), passes=())
    rules = [rule for chain in merge.run(plain).tables[0].chains for rule in chain.rules if rule.log]
    assert len(rules) == sum(bool(rule.log) for chain in plain.tables[0].chains for rule in chain.rules)
