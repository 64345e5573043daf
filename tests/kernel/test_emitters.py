"""Wrong emitters, made automatically: what each writes is refuted with a packet, or proved to be the
same; the kernel confirms both.

Every place in the compiler, its passes and nft's backend where one small thing may be wrong
(`lab/mutation.py`) and that some golden policy meets; of all of them a sample, another one with each SEED
(MUTANTS=0: all).
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import UNKNOWN, compile_ruleset
from fwpolicy.deploy.proof import OURS
from fwpolicy.host.libnftables import RefusedError
from fwpolicy.model import hooks, prove
from fwpolicy.model.nft import of_text
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import paired
from fwpolicy.model.program import NotModelledError
from fwpolicy.record import record

from ..compiler.passes.cases import DISPATCH, MERGE, PREFIXHASH, VERDICTMAP
from ..golden import cases
from ..lab import mutation
from ..lab.judge import Judge, agrees
from .test_model import no_nat
from .test_mutants import refuting

pytestmark = pytest.mark.kernel

MUTANTS = int(os.environ.get("MUTANTS", "600"))
SEED = int(os.environ.get("SEED", "1"))
CONFIRMED = 15
# Names of counters and chains come from `compiler/names.py`, which changes no verdict.
MODULES = [
    *(f"fwpolicy.compiler.{name}" for name in ("lower", "lines", "matches", "denial", "sets", "nat", "ntp")),
    *(f"fwpolicy.compiler.passes.{name}" for name in ("chains", "conflicts", "dispatch", "keys", "merge")),
    *(f"fwpolicy.compiler.passes.{name}" for name in ("prefixhash", "verdictmap")),
    *(f"fwpolicy.backends.nft.{name}" for name in ("render", "expressions", "words")),
]
# Policies for the passes, which change little of the golden ones.
PASSED = {"merge": MERGE, "verdictmap": VERDICTMAP, "dispatch": DISPATCH, "prefixhash": PREFIXHASH}
# Policies that a mutant is tried with, the shortest first of those that meet it.
TRIED = 4


@record
class Written:
    """What a mutant writes for a golden policy: the text, what the model reads in it, and the hook and a
    packet by which it differs from the policy; None where it is proved to be the same."""

    case: str
    text: str
    program: object
    difference: object


class Emitters:
    """The golden policies, what they are compiled to, and the lines that are run for it."""

    def __init__(self) -> None:
        self.policies = {case: cases.policy(case) for case in cases.CASES} | PASSED
        self.says = {case: of_policy(policy) for case, policy in self.policies.items()}
        self.right = {case: self.artifact(case).text for case in self.policies}
        self.met = {case: self._met(case) for case in self.policies}

    def artifact(self, case: str):
        facts = cases.facts(case) if case in cases.CASES else UNKNOWN
        return render(compile_ruleset(self.policies[case], facts), case)

    def _met(self, case: str):
        with mutation.lines_met(MODULES) as met:
            self.artifact(case)
        return met

    def drawn(self) -> list[mutation.Mutant]:
        """Mutants of lines that some policy meets."""
        met = frozenset().union(*self.met.values())
        found = [each for module in MODULES for each in mutation.mutants(module)]
        found = [each for each in found if (each.module, each.line) in met]
        Random(SEED).shuffle(found)
        return found[: MUTANTS or None]

    def written(self, mutant: mutation.Mutant) -> Written | str:
        """What it writes otherwise than the right emitter: refuted if some of it is; "unchanged"; "crashed"
        where it writes nothing, "not read" where that cannot be read."""
        own = [case for case in self.policies if (mutant.module, mutant.line) in self.met[case]]
        found: Written | str = "unchanged"
        for case in sorted(own, key=lambda case: len(self.right[case]))[:TRIED]:
            try:
                with mutation.applied(mutant):
                    wrong = self.artifact(case)
            except Exception:
                return "crashed"
            if wrong.text == self.right[case]:
                continue
            try:
                found = self._judged(case, wrong)
            except NotModelledError:
                return "not read"
            if found.difference:
                break
        return found

    def _judged(self, case: str, wrong) -> Written:
        origins = dict(wrong.origins)
        program = of_text(wrong.text, "wrong.nft")
        says = self.says[case]
        named = paired(program, says, f"{OURS} ", lambda rule: origins.get(rule.where.line))
        return Written(case, wrong.text, program, next(prove.differences(says, named), None))


@pytest.fixture(scope="module")
def emitters():
    return Emitters()


@pytest.fixture(scope="module")
def written(emitters):
    """(mutant, what it wrote) of the sample."""
    return [(mutant, emitters.written(mutant)) for mutant in emitters.drawn()]


@pytest.fixture(scope="module")
def judge():
    with Judge() as found:
        yield found


def kind(found: Written | str) -> str:
    return found if isinstance(found, str) else "refuted" if found.difference else "the same"


def test_what_is_wrong_is_refuted(written):
    """Nearly all that is written otherwise and can be read; and enough of it that this says something."""
    met = Counter(kind(found) for _, found in written)
    assert met["refuted"] > len(written) / 5, met
    assert met["refuted"] > 1.5 * met["the same"], met
    hit = Counter(mutant.module for mutant, found in written if kind(found) == "refuted")
    assert len(hit) > len(MODULES) / 2, hit


def test_the_kernel_confirms_the_packets(judge, emitters, written):
    """Under the wrong text it does what the model reads there, and not what the policy says."""
    confirmed: list[str] = []
    for mutant, found in written:
        if kind(found) != "refuted" or found.difference.hook not in hooks.PASSED:
            continue
        said = emitters.says[found.case], found.program
        hook = found.difference.hook
        try:
            judge.load(found.text + no_nat(found.program))
        except RefusedError:
            continue
        questions = judge.ask(refuting(said, hook, Random(SEED)), said)
        for question in questions:
            assert agrees(question.said[1], question), (str(mutant), str(question))
        # A packet that cannot be sent, or whose verdict a limit decides, confirms nothing.
        if any(not agrees(question.said[0], question) for question in questions):
            confirmed.append(str(mutant))
        if len(confirmed) == CONFIRMED:
            return
    assert len(confirmed) >= min(CONFIRMED, MUTANTS // 30), confirmed


def test_the_kernel_confirms_that_others_are_the_same(judge, emitters, written):
    """What is proved to be the same does to packets what the policy says, or is refused by the kernel."""
    same = refused = 0
    for mutant, found in written:
        if kind(found) != "the same":
            continue
        try:
            judge.load(found.text + no_nat(found.program))
        except RefusedError:
            refused += 1
            continue
        wrong = judge.compare((emitters.says[found.case], found.program), Random(SEED), 60)
        assert not wrong, (str(mutant), *map(str, wrong[:2]))
        same += 1
        if same == CONFIRMED:
            break
    assert same > refused, (same, refused)


def test_a_mutant_is_there_only_while_it_is_applied(emitters):
    wrong = Counter(kind(emitters.written(mutant)) for mutant in mutation.mutants(MODULES[2])[:20])
    assert wrong["refuted"] > 2, wrong
    assert {case: emitters.artifact(case).text for case in emitters.policies} == emitters.right
