"""The checks of a golden case that only a real kernel can make: it loads, lists stably, decides alike."""

from __future__ import annotations

import json

import pytest

from fwpolicy.addresses import format_address
from fwpolicy.backends.nft.read import normal_form, read
from fwpolicy.ir.ruleset import Ruleset
from tests.golden import cases
from tests.lab import frames
from tests.lab.holder import run
from tests.lab.oracle import verdicts

pytestmark = pytest.mark.kernel


def in_netns(name: str, *command: str, text: str | None = None) -> str:
    return run("ip", "netns", "exec", name, *command, input=text).stdout


@pytest.mark.parametrize("case", cases.CASES)
def test_it_loads_twice_and_reads_back_as_what_was_compiled(case, netns):
    text = cases.golden(case).read_text()
    in_netns(netns, "nft", "-c", "-f", "-", text=text)
    assert not in_netns(netns, "nft", "list", "ruleset"), "a check changes nothing"
    for _ in range(2):
        in_netns(netns, "nft", "-f", "-", text=text)
    listing = json.loads(in_netns(netns, "nft", "-n", "-j", "list", "ruleset"))
    table = read(listing, "inet", "fwpolicy")
    assert table is not None
    assert normal_form(Ruleset((table,))) == normal_form(cases.ruleset(case))


@pytest.mark.parametrize("case", cases.CASES)
def test_its_listing_loads_and_lists_the_same(case, netns):
    in_netns(netns, "nft", "-f", "-", text=cases.golden(case).read_text())
    first = in_netns(netns, "nft", "-s", "list", "ruleset")
    in_netns(netns, "nft", "-f", "-", text=f"flush ruleset\n{first}")
    assert in_netns(netns, "nft", "-s", "list", "ruleset") == first


@pytest.mark.parametrize("case", cases.CASES)
def test_real_packets_get_the_verdicts_of_the_table(case):
    table = [row for row in cases.packets(case) if sendable(row[0])]
    assert len(table) >= 10
    done = verdicts(cases.golden(case).read_text(), [as_frame(packet) for packet, _, _ in table])
    expected = ["accept" if verdict == "undecided" else verdict for _, verdict, _ in table]
    wrong = [
        f"{packet}: {did}, not {said}"
        for (packet, _, _), did, said in zip(table, done, expected, strict=True)
        if did != said
    ]
    assert not wrong, "\n".join(wrong)


def sendable(packet) -> bool:
    """What the oracle can make: what comes in and what goes out, as it was first addressed. An unreadable
    payload has the fragment tests; what is forwarded, limits and groups at run time have test_lowering."""
    at_run_time = packet.published or packet.time or packet.source_in or packet.destination_in
    return packet.hook != "forward" and packet.mode is not None and not (at_run_time or packet.spent)


def as_frame(packet) -> frames.Packet:
    known = {number: name for name, number in frames.PROTOCOLS.items()}
    is_ntp = 123 in (packet.sport, packet.dport)
    return frames.Packet(
        hook=packet.hook,
        saddr=format_address(packet.family, packet.source),
        daddr=format_address(packet.family, packet.destination),
        proto=known.get(packet.protocol, packet.protocol),
        sport=packet.sport or 0,
        dport=packet.dport or 0,
        mode=packet.mode if is_ntp and packet.protocol == 17 else None,
        icmp_type=packet.icmp_type,
        state=packet.state,
        interface="lo" if packet.loopback else packet.incoming or packet.outgoing or "eth0",
    )
