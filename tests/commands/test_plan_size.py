"""plan of a large policy: seconds, where naming every class of packets would take minutes."""

from __future__ import annotations

from time import process_time

import pytest

from fwpolicy.commands import difftext
from fwpolicy.deploy.proof import traffic
from tests.policy.reading import read

LINES = "\n".join(
    f"    - {{service: tcp/{1000 + number}, from: 10.{number % 250}.{number // 250}.0/24}}"
    for number in range(1000)
)
LARGE = (
    "version: 1\ngroups:\n  bad:\n"
    + "\n".join(f"    - 172.{16 + n // 32768}.{n // 128 % 256}.{2 * (n % 128)}" for n in range(10_000))
    + f"\ninput:\n  default: drop\n  block: [{{from: bad}}]\n  allow:\n{LINES}\n"
)


@pytest.fixture(scope="module")
def policy():
    return read(LARGE)


def test_some_classes_of_each_change_are_enough_for_people(policy):
    begin = process_time()
    found = traffic(policy, None, "", most=difftext.SHOWN + 1)
    assert process_time() - begin < 10
    assert all(len(change.classes) <= difftext.SHOWN + 1 for change in found)
    assert "  ... and more: --json has them all" in difftext.as_text(found, counted=False)
