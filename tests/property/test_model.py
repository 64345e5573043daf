"""Laws of the packet model: the policy's program says what the language says, and the diagrams say what
the programs say, packet by packet."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.passes import PASSES
from fwpolicy.deploy import xtproof
from fwpolicy.deploy.proof import prove_compiled
from fwpolicy.errors import CheckFailedError, PolicyError
from fwpolicy.model import hooks
from fwpolicy.model.build import Build
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.decide import decide
from fwpolicy.model.of_policy import of_policy
from tests.property.strategies import loaded, policy_texts, sample

POLICIES, PACKETS = 300, 60
# Not shrunk: a failure shows its policy, and shrinking one takes minutes.
QUICK = settings(
    max_examples=POLICIES,
    derandomize=True,
    phases=(Phase.generate,),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_policys_program_decides_as_the_language_says():
    met = Counter()

    @QUICK
    @given(policy_texts(), st.integers(0, 2**32))
    def law(text, seed):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        program = of_policy(policy)
        unspent = set(program.limiters)
        for packet in sample(policy, seed, PACKETS):
            said = decide(policy, packet)
            packet_fields = to_fields(packet, () if packet.spent else unspent)
            verdict, rule = hooks.decide(program, packet.hook, packet_fields)
            expected = "accept" if said.verdict == "undecided" else said.verdict
            assert verdict.kind.partition(":")[0] == expected, f"{packet}\n{said}\n{rule}\n{text}"
            assert rule is None or rule.origin.step == said.step, f"{packet}\n{said}\n{rule}\n{text}"
            met[said.step] += 1

    law()
    assert min(met[step] for step in ("role:ntp", "essential", "block", "allow", "default")) > 100, met


def follow(build: Build, diagram: int, packet) -> object:
    """The terminal that a packet's values lead to."""
    diagrams, atoms = build.diagrams, build.atoms
    while diagram >= 1 << 24:
        level = diagrams.level(diagram)
        value = packet.get(atoms.fields[level], 4 if atoms.fields[level] == "nfproto" else 0)
        atom = next(
            number
            for number, intervals in enumerate(atoms.values[level])
            if any(first <= value <= last for first, last in intervals)
        )
        diagram = next(child for child, mask in diagrams.edges(diagram) if mask >> atom & 1)
    return build.keys[diagram]


def test_a_diagram_decides_as_its_program():
    compared = Counter()

    @QUICK
    @given(policy_texts(), st.integers(0, 2**32))
    def law(text, seed):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        program = of_policy(policy)
        unspent = set(program.limiters)
        builds = {hook: Build((program,), hook) for hook in hooks.PASSED}
        roots = {hook: build.outcome(0) for hook, build in builds.items()}
        for packet in sample(policy, seed, PACKETS):
            packet_fields = to_fields(packet, () if packet.spent else unspent)
            verdict, _ = hooks.decide(program, packet.hook, packet_fields)
            found = follow(builds[packet.hook], roots[packet.hook], packet_fields)
            assert found in (verdict.kind, "impossible"), f"{packet}\n{text}"
            compared[found] += 1

    law()
    assert compared["impossible"] < compared["drop"] and min(compared.values()) > 50, compared


def test_what_is_compiled_is_proved_to_do_what_the_policy_says():
    """By the text that the kernel gets, read by a front end that knows nothing of the compiler."""
    counted = Counter()

    @settings(QUICK, max_examples=POLICIES // 2)
    @given(policy_texts())
    def law(text):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        for nat, passes in product((False, True), ((), PASSES)):
            artifact = render(compile_ruleset(policy, Facts(nat=nat), passes), policy.name)
            try:
                prove_compiled(policy, None, artifact)
            except CheckFailedError as error:
                raise AssertionError(f"{error}\n{text}\n{artifact.text}") from None
            counted[nat, bool(passes)] += 1

    law()
    assert len(counted) == 4 and min(counted.values()) > POLICIES // 3, counted


def test_what_is_compiled_for_iptables_is_proved_and_decides_alike():
    """The diagrams of both say so, and single packets, rule by rule, too."""
    counted = Counter()

    @settings(QUICK, max_examples=POLICIES // 2)
    @given(policy_texts(both_families=False), st.integers(0, 2**32), st.booleans())
    def law(text, seed, nat):
        try:
            policy = loaded(text)
            texts = xtproof.compiled(policy, Facts(nat=nat))
        except PolicyError as error:
            counted["refused"] += "iptables: " in str(error)
            return
        try:
            emitted = xtproof.prove_compiled(policy, None, texts)
        except CheckFailedError as error:
            raise AssertionError(f"{error}\n{text}") from None
        counted["proved"] += 1
        wanted = of_policy(policy)
        program = xtproof.named(emitted, wanted, texts)
        unspent = {*program.limiters, *wanted.limiters}
        for packet in sample(policy, seed, PACKETS):
            found = to_fields(packet, () if packet.spent else unspent)
            said, _ = hooks.decide(wanted, packet.hook, found)
            done, rule = hooks.decide(program, packet.hook, found)
            assert done == said, f"{packet}\n{said}\n{rule}\n{text}"
            counted[said.kind] += 1

    law()
    assert counted["proved"] > POLICIES // 4 and counted["refused"] < counted["proved"] // 5, counted
    assert min(counted[kind] for kind in ("accept", "drop", "reject:tcp-reset")) > 50, counted


def test_without_u32_all_but_the_mode_is_proved():
    met = Counter()

    @settings(QUICK, max_examples=POLICIES // 4)
    @given(policy_texts(both_families=False))
    def law(text):
        try:
            policy = loaded(text)
            texts = xtproof.compiled(policy, dialect=Dialect(u32=False))
        except PolicyError:
            return
        assert not any("u32" in each.text for each in texts.all)
        xtproof.prove_compiled(policy, None, texts, Dialect(u32=False))
        met[policy.ntp.mode if policy.ntp else None] += 1

    law()
    assert met["client-only"] + met["server"] > 10 and met["closed"] > 5, met
