"""Rulesets in the shape of other programs', loaded into a real kernel: what it saves means the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pyroute2.ipset import IPSet

from fwpolicy.model.iptables import of_text
from fwpolicy.model.program import Program, run

from ..model.foreign import kubernetes
from ..model.foreign.reading import FILES, conditions, text
from .test_iptables_reading import VARIANTS, boundary_packets, saved

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.kernel

# No kernel module of the name needs an object that another tool makes.
TEXTS = {name: text(name) for name in FILES}
TEXTS["kubernetes.v4"] = re.sub(r"-m nfacct --nfacct-name \w+ ", "", kubernetes.text(40))


def make_sets(ruleset: str) -> None:
    with IPSet() as opened:
        for name in sorted(set(re.findall(r"--match-set (\S+)", ruleset))):
            opened.create(name, stype="hash:net")


def decisions(program: Program, packet: Mapping[str, int]) -> dict[str, str]:
    """What each base chain says, by its name."""
    said = {}
    for chain in program.chains.values():
        if chain.base:
            verdict, _ = run(program, chain.name, packet)
            said[chain.name] = (verdict or chain.base.policy).kind
    return said


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_kernel_has_what_was_read(variant: str, name: str) -> None:
    family = int(name[-1])
    given = TEXTS[name]
    said = saved(variant, family, given, lambda: make_sets(given))
    ours, theirs = of_text(given, name, family), of_text(said, "saved")
    assert sorted({field for _, field in conditions(ours)}) == sorted(
        {field for _, field in conditions(theirs)}
    )
    for packet in boundary_packets(family, [ours, theirs], 1, 300):
        expected = decisions(ours, packet)
        found = decisions(theirs, packet)
        assert {chain: found[chain] for chain in expected} == expected, packet
