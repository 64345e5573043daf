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
PORTS = (
    (22, 22),
    (23, 23),
    (80, 80),
    (20, 80),
    (443, 443),
    (50, 60),
    (22, 23),
    (1, 1000),
    (7, 7),
    (53, 53),
    (55, 55),
    (81, 81),
)
LIMIT = ir.LimitObject("slow", ir.Rate(5, "minute", 5))
SIDE = ir.Chain("side", (ir.Rule((ir.Port(6, "dport", ((22, 22),)),), ir.Drop(), "allow", None, "in_side"),))
END = ir.Chain("end", (ir.Rule((), ir.Continue(), "log", log=ir.Log("x ")), ir.Rule((), ir.Drop(), "log")))


VERDICTS = (
    *(ir.Accept(),) * 4,
    *(ir.Drop(), ir.Reject("port-unreachable"), ir.Return(), ir.Continue()),
    *(ir.Jump("side"), ir.Jump("end")),
)


def seldom(draw) -> bool:
    return draw(st.integers(0, 5)) == 0


@st.composite
def shapes(draw) -> tuple[object, ...]:
    """What rules of one shape have in common: (family, side, header, the rest)."""
    family = draw(st.sampled_from((None, None, 4, 4, 6)))
    side = "daddr" if seldom(draw) else "saddr"
    header = draw(st.sampled_from(("tcp", "tcp", "tcp", "udp", "both", "proto", None)))
    rest: list[ir.Match] = []
    if seldom(draw):
        rest.append(ir.Interface("iifname", (draw(st.sampled_from(("eth0", "eth1"))),), draw(st.booleans())))
    if seldom(draw):
        rest.append(ir.LimitName("slow"))
    return (family, side, header, tuple(rest))


@st.composite
def matches(draw, shape) -> tuple[ir.Match, ...]:
    family, side, header, rest = shape
    found: list[ir.Match] = []
    if family:
        texts = draw(st.lists(st.sampled_from(TEXTS[family]), min_size=1, max_size=2))
        found.append(ir.Address(family, side, addresses.of(*texts).of(family), negated=seldom(draw)))
        if seldom(draw):
            name = draw(st.sampled_from([each.name for each in SETS if each.family == family]))
            found[-1] = ir.Address(family, side, (), name, negated=draw(st.booleans()))
    port = draw(st.sampled_from(PORTS))
    number = 17 if header == "udp" else 6
    if header == "both":
        found.append(ir.AnyPort((6, 17), "dport", (port,)))
    elif header == "proto":
        found.append(ir.L4Proto((draw(st.sampled_from((6, 17))),)))
    elif header:
        found.append(ir.Port(number, "dport", (port,)))
    # A limit comes last.
    return (*rest[:-1], *found, *rest[-1:])


@st.composite
def rules(draw, number: int, shape, verdict: ir.Verdict) -> ir.Rule:
    counter = None if seldom(draw) else f"line_{number}"
    if isinstance(verdict, ir.Jump) and draw(st.booleans()):
        counter = None
    log = ir.Log("noted ") if seldom(draw) and seldom(draw) else None
    step = "block" if number < 4 else "allow"
    origin = replace(HERE, line=number)
    comment = draw(st.sampled_from((None, "a")))
    return ir.Rule(draw(matches(shape)), verdict, step, origin, counter, comment, log)


@st.composite
def tables(draw) -> ir.Table:
    """Lines of few shapes and verdicts, of one rule, and some of several."""
    chosen = draw(st.lists(shapes(), min_size=1, max_size=2))
    verdicts = draw(st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=3))
    made: list[ir.Rule] = []
    for number in range(1, draw(st.integers(8, 24))):
        shape = draw(st.sampled_from(chosen))
        rule = draw(rules(number, shape, draw(st.sampled_from(verdicts))))
        made.append(rule)
        for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 2)))):
            made.append(replace(rule, matches=draw(matches(draw(st.sampled_from((shape, *chosen)))))))
    base = ir.Base("input", ir.OURS, draw(st.sampled_from(("accept", "drop"))))
    counters = (*(f"line_{number}" for number in range(1, 21)), "in_side")
    chains = (SIDE, END, ir.Chain("input", tuple(made), base))
    return ir.Table(ir.FAMILY, ir.TABLE, SETS, chains, counters, (LIMIT,))
