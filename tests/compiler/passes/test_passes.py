"""What each pass makes of its case, and that small rulesets stay as they are written."""

from __future__ import annotations

import pytest

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.passes import PASSES, merge
from fwpolicy.ir import ruleset as ir
from fwpolicy.model.packet import Packet
from fwpolicy.model.simulate import simulate
from tests.compiler.build import HERE, allow, match, policy, section
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
    for limiter in (ir.Rate(5, "minute", 5), ir.CtCount(3)):
        rules = tuple(
            ir.Rule((ir.Port(6, "dport", ((port, port),)), limiter), ir.Accept(), "allow", HERE)
            for port in (1, 3)
        )
        ruleset = ir.Ruleset((ir.Table("inet", "t", (), (ir.Chain("c", rules),)),))
        assert merge.run(ruleset) == ruleset


def test_bits_are_never_joined():
    """`nft -o` does: it makes one mode of two an exact match of both."""
    rules = tuple(
        ir.Rule((ir.Port(17, "dport", ((123, 123),)), ir.NtpMode((mode,))), ir.Accept(), "allow", HERE)
        for mode in (3, 4, 5, 6)
    )
    ruleset = ir.Ruleset((ir.Table("inet", "t", (), (ir.Chain("c", rules),)),))
    assert compile_passes(ruleset) == ruleset


def compile_passes(ruleset):
    for each in PASSES:
        ruleset = each.run(ruleset)
    return ruleset


def test_a_key_of_two_chains_is_asked_for_in_both():
    """A packet in the hole of the first line goes on to the second, which has the same key."""
    lines = [allow(f"tcp/{n}", match(source="10.0.0.1"), source="10.0.0.0/8") for n in (1, 2, 3, 4)]
    lines += [allow("tcp/1", match(source="10.0.0.2"), source="10.0.0.0/8", id="second")]
    ruleset = compile_ruleset(policy(section("input", "drop", *numbered(*lines))))
    (one,) = ruleset.tables[0].maps
    assert len(one.elements) == 4
    packet = Packet("input", 4, 6, 0x0A000001, 0x0A000009, 40000, 1)
    verdict, rule = simulate(ruleset, packet)
    assert verdict == "accept"
    assert rule.counter == "allow_input_second"


def test_a_line_keeps_every_key_where_a_network_has_too_many_for_one_map():
    """Room counts a network's keys, and the last line that it has room for may bring several."""
    ports = [" ".join(f"tcp/{n}" for n in range(first, first + 20, 2)) for first in range(100, 700, 20)]
    lines = [allow(each, source="192.0.2.0/24") for each in ports]
    lines += [allow(f"tcp/{n}", source=f"10.0.{n}.0/24") for n in range(1, 10)]
    ruleset = compile_ruleset(policy(section("input", "drop", *numbered(*lines))))
    for port in range(100, 700, 2):
        packet = Packet("input", 4, 6, 0xC0000201, 0x0A000009, 40000, port)
        assert simulate(ruleset, packet)[0] == "accept"


@pytest.mark.parametrize("kind", [lambda n: ir.L4Proto((n,)), lambda n: ir.Port(n, "dport", ((53, 53),))])
def test_protocols_stay_apart_before_the_original_port(kind):
    """nft 1.0.6 has no type for `ct original proto-dst` behind several, and lists what it does not read."""
    rules = tuple(
        ir.Rule((kind(number), ir.OriginalPort(53, 53)), ir.Accept(), "allow", HERE) for number in (6, 17)
    )
    ruleset = ir.Ruleset((ir.Table("inet", "t", (), (ir.Chain("c", rules),)),))
    assert compile_passes(ruleset) == ruleset
