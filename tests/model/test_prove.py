"""Proofs that must not take for ever, and what they see."""

from __future__ import annotations

from time import process_time

from fwpolicy.deploy import proof
from fwpolicy.model import prove
from fwpolicy.model.build import Build
from fwpolicy.model.iptables import of_text
from fwpolicy.policy.load import load
from tests.model.foreign import kubernetes

LIMITED = 300


def policy(text: str):
    return load((("p.yaml", text.encode()),), lambda path: b"")


def test_hundreds_of_limiters_behind_addresses_of_their_own_are_not_combined():
    groups = "".join(f"  g{n}: [10.{n // 200}.{n % 200}.0/24]\n" for n in range(LIMITED))
    lines = "".join(
        f"    - {{service: https, from: g{n}, limit: {n + 1}/second}}\n"
        f"    - {{service: tcp/{8000 + n}, from: g{n}, limit: {n + 1}/second, per: source, max: 5}}\n"
        for n in range(LIMITED)
    )
    limited = policy(f"version: 1\ngroups:\n{groups}input:\n  default: drop\n  allow:\n{lines}")
    artifact = proof.compiled(limited)
    started = process_time()
    proof.prove_compiled(limited, None, artifact)
    # 0.7 s; asked before the addresses, they made 2**600 combinations.
    assert process_time() - started < 20


def test_thousands_of_foreign_rules_that_throw_dice():
    text = kubernetes.text(200)
    changed = text.replace("-A INPUT", "-A INPUT -p tcp --dport 22 -s 203.0.113.0/24 -j DROP\n-A INPUT", 1)
    started = process_time()
    found = list(prove.differences(of_text(text, "old"), of_text(changed, "new")))
    assert [(each.hook, each.one, each.other) for each in found] == [("input", "accept", "drop")]
    assert found[0].packet["dport"] == 22 and found[0].packet["saddr4"] >> 8 == 0xCB0071
    assert process_time() - started < 20


def test_the_way_to_a_diagram_can_be_let_go_of():
    """What is kept stays what it is, what is made anew is the same, and the rest takes no memory."""
    text = kubernetes.text(50)
    changed = text.replace("-A INPUT", "-A INPUT -p tcp --dport 22 -s 203.0.113.0/24 -j DROP\n-A INPUT", 1)
    programs = of_text(text, "one"), of_text(text, "same"), of_text(changed, "other")
    build = Build(programs, "input")
    kept = build.outcome(0)
    before, edges = edges_below(build, kept), edges_of_all(build)
    build.keep(kept)
    assert edges_below(build, kept) == before
    assert edges_of_all(build) < edges / 2
    assert build.outcome(1) == kept == build.outcome(0)
    assert build.outcome(2) != kept


def edges_below(build, diagram):
    found, waiting = {}, [diagram]
    while waiting:
        each = waiting.pop()
        if each not in found and build.diagrams.level(each) < len(build.atoms.fields):
            found[each] = build.diagrams.edges(each)
            waiting += [child for child, _ in found[each]]
    return found


def edges_of_all(build):
    return sum(map(len, build.diagrams._edges))
