"""What the nft of Debian 13 lists, read: all that our texts can say, and all that others' may."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.backends.nft.rulesets import tables
from tests.kernel.test_readback import assert_reads_back
from tests.model.nft.comparing import readings_by
from tests.model.nft.rules import ruleset
from tests.model.nft.test_statements import LINES, assert_same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

# nft 1.0 loads one flag in braces as a test of that bit, which is how we read it; 1.1 as equality.
ANOTHER_MEANING = ("tcp flags { syn } accept", "ct status { dnat } accept")
SAME = tuple(line for line in LINES if line not in ANOTHER_MEANING)
LIST = "nft -f - && TZ=UTC nft -n -j list ruleset"


@pytest.fixture(scope="module")
def host(place: Lab) -> Iterator[Host]:
    with place.host("lists", 22, "trixie") as host:
        host.start()
        yield host


# Shrinking takes minutes where each example is loaded and listed.
@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(table=tables())
def test_what_is_loaded_reads_back_the_same(host: Host, table: object) -> None:
    def listing(text: str) -> object:
        return json.loads(host.run("unshare", "--net", "sh", "-c", LIST, input=text).stdout)

    assert_reads_back(table, listing)


def test_what_is_written_and_what_is_listed_is_the_same(host: Host) -> None:
    def ask(*command: str, text: str | None = None) -> str:
        return host.run("env", "TZ=UTC", *command, input=text or "").stdout

    assert len(SAME) == len(LINES) - len(ANOTHER_MEANING)
    assert_same(readings_by(ask, ruleset(SAME)), SAME)
