"""The law of test_meaning.py for the whole language: zones, forward, NAT, limits, dates, groups, logs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.model.decide import decide
from fwpolicy.model.packet import Packet
from fwpolicy.model.simulate import simulate
from tests.property.records import packets, policies

pytestmark = pytest.mark.skipif("spent" not in Packet.__slots__, reason="packets do not say enough yet")


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), st.lists(packets(), min_size=60, max_size=60))
def test_the_ruleset_decides_as_the_language_says(policy, sample):
    ruleset = lower(policy, Facts())
    for packet in sample:
        said = decide(policy, packet)
        done, rule = simulate(ruleset, packet)
        expected = "accept" if said.verdict == "undecided" else said.verdict
        assert done == expected, f"{packet}\n{said}\n{rule}\n{render(ruleset, '').text}"
