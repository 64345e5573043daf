"""What the kernel lists of a ruleset is the ruleset, for everything that the IR can say."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from fwpolicy.backends.nft.read import normal_form, read
from fwpolicy.backends.nft.render import render
from fwpolicy.ir.ruleset import Ruleset
from tests.backends.nft.rulesets import tables
from tests.lab import netns
from tests.lab.holder import run

pytestmark = pytest.mark.kernel


def loaded_and_listed(text: str) -> dict:
    """The listing of `text` in a namespace of its own."""

    def inside() -> str:
        run("nft", "-f", "-", input=text)
        return run("env", "TZ=UTC", "nft", "-n", "-j", "list", "ruleset").stdout

    return json.loads(netns.call(inside))


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_what_is_loaded_reads_back_the_same(table):
    assert_reads_back(table, loaded_and_listed)


def assert_reads_back(table, listing):
    """What is read in `listing` of the table's text is the table."""
    text = render(Ruleset((table,)), "random").text
    found = read(listing(text), table.family, table.name)
    assert found is not None
    mine, live = normal_form(Ruleset((table,))), normal_form(Ruleset((found,)))
    for chain, content in mine["inet fwpolicy"]["chains"].items():
        assert live["inet fwpolicy"]["chains"][chain] == content, text
    assert live == mine
