"""The checks of a golden case that need no kernel: its text, its packets, its own tests."""

from __future__ import annotations

import pytest

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy import xtproof
from fwpolicy.model import hooks
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.decide import decide
from fwpolicy.model.expect import failures
from fwpolicy.model.simulate import simulate
from tests.golden import cases


def test_every_shipped_policy_is_a_golden_case():
    shipped = {path.stem for path in (cases.HERE.parents[1] / "policies").glob("*.yaml")}
    assert shipped and shipped <= set(cases.CASES)


@pytest.mark.parametrize("case", cases.CASES)
def test_the_text_is_the_golden_one_every_time(case):
    assert cases.rendered(case) == cases.golden(case).read_text()
    assert cases.rendered(case) == cases.rendered(case)


@pytest.mark.parametrize("case", cases.CASES)
def test_what_iptables_is_given_is_the_golden_one_every_time(case):
    assert cases.golden_iptables(case), "the texts, or why there are none"
    assert cases.rendered_iptables(case) == cases.golden_iptables(case)
    assert cases.rendered_iptables(case) == cases.rendered_iptables(case)


@pytest.mark.parametrize("case", cases.SAID)
def test_iptables_decides_as_the_table_says(case):
    texts = cases.iptables(case)
    program = xtproof.prove_compiled(cases.policy(case), None, texts)
    for packet, verdict, _ in cases.packets(case):
        found = {member(field): value for field, value in to_fields(packet).items()}
        room = {} if packet.spent else dict.fromkeys(program.limiters, 1)
        done, rule = hooks.decide(program, packet.hook, found | room)
        expected = "accept" if verdict == "undecided" else verdict
        assert done.kind.partition(":")[0] == expected, (packet, rule)


@pytest.mark.parametrize("case", cases.SAID)
def test_without_u32_iptables_decides_but_for_the_mode(case):
    old = Dialect(u32=False)
    texts = xtproof.compiled(cases.policy(case), cases.facts(case), old)
    xtproof.prove_compiled(cases.policy(case), None, texts, old)
    assert not any("u32" in each.text for each in texts.all)


def member(field: str) -> str:
    """A run-time group's field as our sets have it."""
    return field.replace("member:", "member:fwp-", 1)


@pytest.mark.parametrize("case", cases.CASES)
def test_the_policy_decides_as_its_table_says(case):
    table = cases.packets(case)
    assert len(table) >= 12, "a table that proves something"
    policy = cases.policy(case)
    for packet, verdict, step in table:
        decision = decide(policy, packet)
        assert (decision.verdict, decision.step) == (verdict, step), packet


@pytest.mark.parametrize("case", cases.CASES)
def test_the_ruleset_decides_as_the_table_says(case):
    ruleset = cases.ruleset(case)
    for packet, verdict, _ in cases.packets(case):
        done, rule = simulate(ruleset, packet)
        assert done == ("accept" if verdict == "undecided" else verdict), (packet, rule)


@pytest.mark.parametrize("case", cases.CASES)
def test_the_policys_own_tests_hold(case):
    policy = cases.policy(case)
    assert policy.tests
    assert failures(policy) == ()


@pytest.mark.parametrize("case", cases.CASES)
def test_lines_of_the_policy_are_behind_the_rules(case):
    artifact = render(cases.ruleset(case), case)
    lines = artifact.text.splitlines()
    spans = dict(artifact.origins)
    ours = [
        number for number, line in enumerate(lines, 1) if 'comment "allow' in line or 'comment "role' in line
    ]
    assert ours and all(spans[number].file == "policy.yaml" for number in ours)
