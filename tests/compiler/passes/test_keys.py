"""Which keys may meet in a map."""

from __future__ import annotations

from random import Random

from fwpolicy.compiler.passes.keys import crowded


def test_crowded_are_those_that_meet_another():
    chance = Random(1)
    for _ in range(2000):
        firsts = [chance.randrange(24) for _ in range(chance.randrange(8))]
        given = [(first, first + chance.choice((0, 0, 1, 3, 9))) for first in firsts]
        meeting = {
            one
            for index, one in enumerate(given)
            for other in given[:index] + given[index + 1 :]
            if one[0] <= other[1] and other[0] <= one[1]
        }
        assert crowded(given) == meeting
