"""Wrong emitters, made automatically: what each writes is refuted with a packet, or proved to be the
same; the kernel confirms both.

Every place in the compiler, its passes, nft's and iptables' backends where one small thing may be wrong
(`lab/mutation.py`) and that some policy here meets (`emitting.py`); of all of them a sample, another one with
each SEED (MUTANTS=0: all).
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from fwpolicy.model import hooks

from ..lab import mutation
from ..lab.emitters import NotLoadedError, kind
from ..lab.judge import Judge, agrees
from .emitting import OfIptables, OfNft
from .test_mutants import refuting

pytestmark = pytest.mark.kernel

MUTANTS = int(os.environ.get("MUTANTS", "600"))
SEED = int(os.environ.get("SEED", "1"))
CONFIRMED = 15 if MUTANTS else 10**6


@pytest.fixture(scope="module", params=(OfNft, OfIptables))
def emitters(request):
    return request.param()


@pytest.fixture(scope="module")
def written(emitters):
    """(mutant, what it wrote) of the sample."""
    drawn = emitters.drawn(MUTANTS // emitters.share, SEED)
    return [(mutant, emitters.written(mutant)) for mutant in drawn]


@pytest.fixture(scope="module")
def judge():
    with Judge() as found:
        yield found


# A time-out that is lost in a callback is told again (tests/lab/mutation.py).
@pytest.mark.filterwarnings("ignore:.*gc_callback:pytest.PytestUnraisableExceptionWarning")
def test_what_is_wrong_is_refuted(emitters, written):
    """Nearly all that is written otherwise and can be read; and enough of it that this says something."""
    met = Counter(kind(found) for _, found in written)
    assert met["refuted"] > len(written) / 5, met
    assert met["refuted"] > 1.5 * met["the same"], met
    hit = Counter(mutant.module for mutant, found in written if kind(found) == "refuted")
    assert len(hit) > len(emitters.modules) / 2, hit


def test_the_kernel_confirms_the_packets(judge, emitters, written):
    """Under the wrong text it does what the model reads there, and not what the policy says."""
    confirmed: list[str] = []
    tried = 0
    for mutant, found in written:
        if kind(found) != "refuted" or found.difference.hook not in hooks.PASSED:
            continue
        said = emitters.says[found.case], found.program
        try:
            also = emitters.load(judge, found)
        except NotLoadedError:
            continue
        packets = refuting(said, found.difference.hook, Random(SEED))
        questions = judge.ask([(hook, {**packet, **also}) for hook, packet in packets], said)
        for question in questions:
            assert agrees(question.said[1], question), (str(mutant), str(question))
        tried += 1
        # A packet that cannot be sent, or whose verdict a limit or the time decides, confirms nothing.
        if any(not agrees(question.said[0], question) for question in questions):
            confirmed.append(str(mutant))
        if len(confirmed) == CONFIRMED:
            return
    assert len(confirmed) > tried * 2 // 3, confirmed


def test_the_kernel_confirms_that_others_are_the_same(judge, emitters, written):
    """What is proved to be the same does to packets what the policy says, or is refused by the kernel."""
    same = refused = 0
    for mutant, found in written:
        if kind(found) != "the same":
            continue
        try:
            also = emitters.load(judge, found)
        except NotLoadedError:
            refused += 1
            continue
        wrong = judge.compare((emitters.says[found.case], found.program), Random(SEED), 60, also)
        assert not wrong, (str(mutant), *map(str, wrong[:2]))
        same += 1
        if same == CONFIRMED:
            break
    assert same > refused, (same, refused)


def test_a_mutant_is_there_only_while_it_is_applied(emitters):
    wrong = Counter(kind(emitters.written(mutant)) for mutant in mutation.mutants(emitters.modules[2])[:20])
    assert wrong["refuted"] > 2, wrong
    assert {case: emitters.texts(emitters.emit(case)) for case in emitters.policies} == emitters.right
