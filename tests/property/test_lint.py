"""Laws of lint: what it finds can go, all of it at once, and nothing else can."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.errors import PolicyError
from fwpolicy.model import hooks, lint
from fwpolicy.model.build import Build
from fwpolicy.model.fields import Where
from fwpolicy.model.lint import Finding, findings
from fwpolicy.model.meeting import has_jumps
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import (
    ACCEPT,
    DROP,
    And,
    Base,
    Chain,
    Jump,
    Lit,
    Not,
    Or,
    Program,
    Return,
    Rule,
    Tuples,
    Verdict,
)
from fwpolicy.model.units import grouped
from fwpolicy.record import replace
from tests.property.strategies import loaded, policy_texts

PROGRAMS, POLICIES = 300, 40
POOL = (
    *(Lit("l4proto", ((6, 6),)), Lit("l4proto", ((17, 17),)), Lit("nfproto", ((4, 4),))),
    *(Lit("dport", ((1, 10),)), Lit("dport", ((5, 20),)), Lit("dport", ((5, 7),)), Lit("dport", ((8, 10),))),
    *(Lit("ctstate", ((0, 0),)), Lit("ctstate", ((3, 3),)), Lit("iif", ((7, 9),))),
)
VERDICTS = (ACCEPT, ACCEPT, DROP, DROP, Verdict("reject:port-unreachable"))


def guard(random: Random, depth: int = 2):
    kind = random.randrange(8 if depth else 3)
    if kind < 3:
        return random.choice(POOL)
    parts = tuple(guard(random, depth - 1) for _ in range(random.choice((0, 1, 2, 2))))
    if kind == 7:
        row = ((6, 6), (5, 10)), ((17, 17), (1, 20))
        return Tuples(("l4proto", "dport"), row[: random.randint(1, 2)])
    return Not(guard(random, depth - 1)) if kind == 3 else (Or if kind == 4 else And)(parts)


def chain(random: Random, name: str, below: list[str], base: Base | None, most: int) -> Chain:
    rules = []
    for number in range(random.randint(1, most)):
        action = random.choice(VERDICTS)
        if below and random.random() < 0.4:
            action = Jump(random.choice(below), random.random() < 0.2)
        elif random.random() < 0.15:
            action = Return()
        rules.append(Rule(guard(random), action, Where("random", number + 1, name, str(action))))
    return Chain(name, tuple(rules), base)


def program(seed: int) -> Program:
    random = Random(seed)
    chains: list[Chain] = []
    for number in range(random.randint(0, 3)):
        chains.append(chain(random, f"sub{number}", [each.name for each in chains], None, 3))
    names = [each.name for each in chains]
    bases = [("input", 0), *random.sample([("forward", 0), ("prerouting", -300), ("input", 10)], 2)]
    for number, (hook, priority) in enumerate(bases[: random.randint(1, 3)]):
        policy = random.choice((ACCEPT, ACCEPT, DROP))
        families = random.choice(((4, 6), (4, 6), (4,)))
        base = Base(hook, priority, "filter", policy, families)
        chains.append(chain(random, f"base{number}", names, base, 5))
    return Program({each.name: each for each in chains})


def without(original: Program, gone: set[int]) -> Program:
    """The program without the units of these numbers."""
    _, chains = grouped(original)
    kept = {
        name: tuple(rule for item in items if item.unit.number not in gone for rule in item.rules)
        for name, items in chains.items()
    }
    return Program({name: replace(each, rules=kept[name]) for name, each in original.chains.items()})


def equal(one: Program, other: Program) -> bool:
    return all(
        reached(one, hook) == reached(other, hook) or decide_alike(one, other, hook) for hook in hooks.PASSED
    )


def decide_alike(one: Program, other: Program, hook: str) -> bool:
    build = Build((one, other), hook)
    return build.outcome(0) == build.outcome(1)


def reached(whole: Program, hook: str) -> list[Chain]:
    """The chains that a hook's packets may come to; where they are the same nothing is to be reckoned."""
    found = {stage.chain.name: stage.chain for stage in hooks.stages(whole, hook)}
    waiting = list(found.values())
    while waiting:
        actions = [rule.action for rule in waiting.pop().rules]
        new = {action.chain for action in actions if isinstance(action, Jump)} - found.keys()
        found |= {name: whole.chains[name] for name in sorted(new)}
        waiting += [whole.chains[name] for name in new]
    return list(found.values())


def entered(original: Program) -> set[str]:
    """The chains that some packet comes to, by asking what changes if they end in a queue."""
    found = set()
    for name, each in original.chains.items():
        first = Rule(And(()), Verdict("queue"), Where("probe", 0, name, ""))
        probed = {**original.chains, name: replace(each, rules=(first, *each.rules))}
        if each.base or not equal(original, Program(probed)):
            found.add(name)
    return found


def ways(original: Program) -> Counter:
    """In how many ways a packet can come to each chain."""
    found: Counter = Counter()

    def walk(name: str) -> None:
        found[name] += 1
        for rule in original.chains[name].rules:
            if isinstance(rule.action, Jump):
                walk(rule.action.chain)

    for each in original.chains.values():
        if each.base:
            walk(each.name)
    return found


def judge(original: Program, met: Counter, found: tuple[Finding, ...] | None = None) -> None:
    units, _ = grouped(original)
    found = findings(original) if found is None else found
    reported = {unit.number for unit in units for each in found if unit.rules[0] is each.rules[0]}
    assert len(reported) == len(found)
    reduced = without(original, reported)
    assert equal(original, reduced)
    reach, many = entered(original), ways(original)
    where = {id(rule): name for name, each in original.chains.items() for rule in each.rules}
    for unit in units:
        alone = equal(original, without(original, {unit.number}))
        if unit.number in reported:
            # In a chain that is come to twice one copy may do the other's work: all at once is promised.
            assert alone or many[where[id(unit.rules[0])]] > 1, unit.rules
        elif unit.reported and alone and where[id(unit.rules[0])] in reach:
            met["kept for another"] += 1
            assert not equal(original, without(original, {*reported, unit.number})), unit.rules
        else:
            met["needed"] += 1
    met.update(each.kind for each in found)


def test_what_is_found_in_a_program_can_go_and_nothing_else():
    met = Counter()
    for seed in range(PROGRAMS):
        judge(program(seed), met)
    kinds = ("never-matches", "shadowed", "contradicted", "unreached", "redundant")
    assert min(met[kind] for kind in (*kinds, "kept for another", "needed")) > 10, met


def test_what_is_found_in_a_policy_can_go_and_nothing_else():
    met = Counter()

    @settings(max_examples=POLICIES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(policy_texts(), st.none())
    def law(text, _):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        judge(of_policy(policy), met)

    law()
    assert met["redundant"] > 10 and met["needed"] > 100 and met["shadowed"], met


def test_apart_is_found_what_is_found_as_a_whole(monkeypatch):
    """Programs without jumps, and policies, whose rules are looked at among those only that they can meet, as
    few at a time as can be: as if all were looked at together."""
    found = Counter()
    with monkeypatch.context() as patch:
        patch.setattr(lint, "_TOGETHER", 1)
        for original in (*filter(is_plain, map(program, range(PROGRAMS))), *map(of_policy, many_policies())):
            apart = findings(original)
            found.update(each.kind for each in apart)
            with monkeypatch.context() as whole:
                whole.setattr(lint, "has_jumps", lambda _: True)
                assert told(apart) == told(findings(original))
    assert min(found[kind] for kind in ("never-matches", "shadowed", "contradicted", "redundant")) > 10, found


def told(found: tuple[Finding, ...]) -> list[tuple]:
    return [(each.kind, each.rules, {(it.rule, it.chain) for it in each.others}) for each in found]


def is_plain(original: Program) -> bool:
    return not has_jumps(original)


TILES = ((0, 16), (0, 19), (1, 19), (4, 22), (7, 24))


def many_policies():
    """Lines by the dozen that have ports, addresses, both or neither in common."""
    for seed in range(20):
        random = Random(seed)
        names = [f"10.{second}.{third * 32}.0/{length}" for second in (0, 1) for third, length in TILES]
        names += ["192.0.2.0/24", '"2001:db8::/32"', "any"]
        ports = [f"tcp/{port}" for port in (22, 80, "80-90", 443, "1-65535")] + ["udp/53", "ping"]
        lines = [[], []]
        for _ in range(40):
            keys = f"service: {random.choice(ports)}, from: {random.choice(names)}"
            keys += random.choice(("", "", ", in: lan", ", limit: 5/minute", ", expires: 2037-01-01"))
            keys = keys.replace("service: ping, ", "") if random.random() < 0.3 else keys
            hole = random.choice(("", "", ", except: {from: 192.0.2.7}"))
            lines[random.random() < 0.3].append(f"    - {{{keys}{hole}}}\n")
        lines[1] = [re.sub(", limit: 5/minute", "", line) for line in lines[1]]
        allow, block = ("".join(each) for each in lines)
        default = random.choice(("drop", "reject", "accept"))
        text = f"version: 1\nzones: {{lan: eth0}}\ninput:\n  default: {default}\n"
        text += (f"  allow:\n{allow}" if allow else "") + (f"  block:\n{block}" if block else "")
        yield loaded(text)


def test_the_laws_can_be_broken():
    tcp, port = POOL[0], POOL[3]
    rules = [
        Rule(guard, ACCEPT, Where("f", number, "in", ""))
        for number, guard in enumerate((tcp, And((tcp, port)), POOL[1]), 1)
    ]
    ruleset = Program({"in": Chain("in", tuple(rules), Base("input", 0, "filter", DROP))})
    right = findings(ruleset)
    assert [each.rules for each in right] == [(rules[1],)]
    judge(ruleset, Counter(), right)
    with pytest.raises(AssertionError):
        judge(ruleset, Counter(), ())
    with pytest.raises(AssertionError):
        judge(ruleset, Counter(), (*right, Finding("redundant", (rules[2],))))
