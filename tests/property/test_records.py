"""The law of test_meaning.py for the whole language: zones, forward, NAT, limits, dates, groups, logs.

Packet by packet and by a reader of its own; test_model.py has the same for all packets at once."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.model.decide import decide
from fwpolicy.model.simulate import simulate
from tests.property.records import packets, policies


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), st.lists(packets(), min_size=60, max_size=60))
def test_the_ruleset_decides_as_the_language_says(policy, sample):
    ruleset = lower(policy, Facts())
    for packet in sample:
        said = decide(policy, packet)
        done, rule = simulate(ruleset, packet)
        expected = "accept" if said.verdict == "undecided" else said.verdict
        assert done == expected, f"{packet}\n{said}\n{rule}\n{render(ruleset, '').text}"
