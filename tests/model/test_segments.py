"""Slices of the packet space: together they are all of it, and in each both programs do what they did."""

from __future__ import annotations

from random import Random

import pytest

from fwpolicy.deploy import proof, xtproof
from fwpolicy.errors import CheckFailedError
from fwpolicy.model import fields, hooks, prove, segments
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import paired
from fwpolicy.model.segments import slices
from fwpolicy.record import replace
from tests.golden import cases
from tests.property.strategies import loaded, sample

FEW = 12
# Lines with ports and lines with addresses alone, of both families, and what other fields say.
LINES = "".join(
    f'    - {{service: [tcp/{n * 7}, udp/{n * 7 + 3}], from: [10.{n}.0.0/16, "2001:db8:{n}::/48"]}}\n'
    f'    - {{from: [192.0.2.{n}, "2001:db8:ff::{n}"], except: {{service: tcp/{n}}}}}\n'
    for n in range(1, 40)
)
LARGE = f"version: 1\nname: large\ninput:\n  default: drop\n  allow:\n{LINES}"


def both(text: str):
    """(what the policy says, what it compiles to) as programs with the same names."""
    policy = loaded(text)
    says, artifact = of_policy(policy), proof.compiled(policy)
    return says, paired(proof.program_of(artifact), says, f"{proof.OURS} ", lambda _: None)


def is_in(piece, packet) -> bool:
    return all(
        any(first <= packet.get(each.field, 0) <= last for first, last in each.intervals)
        for each in piece.within
    )


def test_each_packet_is_in_one_slice_and_meets_the_same_end_there():
    programs = both(LARGE)
    pieces = list(slices(programs, "input", FEW))
    assert len(pieces) > 8 and {each.field for piece in pieces for each in piece.within} > {"dport"}
    seen = set()
    for packet in sample(loaded(LARGE), 7, 1500):
        if packet.hook != "input":
            continue
        found = {"saddr4": 0, "saddr6": 0, **to_fields(packet)}
        (number,) = [n for n, piece in enumerate(pieces) if is_in(piece, found)]
        for whole, part in zip(programs, pieces[number].programs, strict=True):
            assert hooks.decide(whole, "input", found)[0] == hooks.decide(part, "input", found)[0], packet
        seen.add(number)
    assert len(seen) > len(pieces) // 2


def test_a_slice_has_fewer_rules():
    programs = both(LARGE)
    sizes = [
        sum(len(c.rules) for p in each.programs for c in p.chains.values())
        for each in slices(programs, "input", FEW)
    ]
    whole = sum(len(chain.rules) for program in programs for chain in program.chains.values())
    assert max(sizes) < whole / 4
    (alone,) = slices(programs, "input")
    assert alone.within == ()


@pytest.mark.parametrize("case", cases.CASES)
def test_golden_policies_are_proved_by_slices(case, monkeypatch):
    monkeypatch.setattr(segments, "MOST_RULES", FEW)
    policy = cases.policy(case)
    proof.prove_compiled(policy, None, proof.compiled(policy))
    if case in cases.SAID:
        xtproof.prove_compiled(policy, None, cases.iptables(case))


def test_most_golden_policies_make_several_slices():
    counts = [len(list(slices((of_policy(cases.policy(case)),), "input", FEW))) for case in cases.CASES]
    assert sum(count > 1 for count in counts) > len(counts) / 2, counts


@pytest.mark.parametrize("number", range(1, 40, 6))
def test_what_is_wrong_in_one_slice_is_found(number, monkeypatch):
    monkeypatch.setattr(segments, "MOST_RULES", FEW)
    policy = loaded(LARGE)
    right = proof.compiled(policy)
    wrong = right.text.replace(f"10.{number}.0.0/16", f"10.{number}.0.0/17")
    assert wrong != right.text
    with pytest.raises(CheckFailedError, match=rf"packet: input tcp/{number * 7} from 10\.{number}\.128"):
        proof.prove_compiled(policy, None, replace(right, text=wrong))


def test_slices_find_what_the_whole_finds(monkeypatch):
    random = Random(3)
    says, does = both(LARGE)
    for _ in range(12):
        name = random.choice([name for name, chain in does.chains.items() if chain.rules])
        rules = list(does.chains[name].rules)
        del rules[random.randrange(len(rules))]
        chain = replace(does.chains[name], rules=tuple(rules))
        mutant = replace(does, chains={**does.chains, name: chain})
        monkeypatch.setattr(segments, "MOST_RULES", 10**6)
        whole = prove.difference(says, mutant, "input")
        monkeypatch.setattr(segments, "MOST_RULES", FEW)
        sliced = prove.difference(says, mutant, "input")
        assert (whole is None) == (sliced is None)
        if sliced:
            kinds = [hooks.decide(each, "input", sliced.packet)[0].kind for each in (says, mutant)]
            assert kinds == [sliced.one, sliced.other] and kinds[0] != kinds[1]


def test_what_is_known_of_a_field_is_not_asked_again():
    known = segments.Known(segments.Lit("dport", ((10, 19),)))
    lit, other = segments.Lit("dport", ((15, 30),)), segments.Lit("l4proto", ((6, 6),))
    assert known.left(lit) == segments.Lit("dport", ((15, 19),))
    assert known.left(segments.Lit("dport", ((0, 50),))) == segments.ALWAYS
    assert known.left(segments.Lit("dport", ((20, 50),))) == segments.NEVER
    assert known.left(segments.Not(segments.Lit("dport", ((20, 50),)))) == segments.ALWAYS
    assert known.left(segments.And((segments.Lit("dport", ((0, 50),)), other))) == other
    assert known.left(segments.Or((segments.Lit("dport", ((20, 50),)), other))) == other
    rows = (((1, 1), (5, 12)), ((2, 2), (30, 40)))
    left = known.left(segments.Tuples(("saddr4", "dport"), rows))
    assert left == segments.Tuples(("saddr4", "dport"), (((1, 1), (10, 12)),))
    assert fields.universe("dport") == ((0, 65535),)
