"""Mutants that loop for ever (`lab/mutation.py`) come to an end; once, one took all of the memory."""

from __future__ import annotations

import gc
import os

import pytest

from fwpolicy.compiler.sets import Sets
from fwpolicy.ir.ruleset import DynamicSet

from .lab import mutation

FRESH = DynamicSet("banned_v4", 4, 60)


@pytest.fixture
def endless():
    """`while name in self._by_name`, the other way round: every number is one too few."""
    found = mutation.mutants("fwpolicy.compiler.sets")
    return next(each for each in found if str(each).endswith("Sets.fresh: NotIn for In"))


@pytest.fixture
def deaf():
    """A callback of the collector, where what a signal's handler raises is lost: the first one is."""
    left = [2 * mutation.LONGEST]

    def callback(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and left:
            end = os.times().user + left.pop()
            while os.times().user < end:
                sum(range(10_000))

    gc.callbacks.append(callback)
    yield left
    gc.callbacks.remove(callback)


def test_what_never_ends_is_ended(endless):
    with pytest.raises(TimeoutError), mutation.applied(endless):
        Sets().fresh(FRESH)
    assert Sets().fresh(FRESH) == "banned_v4"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_even_where_the_first_signal_is_lost(endless, deaf):
    with pytest.raises(TimeoutError), mutation.applied(endless):
        gc.collect()
        Sets().fresh(FRESH)
    assert not deaf
