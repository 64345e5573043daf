"""Names are apart: two lines never share a chain, a limiter or a group's set."""

from __future__ import annotations

import pytest

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.names import distinct
from fwpolicy.errors import PolicyError
from fwpolicy.ir.ruleset import Chain, Ruleset, Set, Table
from fwpolicy.model.decide import decide
from fwpolicy.model.packet import parse_packet
from fwpolicy.model.simulate import simulate
from fwpolicy.policy.load import load

# A line whose name is what another line's chains would be called.
CLASHES = {
    "a hole's chain": """\
    - {service: tcp/81, except: {from: 203.0.113.0/24}, id: w_except}
    - {service: [tcp/80, udp/80], max: 3, except: {from: 10.0.0.0/8}, id: w}
""",
    "the chain behind a limit": """\
    - {service: [tcp/80, udp/80], max: 1, id: w_pass}
    - {service: ssh, limit: 1/minute, burst: 1, per: source, log: true, id: w}
""",
    "the chain of a limit": """\
    - {service: [tcp/81, udp/81], max: 2, id: w_limit}
    - {service: [tcp/80, udp/80], max: 3, except: {from: 10.0.0.0/8}, id: w}
""",
}


def policy(lines: str, groups: str = ""):
    text = f"version: 1\n{groups}input:\n  default: drop\n  allow:\n{lines}"
    return load((("p.yaml", text.encode()),), lambda path: b"")


@pytest.mark.parametrize("what", CLASHES)
@pytest.mark.parametrize("swapped", [False, True])
def test_no_line_takes_anothers_chain(what, swapped):
    lines = CLASHES[what].splitlines(keepends=True)
    one = policy("".join(reversed(lines) if swapped else lines))
    (table,) = compile_ruleset(one).tables
    names = [chain.name for chain in table.chains]
    assert len(names) == len(set(names))
    for port in ("tcp/80", "udp/80", "tcp/81", "udp/81", "tcp/22"):
        for source in ("203.0.113.9", "10.0.0.1", "8.8.8.8"):
            packet = parse_packet(f"{port} from {source}")
            assert simulate(Ruleset((table,)), packet)[0] == decide(one, packet).verdict, packet


def test_whom_a_limit_counts_is_not_whom_a_group_lets_in():
    one = policy(
        "    - {service: tcp/22, from: allow_input_a_rate}\n"
        "    - {service: tcp/80, limit: 5/minute, per: source, id: a}\n",
        "groups: {allow_input_a_rate: {dynamic: 60s}}\n",
    )
    (table,) = compile_ruleset(one).tables
    sets = [each.name for each in table.sets]
    assert sets == [
        "allow_input_a_rate_v4",
        "allow_input_a_rate_v6",
        "allow_input_a_rate_v4_2",
        "allow_input_a_rate_v6_2",
    ]


def test_a_name_given_twice_is_refused_before_anything_is_loaded():
    for table in (
        Table("inet", "t", (), (Chain("c", ()), Chain("c", ()))),
        Table("inet", "t", (Set("s", 4, ()), Set("s", 6, ())), ()),
    ):
        with pytest.raises(PolicyError, match=r"the name '[cs]'; please report"):
            distinct(Ruleset((table,)))
