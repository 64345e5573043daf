"""The three translations against real packets: the kernel itself disagrees with the tool."""

from __future__ import annotations

import pytest

from ..lab.frames import Packet
from ..lab.oracle import verdicts
from ..model.foreign.translate import CASES, Case

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.port}")
def test_a_packet_shows_the_difference(case: Case) -> None:
    packet = Packet(proto=case.proto, dport=case.port)
    assert verdicts("", [packet], restore=[("iptables-restore", case.rules)]) == [case.meant]
    assert verdicts(case.nft, [packet]) == [case.translated]
