"""What lint says of policies and of other rulesets, word by word."""

from __future__ import annotations

import pytest

from fwpolicy.model import fields
from fwpolicy.model.fields import Where
from fwpolicy.model.lint import findings
from fwpolicy.model.lintwords import report
from fwpolicy.model.looks import looks
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import (
    ACCEPT,
    ALWAYS,
    DROP,
    And,
    Base,
    Chain,
    Jump,
    Lit,
    Not,
    NotModelledError,
    Program,
    Return,
    Rule,
    Verdict,
)
from fwpolicy.policy.load import load

V4, V6 = Lit("nfproto", ((4, 4),)), Lit("nfproto", ((6, 6),))
TCP, UDP = Lit("l4proto", ((6, 6),)), Lit("l4proto", ((17, 17),))
INVALID, KNOWN = (
    Lit("ctstate", fields.states("invalid")),
    Lit("ctstate", fields.states("established", "related")),
)
NET = Lit("saddr4", ((10 << 24, (11 << 24) - 1),))
LO = Lit("iif", fields.interface("lo"))


def dport(first: int, last: int = 0):
    return Lit("dport", ((first, last or first),))


SSH = And((TCP, dport(22)))


def of_lines(text: str) -> list[tuple[int, str, str]]:
    """(line, kind, message) of each finding of a policy."""
    policy = load((("p.yaml", f"version: 1\n{text}".encode()),), lambda path: b"")
    reports = [report(each) for each in findings(of_policy(policy))]
    return sorted((each.at.line, each.kind, each.message) for each in reports)


POLICIES = {
    "shadowed": (
        "input:\n  default: drop\n  allow:\n    - ssh\n    - {service: ssh, from: 10.0.0.0/8}\n",
        [(6, "shadowed", "this line adds nothing: allowed at p.yaml:5:7")],
    ),
    "covered by a later line": (
        "input:\n  default: drop\n  allow:\n    - {service: ssh, from: 10.0.0.0/8}\n    - ssh\n",
        [(5, "redundant", "this line adds nothing: allowed at p.yaml:6:7")],
    ),
    "covered by an earlier and a later line": (
        "input:\n  default: drop\n  allow:\n    - tcp/20-30\n    - tcp/25-35\n    - tcp/31-40\n",
        [(6, "redundant", "this line adds nothing: allowed at p.yaml:5:7 and allowed at p.yaml:7:7")],
    ),
    "of two that are equal the later": (
        "input:\n  default: drop\n  allow:\n    - tcp/22\n    - {service: ssh}\n",
        [(6, "shadowed", "this line adds nothing: allowed at p.yaml:5:7")],
    ),
    "one that covers all is named rather than a block of some": (
        "input:\n  default: drop\n  block: [{from: 10.0.0.0/8}]\n  allow:\n    - tcp/1-99\n    - ssh\n",
        [(7, "shadowed", "this line adds nothing: allowed at p.yaml:6:7")],
    ),
    "taken away by blocks": (
        "input:\n  default: drop\n  allow: [{service: ssh, from: 10.1.0.0/16}]\n"
        "  block:\n    - {from: 10.0.0.0/9}\n",
        [(4, "contradicted", "this line has no effect: block beats allow, at p.yaml:6:7")],
    ),
    "some blocked, the rest allowed": (
        "input:\n  default: drop\n  block: [{from: 10.0.0.0/9}]\n"
        "  allow:\n    - {service: ssh, from: 10.128.0.0/9}\n"
        "    - {service: ssh, from: 10.0.0.0/8}\n    - http\n",
        [
            (7, "unreached", "this line has no effect: blocked at p.yaml:4:11 and allowed at p.yaml:6:7"),
        ],
    ),
    "a block of what the default drops": (
        "input:\n  default: drop\n  allow: [ssh]\n  block: [telnet]\n",
        [(5, "redundant", "this line adds nothing: the default drops it, at p.yaml:2:1")],
    ),
    "reject is not drop": ("input:\n  default: reject\n  allow: [ssh]\n  block: [telnet]\n", []),
    "an allow of what the default accepts": (
        "output:\n  default: accept\n  allow: [dns]\n",
        [(4, "redundant", "this line adds nothing: the default accepts it, at p.yaml:2:1")],
    ),
    "an allow of what always passes": (
        "input:\n  default: drop\n  allow: [icmp/3]\n",
        [(4, "shadowed", "this line adds nothing: step essential accepts it before any line")],
    ),
    "a hole as large as its line": (
        "input:\n  default: drop\n  allow: [{service: ssh, except: {service: tcp/1-99}}]\n",
        [(4, "never-matches", "this line matches nothing: there is no such packet")],
    ),
    "one leg of two is needed": (
        "input:\n  default: drop\n  allow:\n    - {service: ssh, family: ipv4}\n"
        "    - ssh\n    - {service: [ssh, http]}\n",
        [
            (5, "redundant", "this line adds nothing: allowed at p.yaml:7:7"),
            (6, "redundant", "this line adds nothing: allowed at p.yaml:7:7"),
        ],
    ),
    "a limit is not shadowed by another": (
        "input:\n  default: drop\n  allow:\n    - {service: ssh, limit: 3/minute}\n"
        "    - {service: ssh, from: 10.0.0.0/8, limit: 9/minute}\n",
        [],
    ),
    "but by a line without": (
        "input:\n  default: drop\n  allow:\n    - {service: ssh, limit: 3/minute}\n    - ssh\n",
        [(5, "redundant", "this line adds nothing: allowed at p.yaml:6:7")],
    ),
    "a published line counts where it is redirected to": (
        "input:\n  default: accept\n  block: [{service: tcp/8080, published: true}, tcp/8080]\n"
        "forward: {default: accept}\n",
        [],
    ),
    "an overlap is nothing": (
        "input:\n  default: drop\n  allow: [ssh, {from: 10.0.0.0/8}]\n  block: [{from: 10.1.0.0/16}]\n",
        [],
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_lines_of_a_policy(name):
    text, expected = POLICIES[name]
    assert of_lines(text) == expected


def program(*rules, policy=DROP, families=(4, 6), **chains) -> Program:
    """A base chain `in` of hook input with (guard, action), and others."""
    base = Base("input", 0, "filter", policy, families)
    numbered = iter(range(1, 100))

    def chain(name: str, pairs, base: Base | None) -> Chain:
        made = (Rule(guard, action, Where("f", next(numbered), name, "text")) for guard, action in pairs)
        return Chain(name, tuple(made), base)

    return Program(
        {"in": chain("in", rules, base), **{name: chain(name, own, None) for name, own in chains.items()}}
    )


def said(ruleset: Program) -> list[str]:
    reports = [report(each) for each in (*findings(ruleset), *looks(ruleset))]
    return [f"{each.at}: {each.message}" for each in reports]


def test_shadowed_by_one_rule_rather_than_two():
    ruleset = program((And((TCP, dport(1, 30))), ACCEPT), (TCP, ACCEPT), (SSH, ACCEPT))
    assert said(ruleset) == [
        "f:1: this rule adds nothing: without it f:2 accepts its packets",
        "f:3: this rule adds nothing: f:2 accepts its packets before",
    ]


def test_shadowed_by_two_rules():
    ruleset = program((V4, ACCEPT), (UDP, DROP), (V6, ACCEPT), (TCP, ACCEPT))
    assert said(ruleset)[-1] == "f:4: this rule adds nothing: f:1 accepts and f:3 accepts its packets before"


def test_contradicted():
    assert said(program((TCP, DROP), (SSH, ACCEPT), policy=ACCEPT)) == [
        "f:2: this rule is never reached: f:1 drops its packets before"
    ]


def test_never_matches():
    assert said(program((And((TCP, UDP)), ACCEPT), (Lit("oif", ((9, 9),)), ACCEPT))) == [
        "f:1: this rule matches nothing: no packet that comes here is like this",
        "f:2: this rule matches nothing: no packet that comes here is like this",
    ]


def test_redundant_for_the_policy():
    assert said(program((TCP, DROP), (UDP, ACCEPT))) == [
        "f:1: this rule adds nothing: without it policy drop of in drops its packets"
    ]


def test_a_rule_that_is_needed_in_one_context_is_needed():
    chains = {"sub": ((SSH, DROP),)}
    assert said(program((V4, Jump("sub")), (V4, ACCEPT), (TCP, Jump("sub")), **chains)) == [
        "f:3: this rule does nothing: the same happens to its packets without it"
    ]
    assert said(program((TCP, Jump("sub")), (UDP, Jump("sub")), (TCP, ACCEPT), **chains)) == [
        "f:2: this rule does nothing: the same happens to its packets without it"
    ]


def test_a_return_takes_packets_from_what_follows():
    ruleset = program((TCP, Jump("sub")), (TCP, DROP), policy=ACCEPT, sub=((SSH, Return()), (SSH, ACCEPT)))
    assert "f:4: this rule is never reached: f:3 returns its packets before" in said(ruleset)


def test_what_cannot_be_jumped_to_is_refused():
    with pytest.raises(NotModelledError, match="there is no chain none"):
        findings(program((TCP, Jump("none"))))
    with pytest.raises(NotModelledError, match="jumps in a circle"):
        findings(program((TCP, Jump("a")), a=((UDP, Jump("b")),), b=((UDP, Jump("a")),)))


def test_a_negated_address_says_nothing_of_the_other_family():
    assert said(program((And((V4, Not(NET))), DROP), policy=ACCEPT)) == [
        "f:1: this rule is narrower than it looks: policy accept of in accepts input tcp/9999"
        " from [2001:db8:bad::9]:40000 to 2001:db8::1 state new"
    ]
    assert said(program((And((V4, Not(NET))), DROP), (V6, DROP), policy=ACCEPT)) == []
    assert said(program((And((V4, Not(NET))), DROP), policy=ACCEPT, families=(4,))) == []


def test_a_negated_port_says_nothing_of_the_other_protocol():
    found = said(program((And((TCP, Not(dport(22)))), DROP), policy=ACCEPT))
    assert found == [
        "f:1: this rule is narrower than it looks: policy accept of in accepts input udp/9999"
        " from 203.0.113.9:40000 to 192.0.2.1 state new"
    ]


def test_an_accept_before_the_rule_that_drops_invalid_packets():
    found = said(program((LO, ACCEPT), (SSH, ACCEPT), (INVALID, DROP), (KNOWN, ACCEPT), (UDP, ACCEPT)))
    assert found[-1].startswith(
        "f:2: this rule is wider than it looks: it accepts input tcp/22 from 203.0.113.9"
    )
    assert found[-1].endswith("state invalid, which f:3 would drop")
    assert said(program((LO, ACCEPT), (INVALID, DROP), (SSH, ACCEPT), (KNOWN, ACCEPT))) == []


def test_a_policy_that_never_applies():
    assert said(program((SSH, DROP), (ALWAYS, ACCEPT))) == [
        "f:2: this rule is wider than it looks: it accepts all, so policy drop of in never applies"
    ]
    assert said(program((ALWAYS, Verdict("queue")), policy=DROP)) == []
