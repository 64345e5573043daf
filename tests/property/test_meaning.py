"""Laws: what the compiler emits means what the language says, packet by packet."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.errors import PolicyError
from fwpolicy.model.decide import decide
from fwpolicy.model.simulate import simulate
from tests.property.strategies import DYNAMIC, HOOKS, MIXED, loaded, policy_texts, sample

POLICIES, PACKETS = 450, 120
QUICK = settings(
    max_examples=POLICIES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
# What enough of the policies must have in their lines, for the law to say something about it.
WORDS = (
    *("service", "from", "to", "in", "out", "local", "sport", "published", "family", "except"),
    *("expires", "log", "limit", "burst", "max", "per", "action", *DYNAMIC, MIXED),
)
STEPS = ("essential", "invalid", "established", "block", "allow", "default")


def test_the_ruleset_decides_as_the_language_says():
    policies, decisions = Counter(), Counter()

    @QUICK
    @given(policy_texts(), st.integers(0, 2**32), st.booleans())
    def law(text, seed, nat):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        sections = text[text.index("roles:" if policy.ntp else "zones:") : text.find("nat:")]
        policies.update({"all", *re.findall(r"\w+", sections)})
        policies["port forwards"] += bool(policy.nat and policy.nat.forward)
        ruleset = lower(policy, Facts(nat=nat))
        for packet in sample(policy, seed, PACKETS):
            said = decide(policy, packet)
            done, rule = simulate(ruleset, packet)
            expected = "accept" if said.verdict == "undecided" else said.verdict
            assert done == expected, f"{packet}\n{said}\n{rule}\n{text}"
            decisions[packet.hook, said.step] += 1

    law()
    assert policies["all"] >= POLICIES * 9 // 10, "too many of the random policies are refused"
    assert not [word for word in (*WORDS, "port forwards") if policies[word] < 10], policies
    few = [(hook, step) for hook in HOOKS for step in STEPS if decisions[hook, step] < 100]
    assert not few and decisions["input", "role:ntp"] > 100, decisions
