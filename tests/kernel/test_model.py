"""The packet model against the kernel: random policies, nft rulesets and iptables texts, and packets drawn
from their diagrams, sent for real. `make fuzz` runs longer, with a seed that it prints."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import count, islice
from random import Random
from typing import TYPE_CHECKING

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import xtproof
from fwpolicy.errors import PolicyError
from fwpolicy.host.libnftables import RefusedError
from fwpolicy.model import fields
from fwpolicy.model.iptables import merged
from fwpolicy.model.iptables import of_text as of_iptables
from fwpolicy.model.nft import of_text
from fwpolicy.model.of_policy import of_policy

from ..lab.judge import Judge
from ..lab.rulesets import Writer
from ..property.choices import Dice
from ..property.strategies import a_policy, loaded
from .test_iptables_golden import restores
from .xtables import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.policy.model import Policy

pytestmark = pytest.mark.kernel

SEED = int(os.environ.get("SEED", "0"))
# Of rulesets of each backend; and half as many policies for each, which decide much less of their own.
ROUNDS = int(os.environ.get("ROUNDS", "300"))
POLICIES = ROUNDS // 2
PACKETS = 72
# iptables reads no transport header of a later fragment. iptables-nft (1.8.9, seen) writes its TCP and UDP
# matches in nft's own words, and those take the bytes that are there: it is asked about no such fragment.
# Translations are a function of their own, and TCPMSS drops segments whose header is cut short.
NAT = re.compile(r"^\*(?:nat|mangle)$.*?^COMMIT$\n", re.MULTILINE | re.DOTALL)
XTABLES = {"legacy": {"xtables": 1}, "nft": {"xtables": 2}}
VERDICTS = ("accept", "drop", "reject")
# What every generator has to meet, and what else texts of iptables and nft have.
USUAL = (
    *(
        f"{hook} IPv{v} {what}"
        for hook in ("input", "output", "forward")
        for v in (4, 6)
        for what in VERDICTS
    ),
    *(*fields.STATES, "tcp", "udp", "sctp", "icmp", "icmpv6", "other", "redirected"),
    *("reject:tcp-reset", "reject:port-unreachable"),
)
OF_IPTABLES = ("fragment", "reject:admin-prohibited")
OF_NFT = (
    *(*OF_IPTABLES, "reject:net-unreachable", "reject:host-unreachable", "reject:net-prohibited"),
    *("reject:prot-unreachable", "reject:no-route", "reject:addr-unreachable", "reject:policy-fail"),
)


@pytest.fixture
def judge():
    with Judge() as found:
        yield found
        print(f"seed {SEED}:", dict(found.met.most_common()))


def no_nat(program) -> str:
    """Commands that take the translations out: they are a function of their own."""
    chains = (chain for chain in program.chains.values() if chain.base and chain.base.type == "nat")
    return "".join(f"flush chain {chain.name}\n" for chain in chains)


def assert_all_were_met(judge, rounds: int, *kinds: str) -> None:
    """Enough packets, nearly all of them judged, and some of every kind."""
    met = judge.met
    rare = {kind: met[kind] for kind in (*USUAL, *kinds) if met[kind] < rounds // 10}
    assert not rare, rare
    assert met["rulesets"] >= rounds
    assert met["packets"] >= rounds * 200 // 3
    lost = met["stray"] + met["not drawn"] + met["not in our hands"] + met["impossible"]
    assert lost < met["packets"] / 10, met


def told(mismatches, *texts: str) -> str:
    return "\n".join(["", *map(str, mismatches[:3]), *texts])


def policies(both_families: bool = True) -> Iterator[tuple[str, Policy, Random]]:
    """(text, policy, what packets are drawn with) without end, of those that are not refused."""
    for number in count():
        random = Random(SEED * 1_000_003 + number)
        text = a_policy(Dice(random), both_families)
        with suppress(PolicyError):
            yield text, loaded(text), random


def test_policies_as_compiled(judge):
    """What the language says, what the front end reads of the emitted text, and what the kernel does."""
    for text, policy, random in islice(policies(), POLICIES):
        emitted = render(compile_ruleset(policy), policy.name).text
        programs = of_policy(policy), of_text(emitted, "emitted.nft")
        judge.load(emitted + no_nat(programs[1]))
        wrong = judge.compare(programs, random, PACKETS)
        assert not wrong, told(wrong, text, emitted)
    assert_all_were_met(judge, POLICIES)


def test_policies_for_iptables(judge):
    """The same of what is emitted for both of its variants, which cannot say all of them."""
    found = policies(both_families=False)
    while judge.met["rulesets"] < POLICIES:
        text, policy, random = next(found)
        try:
            texts = xtproof.compiled(policy)
        except PolicyError:
            continue
        wanted = of_policy(policy)
        programs = wanted, xtproof.named(xtproof.program_of(texts), wanted, texts)
        variant = ("legacy", "nft")[judge.met["rulesets"] % 2]
        judge.load("", [(command, NAT.sub("", given)) for command, given in restores(texts, variant)])
        wrong = judge.compare(programs, random, PACKETS, XTABLES[variant])
        assert not wrong, told(wrong, text, *(each.text for each in texts.all))
    assert_all_were_met(judge, POLICIES)


def test_nft_rulesets(judge):
    """Tables, priorities, sets, maps, concatenations, jumps and rejections, as anybody may write them."""
    for number in range(ROUNDS):
        random = Random(SEED * 1_000_003 + number)
        text = load_what_the_kernel_takes(judge, Writer(random).text())
        wrong = judge.compare((of_text(text, "random.nft"),), random, PACKETS)
        assert not wrong, told(wrong, text)
    assert_all_were_met(judge, ROUNDS, *OF_NFT)


def load_what_the_kernel_takes(judge, text: str) -> str:
    """Without the lines that are refused: protocols that contradict each other, keys that overlap."""
    while True:
        try:
            judge.load(text)
        except RefusedError as error:
            refused = {refusal.line for refusal in error.refusals}
            assert refused, error
            text = "\n".join(line for n, line in enumerate(text.split("\n"), 1) if n not in refused)
        else:
            return text


def test_iptables_texts(judge):
    for number in range(ROUNDS):
        random = Random(SEED * 1_000_003 + number)
        texts = {family: tables(family, random) for family in (4, 6)}
        programs = [of_iptables(text, f"rules.v{family}", family) for family, text in texts.items()]
        variant = random.choice(("legacy", "nft"))
        commands = [
            (f"{command}-{variant}-restore", texts[family])
            for command, family in (("iptables", 4), ("ip6tables", 6))
        ]
        judge.load("", commands)
        wrong = judge.compare((merged(programs),), random, PACKETS, XTABLES[variant])
        assert not wrong, told(wrong, *texts.values())
    assert_all_were_met(judge, ROUNDS, *OF_IPTABLES)
