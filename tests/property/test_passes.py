"""Laws of the passes: whichever run, in whichever order, each packet meets the same end, is counted by
the same counters, written to the same logs, and takes from the same limits."""

from __future__ import annotations

from itertools import combinations, permutations
from unittest import mock
from zlib import crc32

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.passes import PASSES
from fwpolicy.errors import PolicyError
from fwpolicy.ir.ruleset import Ruleset
from fwpolicy.model.decide import decide
from fwpolicy.model.simulate import simulate
from fwpolicy.record import record
from tests.compiler.passes.eager import eager
from tests.compiler.passes.policies import packets, policies
from tests.compiler.passes.rules import tables
from tests.property import records, strategies

ORDERS = [order for count in range(1, len(PASSES) + 1) for order in permutations(PASSES, count)]
LAW = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def eager_passes():
    with eager():
        yield


@record
class Full:
    """A packet that says all that simulate() may ask (records.packets)."""

    hook: str
    family: int
    protocol: int
    source: int
    destination: int
    sport: int | None
    dport: int | None
    icmp_type: int | None
    state: str
    mode: int | None
    loopback: bool
    incoming: str | None
    outgoing: str | None
    published: int | None
    time: int | None
    source_in: tuple[str, ...]
    destination_in: tuple[str, ...]
    spent: bool


@st.composite
def full_packets(draw):
    with mock.patch.object(records, "Packet", Full):
        return draw(st.lists(records.packets(), min_size=40, max_size=40))


def effects(ruleset, packet, spent):
    """The verdict, and what happens on the way to it."""
    told: list[object] = []

    def met(rule):
        told.extend(each for each in (rule.counter, rule.log) if each)

    def room(limit):
        told.append(limit)
        return not (packet.spent or (spent and crc32(repr(limit).encode()) % 2))

    verdict, rule = simulate(ruleset, packet, room, met)
    return verdict, told, rule and (rule.step, rule.comment)


def keys_are_apart(ruleset):
    """The kernel refuses a key twice, and of overlapping ones takes either."""
    for table in ruleset.tables:
        for each in table.maps:
            for one, other in combinations(each.elements, 2):
                pairs = zip(one.key, other.key, strict=True)
                assert not all(a[0] <= b[1] and b[0] <= a[1] for a, b in pairs), (each.name, one, other)


def holds(policy, sample, facts, orders):
    plain = compile_ruleset(policy, facts, ())
    expected = [effects(plain, packet, index % 2) for index, packet in enumerate(sample)]
    for order in orders:
        ruleset = compile_ruleset(policy, facts, order)
        keys_are_apart(ruleset)
        for index, (packet, wanted) in enumerate(zip(sample, expected, strict=True)):
            found = effects(ruleset, packet, index % 2)
            assert found == wanted, f"{packet}\n{[each.NAME for each in order]}"
    return expected


@settings(LAW, max_examples=200)
@given(policies(), st.lists(packets(), min_size=40, max_size=40), st.data())
def test_many_lines_decide_count_log_and_limit_as_before(policy, sample, data):
    orders = [PASSES, *data.draw(st.lists(st.sampled_from(ORDERS), max_size=4))]
    expected = holds(policy, sample, Facts(), orders)
    # Some limits are spent at the odd places, which decide() is not told.
    for packet, (verdict, *_) in list(zip(sample, expected, strict=True))[::2]:
        assert verdict == decide(policy, packet).verdict


@settings(LAW, max_examples=350)
@given(tables(), st.lists(packets(), min_size=40, max_size=40), st.sampled_from(ORDERS[-24:]))
def test_any_rules_do_as_before(table, sample, order):
    """Of the ruleset's own words, more than policies make of them today."""
    plain = ruleset = Ruleset((table,))
    for each in order:
        ruleset = each.run(ruleset)
    keys_are_apart(ruleset)
    for index, packet in enumerate(sample):
        names = [each.NAME for each in order]
        assert effects(ruleset, packet, index % 2) == effects(plain, packet, index % 2), f"{packet}\n{names}"


@settings(LAW, max_examples=180)
@given(records.policies(), full_packets(), st.lists(st.sampled_from(ORDERS), max_size=3))
def test_the_whole_language_does_as_before(policy, sample, orders):
    """Zones, forward, NAT, limits, dates, dynamic groups, logs, published services."""
    holds(policy, sample, Facts(), [PASSES, *orders])


@settings(LAW, max_examples=60)
@given(strategies.policy_texts(), st.integers(0, 2**32), st.booleans())
def test_any_policy_decides_as_before(text, seed, nat):
    try:
        policy = strategies.loaded(text)
    except PolicyError:
        assume(False)
    sample = list(strategies.sample(policy, seed, 20))
    expected = holds(policy, sample, Facts(nat=nat), ORDERS)
    # Some limits are spent at the odd places, which decide() is not told.
    for packet, (verdict, *_) in list(zip(sample, expected, strict=True))[::2]:
        said = decide(policy, packet).verdict
        assert verdict == ("accept" if said == "undecided" else said)
