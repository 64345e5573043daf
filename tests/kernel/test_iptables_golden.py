"""Golden cases in iptables' words, both variants, on a real kernel: they load, list and decide alike."""

from __future__ import annotations

import pytest

from fwpolicy.deploy import xtproof
from tests.golden import cases
from tests.lab import netns
from tests.lab.holder import run
from tests.lab.oracle import verdicts

from .test_golden import as_frame, sendable

pytestmark = pytest.mark.kernel

VARIANTS = ("legacy", "nft")
COMMANDS = {4: "iptables", 6: "ip6tables"}


def restores(texts, variant: str) -> list[tuple[str, str]]:
    """What loads the texts, beside whatever is there."""
    sets = [("ipset restore", texts.sets.text)] if texts.sets else []
    families = zip(COMMANDS.values(), texts.rules, strict=True)
    return sets + [(f"{name}-{variant}-restore --noflush", each.text) for name, each in families]


def listed(variant: str) -> tuple[tuple[str, str], str]:
    """What this namespace says that it has: rules of both families, and sets."""
    rules = tuple(run(f"{name}-{variant}-save").stdout for name in COMMANDS.values())
    return rules, run("ipset", "save").stdout


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", cases.SAID)
def test_it_loads_and_what_is_saved_is_proved_the_same(case, variant):
    texts = cases.iptables(case)

    def inside():
        for command, text in restores(texts, variant):
            assert not run(*command.split(), input=text).stderr, "no warning"
        return listed(variant)

    rules, sets = netns.call(inside)
    xtproof.prove_listed(texts, rules, sets, variant)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", cases.SAID)
def test_real_packets_get_the_verdicts_of_the_table(case, variant):
    table = [row for row in cases.packets(case) if sendable(row[0]) and not cut_short(row[0])]
    assert len(table) >= 10
    loads = restores(cases.iptables(case), variant)
    done = verdicts("", [as_frame(packet) for packet, _, _ in table], restore=loads)
    expected = ["accept" if verdict == "undecided" else verdict for _, verdict, _ in table]
    wrong = [
        f"{packet}: {did}, not {said}"
        for (packet, _, _), did, said in zip(table, done, expected, strict=True)
        if did != said
    ]
    assert not wrong, "\n".join(wrong)


def cut_short(packet) -> bool:
    """The oracle's invalid ICMP: who would read its type drops it by itself (`hotdrop`, icmp_match)."""
    return packet.protocol in (1, 58) and packet.state == "invalid"
