"""Which rules a rule may be moved before: never too many."""

from __future__ import annotations

import pytest

from fwpolicy import addresses
from fwpolicy.compiler.passes.conflicts import Passed, reach
from fwpolicy.ir import ruleset as ir

TEN = addresses.of("10.0.0.0/8").v4
ONE = addresses.of("192.0.2.1").v4
SSH = ir.Port(6, "dport", ((22, 22),))


def rule(*matches: ir.Match) -> ir.Rule:
    return ir.Rule(matches, ir.Accept(), "allow")


@pytest.mark.parametrize(
    ("passed", "mine", "meets"),
    [
        ((SSH,), (SSH,), True),
        ((SSH,), (ir.Port(6, "dport", ((23, 23),)),), False),
        ((SSH,), (ir.Port(17, "dport", ((22, 22),)),), False),
        ((SSH,), (ir.Port(6, "dport", ((1, 1000),)),), True),
        ((ir.Port(6, "dport", ((1, 1000),)),), (SSH,), True),
        ((ir.AnyPort((6, 17), "dport", ((22, 22),)),), (SSH,), True),
        # A source port says nothing of the destination's.
        ((ir.Port(6, "sport", ((9, 9),)),), (SSH,), True),
        ((), (SSH,), True),
        ((ir.Address(4, "saddr", TEN),), (ir.Address(4, "saddr", ONE),), False),
        ((ir.Address(4, "saddr", TEN),), (ir.Address(4, "daddr", ONE),), True),
        ((ir.Address(4, "saddr", TEN),), (ir.Address(6, "saddr", addresses.of("::1").v6),), False),
        # What is outside, what is in a set, and what was before NAT may be anything.
        ((ir.Address(4, "saddr", TEN, negated=True),), (ir.Address(4, "saddr", ONE),), True),
        ((ir.Address(4, "saddr", (), "banned_v4"),), (ir.Address(4, "saddr", ONE),), True),
        ((ir.Address(4, "daddr", TEN, original=True),), (ir.Address(4, "daddr", ONE),), True),
        ((ir.IcmpType(1, (8,)),), (SSH,), False),
        ((ir.Nfproto(6), SSH), (ir.Address(4, "saddr", ONE), SSH), False),
    ],
)
def test_whether_a_packet_meets_both(passed, mine, meets):
    known = Passed(reach(rule(*mine)))
    known.add(reach(rule(*passed)))
    assert known.meets(reach(rule(*mine))) == meets
