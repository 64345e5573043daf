"""Wrong emitters for iptables: each text that one would write is refuted by the prover, with packets on which
the kernel, by either variant, does what the wrong text says and not what the policy says."""

from __future__ import annotations

import re
from random import Random

import pytest

from fwpolicy.deploy import xtproof
from fwpolicy.model import prove
from fwpolicy.model.of_policy import of_policy
from fwpolicy.record import replace

from ..golden import cases
from ..lab.judge import Judge, agrees
from ..property.strategies import loaded
from .test_iptables_golden import restores
from .test_model import NAT, XTABLES
from .test_mutants import refuting

pytestmark = pytest.mark.kernel

ANY = "[^\n]*"
ONWARDS = '-m comment --comment "onwards"'
MANY = ", ".join(f"198.51.{number}.0/24" for number in range(0, 60, 2))
LARGE = f"version: 1\nname: large\ngroups: {{many: [{MANY}]}}\n"
LARGE += "input: {default: drop, allow: [{from: many}]}\n"
# (what is wrong, policy, hook, pattern, instead): the pattern's first occurrence in any of the texts.
MUTANTS = (
    ("port off by one", "database", "input", "--dport 5432", "--dport 5433"),
    ("port of several off by one", "web-server-small", "input", "--dports 80,443", "--dports 80,444"),
    ("end of a range off by one", "holes", "input", "60000:61000 -m comment", "60000:60999 -m comment"),
    ("source for destination port", "database", "input", "-m tcp --dport 5432", "-m tcp --sport 5432"),
    ("source for destination", "database", "output", r" -d (\S+) -p tcp", r" -s \1 -p tcp"),
    ("longer prefix", "holes", "input", "-s 10.0.0.0/8 -m comment", "-s 10.0.0.0/9 -m comment"),
    ("end of addresses off by one", "holes", "input", "10.0.0.66-10.0.0.66", "10.0.0.66-10.0.0.67"),
    ("lost hole", "holes", "input", rf"-A {ANY}10.0.0.66{ANY}\n", ""),
    ("lost hole of a service", "holes", "input", rf"-A {ANY}--dports 60500{ANY}\n", ""),
    ("a hole leaves", "holes", "input", rf"(--dports 60500{ANY})-g FWPOLICY-INPUT.3", r"\1-j RETURN"),
    ("nothing goes on", "holes", "input", rf"-A FWPOLICY-INPUT {ONWARDS}{ANY}\n", ""),
    ("wrong chain behind", "holes", "input", rf"({ONWARDS} -g FWPOLICY-INPUT).2", r"\1.3"),
    ("lost default", "holes", "input", rf"-A {ANY}default_input{ANY}\n", ""),
    ("lost state related", "database", "input", "ESTABLISHED,RELATED", "ESTABLISHED"),
    ("lost invalid", "web-server-small", "input", rf"-A {ANY}--ctstate INVALID{ANY}\n", ""),
    ("lost loopback", "holes", "input", rf"-A {ANY}-i lo {ANY}\n", ""),
    ("lost jump", "holes", "input", r"-I INPUT 1 -j FWPOLICY-INPUT\n", ""),
    ("wrong hook", "holes", "input", "-I INPUT 1", "-I FORWARD 1"),
    ("wrong mode", "ntp-client", "input", r"0x07=4\" -m conntrack", r'0x07=3" -m conntrack'),
    ("lost mode", "ntp-client", "output", r' -m u32 --u32 "0>>22&0x3C@8>>24&0x07=3"', ""),
    ("drop for a reset", "database", "output", "-j REJECT --reject-with tcp-reset", "-j DROP"),
    ("another rejection", "database", "output", "icmp-port-unreachable", "icmp-host-unreachable"),
    ("another interface", "router", "input", r"-i wlan\+ -p tcp", "-i wlan1 -p tcp"),
    ("pattern for a name", "router", "forward", "-i eth1 -o eth0 -m c", "-i eth1+ -o eth0 -m c"),
    ("lost ICMP type", "web-server-small", "input", rf"-A {ANY}--icmp-type 11 {ANY}\n", ""),
    (
        "lost redirection",
        "router",
        "forward",
        rf"(-A FWPOLICY-F{ANY}) -m conntrack --ctstate DNAT{ANY}443",
        r"\1",
    ),
    (
        "swapped rules",
        "web-server-small",
        "input",
        rf"(-A {ANY}RELATED{ANY}\n)(-A {ANY}block{ANY}\n)",
        r"\2\1",
    ),
    ("a member of a set left out", "large", "input", "add fwp-many_v4-[0-9a-f]+-n 198.51.10.0/24\n", ""),
    ("a shorter member of a set", "large", "input", "198.51.10.0/24", "198.51.10.0/23"),
    ("negated set", "large", "input", "-m set --match-set", "-m set ! --match-set"),
)


@pytest.fixture(scope="module")
def judge():
    with Judge() as found:
        yield found


def policy_of(case: str):
    return loaded(LARGE) if case == "large" else cases.policy(case)


def mutant_of(texts, pattern: str, instead: str):
    """The change in the first of the texts that has the pattern."""
    for old in texts.all:
        text, count = re.subn(pattern, instead, old.text, count=1)
        if count:
            new = replace(old, text=text)
            rules = tuple(new if each == old else each for each in texts.rules)
            return replace(texts, rules=rules, sets=new if texts.sets == old else texts.sets)
    raise AssertionError(f"{pattern} is nowhere")


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=lambda number: MUTANTS[number][0])
def test_a_wrong_emitter_is_refuted(judge, number):
    _, case, hook, pattern, instead = MUTANTS[number]
    policy = policy_of(case)
    right = xtproof.compiled(policy)
    says = of_policy(policy)
    wrong = mutant_of(right, pattern, instead)
    does, differs = (xtproof.named(xtproof.program_of(each), says, each) for each in (right, wrong))
    assert prove.difference(says, does, hook) is None
    assert prove.difference(says, differs, hook) is not None
    variant = ("legacy", "nft")[number % 2]
    judge.load("", [(command, NAT.sub("", given)) for command, given in restores(wrong, variant)])
    drawn = refuting((says, differs), hook, Random(0))
    packets = [(hook, {**packet, **XTABLES[variant]}) for _, packet in drawn]
    questions = judge.ask(packets, (says, differs))
    assert questions, "no packet of those that differ can be sent"
    for question in questions:
        assert agrees(question.said[1], question), question
    assert any(not agrees(question.said[0], question) for question in questions), questions
