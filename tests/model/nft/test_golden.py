"""Our own rulesets: as they are emitted and as the kernel lists them, they are the same function."""

from __future__ import annotations

import pytest

from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_text
from tests.golden import cases
from tests.model.nft.comparing import differences, limiters, readings
from tests.model.nft.packets import as_fields


@pytest.mark.kernel
@pytest.mark.parametrize("case", cases.CASES)
def test_emitted_and_listed_are_the_same_function(case, netns):
    programs = readings(netns, cases.golden(case).read_text())
    assert not next(differences(programs), None)
    assert [program.unmodelled for program in programs] == [()] * len(programs)


@pytest.mark.parametrize("case", cases.CASES)
def test_it_gives_the_verdicts_of_the_table(case):
    program = of_text(cases.golden(case).read_text(), "ruleset.nft")
    full = limiters(program)
    for packet, expected, _ in cases.packets(case):
        verdict, _ = decide(program, packet.hook, as_fields(packet, full))
        said = "accept" if expected == "undecided" else expected
        assert verdict.kind.partition(":")[0] == said, packet


@pytest.mark.parametrize("case", cases.CASES)
def test_every_rule_has_its_line(case):
    text = cases.golden(case).read_text()
    lines = text.split("\n")
    program = of_text(text, "ruleset.nft")
    for chain in program.chains.values():
        for rule in chain.rules:
            assert lines[rule.where.line - 1].strip() == rule.where.text
            assert rule.where.chain == chain.name
