"""What no packet shows to be needed is left open; what one shows is needed."""

from __future__ import annotations

from fwpolicy.model import meeting
from fwpolicy.model.fields import Where
from fwpolicy.model.meeting import Index, box
from fwpolicy.model.needed import Search
from fwpolicy.model.program import ACCEPT, DROP, And, Base, Chain, Lit, Not, Program, Return, Rule
from fwpolicy.model.units import grouped

TCP, UDP = Lit("l4proto", ((6, 6),)), Lit("l4proto", ((17, 17),))
SSH, HTTP, LOW = Lit("dport", ((22, 22),)), Lit("dport", ((80, 80),)), Lit("dport", ((1, 1023),))
V4, ALICE = Lit("nfproto", ((4, 4),)), Lit("saddr4", ((10, 20),))
DNAT = Lit("dnat", ((1, 1),))


def program(*rules, policy=DROP, hook="input"):
    made = tuple(Rule(guard, action, Where("f", n, "in", "")) for n, (guard, action) in enumerate(rules, 1))
    return Program({"in": Chain("in", made, Base(hook, 0, "filter", policy))})


def needed(*rules, **options):
    ruleset = program(*rules, **options)
    units, chains = grouped(ruleset)
    search = Search(ruleset, Index(ruleset, chains))
    return [search.is_needed(unit) for unit in units]


def test_a_packet_shows_that_a_rule_is_needed():
    assert needed((And((TCP, SSH)), ACCEPT), (And((TCP, HTTP)), ACCEPT)) == [True, True]
    assert needed((And((TCP, SSH)), DROP), (TCP, ACCEPT)) == [True, True]
    assert needed((And((V4, ALICE, TCP, Not(LOW))), ACCEPT)) == [True]
    # The other one is needed for what is not TCP, which its text does not say: the diagrams find it.
    assert needed((TCP, Return()), (And(()), ACCEPT)) == [True, False]


def test_what_does_nothing_is_never_shown():
    assert needed((TCP, DROP)) == [False]
    assert needed((TCP, ACCEPT), (And((TCP, SSH)), ACCEPT)) == [True, False]
    assert needed((And((SSH, HTTP)), ACCEPT)) == [False]
    # A packet of the host's own was not redirected by another.
    assert needed((And((DNAT, Lit("ctstate", ((4, 4),)))), ACCEPT)) == [False]


def test_a_search_ends(monkeypatch):
    monkeypatch.setattr("fwpolicy.model.needed._PATIENCE", 0)
    assert needed((And((TCP, SSH)), ACCEPT)) == [False]


def test_rules_that_can_meet():
    ruleset = program(
        *((And((TCP, SSH)), ACCEPT), (And((TCP, HTTP)), ACCEPT), (And((UDP, HTTP)), DROP), (TCP, DROP)),
        *((And((V4, Lit("saddr4", ((30, 40),)))), DROP), (And((V4, TCP, SSH, ALICE)), ACCEPT)),
        (And((V4, ALICE, Not(TCP))), DROP),
    )
    units, chains = grouped(ruleset)
    index = Index(ruleset, chains)

    def kept(number: int) -> list[int]:
        part, _ = index.part([units[number]])
        return [rule.where.line - 1 for rule in part.chains["in"].rules]

    assert kept(0) == [0, 3, 4, 5, 6]
    assert kept(2) == [2, 4, 6]
    assert kept(4) == [0, 1, 2, 3, 4]
    groups = index.together([units[0], units[1], units[2], units[5]])
    assert sorted(sorted(unit.number for unit in group) for group in groups) == [[0, 5], [1], [2]]


def test_beyond_some_pairs_all_are_taken_to_meet(monkeypatch):
    ruleset = program(*((And((TCP, HTTP, Lit("sport", ((n, n),)))), ACCEPT) for n in range(5)))
    units, chains = grouped(ruleset)
    assert len(Index(ruleset, chains).together(units)) == 5
    monkeypatch.setattr(meeting, "_PAIRS", 0)
    assert len(Index(ruleset, chains).together(units)) == 1


def test_a_box_is_one_set_of_values_a_field():
    assert box(And((TCP, And((LOW, SSH))))) == {"l4proto": ((6, 6),), "dport": ((22, 22),)}
    assert box(And((SSH, HTTP))) is None
    assert box(Not(TCP)) is None
