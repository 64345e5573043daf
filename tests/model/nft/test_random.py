"""Random policies: the text that we emit, read back, decides as the ruleset does by simulate.py."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_text
from fwpolicy.model.simulate import simulate
from tests.compiler.passes.eager import eager
from tests.model.nft.comparing import differences, limiters, readings
from tests.model.nft.packets import as_fields
from tests.property import records
from tests.property.test_passes import full_packets

LAW = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=30)


@pytest.fixture(params=("as it is compiled", "with every pass"))
def passes(request):
    if request.param == "as it is compiled":
        yield
    else:
        with eager():
            yield


@LAW
@given(records.policies(), full_packets())
def test_read_back_it_decides_as_simulated(passes, policy, packets):
    ruleset = compile_ruleset(policy, Facts())
    program = of_text(render(ruleset, "random").text, "random.nft")
    full = limiters(program)
    for packet in packets:
        said, _ = simulate(ruleset, packet)
        verdict, _ = decide(program, packet.hook, as_fields(packet, full))
        assert verdict.kind.partition(":")[0] == said, packet
    assert program.unmodelled == ()


@pytest.mark.kernel
# Shrinking takes minutes where each example is loaded and listed.
@settings(LAW, max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(records.policies())
def test_listed_it_is_the_same_function(passes, netns, policy):
    text = render(compile_ruleset(policy, Facts()), "random").text
    programs = readings(netns, f"flush ruleset\n{text}")
    assert not next(differences(programs, 200), None)
