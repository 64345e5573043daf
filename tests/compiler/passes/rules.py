"""Random chains of rules that meet each other often, in the ruleset's own words."""

from __future__ import annotations

from hypothesis import strategies as st

from fwpolicy import addresses
from fwpolicy.ir import ruleset as ir
from fwpolicy.record import replace
from tests.compiler.build import HERE

TEXTS = {
    4: ("10.0.0.1", "10.0.0.2", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.2-10.0.0.5"),
    6: ("2001:db8::1", "2001:db8::2", "2001:db8::/32"),
}
SETS = (
    ir.Set("many_v4", 4, addresses.of("10.0.0.0/30", "10.0.0.9").v4),
    ir.Set("more_v4", 4, addresses.of("10.0.1.0/24", "10.0.0.2").v4),
    ir.Set("many_v6", 6, addresses.of("2001:db8::/64", "2001:db8:1::1").v6),
)
PORTS = ((22, 22), (23, 23), (80, 80), (20, 80), (443, 443), (50, 60), (22, 23), (1, 1000))
LIMIT = ir.LimitObject("slow", ir.Rate(5, "minute", 5))
SIDE = ir.Chain("side", (ir.Rule((ir.Port(6, "dport", ((22, 22),)),), ir.Drop(), "allow", None, "in_side"),))
END = ir.Chain("end", (ir.Rule((), ir.Continue(), "log", log=ir.Log("x ")), ir.Rule((), ir.Drop(), "log")))


@st.composite
def matches(draw) -> tuple[ir.Match, ...]:
    found: list[ir.Match] = []
    if draw(st.integers(0, 5)) == 0:
        found.append(ir.Interface("iifname", (draw(st.sampled_from(("eth0", "eth1"))),), draw(st.booleans())))
    family = draw(st.sampled_from((None, 4, 4, 6)))
    if family:
        texts = draw(st.lists(st.sampled_from(TEXTS[family]), min_size=1, max_size=2))
        inner = addresses.of(*texts).of(family)
        side = draw(st.sampled_from(("saddr", "saddr", "daddr")))
        found.append(ir.Address(family, side, inner, negated=draw(st.integers(0, 5)) == 0))
        if draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from([each.name for each in SETS if each.family == family]))
            found[-1] = ir.Address(family, side, (), name, negated=draw(st.booleans()))
    port = draw(st.sampled_from(PORTS))
    number = draw(st.sampled_from((6, 6, 6, 17)))
    kinds: tuple[tuple[ir.Match, ...], ...] = (
        (),
        *[(ir.Port(number, "dport", (port,)),)] * 4,
        (ir.AnyPort((6, 17), "dport", (port,)),),
        (ir.L4Proto((number,)),),
    )
    found += draw(st.sampled_from(kinds))
    if draw(st.integers(0, 7)) == 0:
        found.append(ir.LimitName("slow"))
    return tuple(found)


@st.composite
def rules(draw, number: int) -> ir.Rule:
    verdicts = (
        [ir.Accept()] * 4 + [ir.Drop()] * 2 + [ir.Reject("port-unreachable"), ir.Return(), ir.Continue()]
    )
    verdict = draw(st.sampled_from([*verdicts, ir.Jump("side"), ir.Jump("end")]))
    counter = f"line_{number}" if draw(st.integers(0, 4)) else None
    step = "block" if number < 3 else "allow"
    log = ir.Log("noted ") if draw(st.integers(0, 9)) == 0 else None
    origin = replace(HERE, line=number)
    return ir.Rule(draw(matches()), verdict, step, origin, counter, draw(st.sampled_from((None, "a"))), log)


@st.composite
def tables(draw) -> ir.Table:
    """Lines of one rule, and some of several."""
    made: list[ir.Rule] = []
    for number in range(1, draw(st.integers(2, 20))):
        rule = draw(rules(number))
        made.append(rule)
        for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
            made.append(replace(rule, matches=draw(st.sampled_from((rule.matches, draw(matches()))))))
    base = ir.Base("input", ir.OURS, draw(st.sampled_from(("accept", "drop"))))
    counters = tuple(f"line_{number}" for number in range(1, 21)) + ("in_side",)
    return ir.Table(
        ir.FAMILY, ir.TABLE, SETS, (SIDE, END, ir.Chain("input", tuple(made), base)), counters, (LIMIT,)
    )
