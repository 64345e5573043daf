"""Our own rulesets: as they are emitted and as the kernel lists them, they are the same function."""

from __future__ import annotations

import pytest

from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_text
from tests.golden import cases
from tests.model.nft.comparing import differences, limiters, readings
from tests.model.nft.packets import as_fields


@pytest.mark.kernel
@pytest.mark.parametrize("case", cases.CASES)
def test_emitted_and_listed_are_the_same_function(case, netns):
    programs = readings(netns, cases.golden(case).read_text())
    assert not next(differences(programs), None)
    assert [program.unmodelled for program in programs] == [()] * len(programs)


@pytest.mark.parametrize("case", cases.CASES)
def test_it_gives_the_verdicts_of_the_table(case):
    program = of_text(cases.golden(case).read_text(), "ruleset.nft")
    full = limiters(program)
    for packet, expected, _ in cases.packets(case):
        verdict, _ = decide(program, packet.hook, as_fields(packet, full))
        said = "accept" if expected == "undecided" else expected
        assert verdict.kind.partition(":")[0] == said, packet


@pytest.mark.parametrize("case", cases.CASES)
def test_every_rule_has_its_line(case):
    text = cases.golden(case).read_text()
    lines = text.split("\n")
    program = of_text(text, "ruleset.nft")
    for chain in program.chains.values():
        for rule in chain.rules:
            assert lines[rule.where.line - 1].strip() == rule.where.text
            assert rule.where.chain == chain.name


@pytest.mark.parametrize(
    ("case", "right", "wrong"),
    [
        ("bastion", "tcp dport 4460 counter", "tcp dport 4461 counter"),
        ("bastion", "ip6 saddr fe80::/10 udp sport 547", "udp sport 547"),
        ("bastion", "@th,64,8 & 0x7 != 0x4", "@th,64,8 & 0x7 == 0x4"),
        ("bastion", "elements = { 198.51.100.53 }", "elements = { 198.51.100.52 }"),
        ("bastion", "rate 10/minute burst 20 packets } jump", "rate over 10/minute burst 20 packets } jump"),
        ("router", 'iifname "wlan*" oifname', 'iifname "wlan" oifname'),
        ("router", "ct status dnat ct original proto-dst 443 accept", "ct original proto-dst 443 accept"),
        ("router", "dnat ip to 192.0.2.10:8443", "dnat ip to 192.0.2.10:8444"),
        ("router", "icmpv6 type { 1, 2, 3, 4 }", "icmpv6 type { 1, 2, 3, 5 }"),
        ("monitoring", "& ffff:ffff:ffff:ffff:: ct count", "& ffff:ffff:ffff:ffff:: ct count over"),
    ],
)
def test_a_small_change_is_seen(case, right, wrong):
    """The packets that are compared are telling ones."""
    text = cases.golden(case).read_text()
    assert right in text
    programs = [of_text(each, "ruleset.nft") for each in (text, text.replace(right, wrong))]
    assert next(differences(programs, 6000), None)
