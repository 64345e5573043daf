"""Every statement and expression that the readers know: as written, as listed, as JSON, the same function."""

from __future__ import annotations

import pytest

from fwpolicy.model.program import run
from tests.model.nft.comparing import ends_of, packets, readings
from tests.model.nft.rules import RULES, ruleset

LINES = tuple(RULES.splitlines())


@pytest.mark.kernel
def test_what_is_written_and_what_is_listed_is_the_same(netns):
    assert_same(readings(netns, ruleset(LINES)), LINES)


def assert_same(programs, lines):
    """The programs of `ruleset(lines)` decide the same."""
    wrong = []
    for number, line in enumerate(lines):
        name = f"inet t c{number}"
        values = ends_of([program.chains[each] for program in programs for each in (name, "inet t x")])
        for packet in packets(values, 120, number):
            done = [run(program, name, packet)[0] for program in programs]
            if any(each != done[0] for each in done):
                wrong.append(f"{line}: {done}: {values}")
                break
    assert not wrong, "\n".join(wrong)
    named = [{where.chain for where in program.unmodelled} for program in programs]
    assert all(each == named[0] for each in named)
