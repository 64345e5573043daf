"""Laws: what the compiler emits means what the language says, packet by packet."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.errors import PolicyError
from fwpolicy.model.decide import decide
from fwpolicy.model.simulate import simulate
from tests.property.strategies import loaded, packets, policy_texts


@settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(policy_texts(), st.lists(packets(), min_size=60, max_size=60), st.booleans())
def test_the_ruleset_decides_as_the_language_says(text, sample, nat):
    try:
        policy = loaded(text)
    except PolicyError:
        assume(False)
    ruleset = lower(policy, Facts(nat=nat))
    for packet in sample:
        said = decide(policy, packet)
        done, rule = simulate(ruleset, packet)
        expected = "accept" if said.verdict == "undecided" else said.verdict
        assert done == expected, f"{packet}\n{said}\n{rule}\n{text}"
