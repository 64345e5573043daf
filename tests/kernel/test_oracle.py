"""The packet oracle itself: hand-written rulesets whose verdicts nobody doubts."""

from __future__ import annotations

import time

import pytest

from fwpolicy.record import replace

from ..lab.frames import Packet
from ..lab.oracle import OracleError, verdicts

pytestmark = pytest.mark.kernel

# Conntrack finds nothing invalid in ESP (50).
STATES = [
    (proto, state)
    for proto in ("udp", "tcp", "icmp", 50)
    for state in ("new", "established", "invalid", "untracked")
    if (proto, state) != (50, "invalid")
]
CLIENT6, HOST6 = "2001:db8::7", "2001:db8::1"


def ruleset(hook: str, *rules: str, policy: str = "accept") -> str:
    """A table with one base chain."""
    body = "\n".join(rules)
    return (
        f"table inet t {{\nchain c {{\ntype filter hook {hook} priority 0; policy {policy};\n{body}\n}}\n}}\n"
    )


def both(packet: Packet) -> list[Packet]:
    """The packet, and the same over IPv6."""
    proto = "icmpv6" if packet.proto == "icmp" else packet.proto
    return [packet, replace(packet, saddr=CLIENT6, daddr=HOST6, proto=proto)]


def verdict(rules: str, packet: Packet) -> str:
    """The verdict for the packet, which must be the same over IPv6."""
    found = set(verdicts(rules, both(packet)))
    assert len(found) == 1, found
    return found.pop()


@pytest.mark.parametrize("hook", ["input", "output"])
class TestVerdicts:
    """What ends a chain, in both hooks."""

    def test_without_rules_everything_passes(self, hook: str) -> None:
        assert verdict("", Packet(hook)) == "accept"

    def test_accept_against_policy_drop(self, hook: str) -> None:
        rules = ruleset(hook, "udp dport 123 accept", policy="drop")
        assert verdict(rules, Packet(hook, dport=123)) == "accept"
        assert verdict(rules, Packet(hook, dport=124)) == "drop"
        assert verdict(rules, Packet(hook, proto="tcp", dport=123)) == "drop"

    def test_reject_with_an_icmp_error(self, hook: str) -> None:
        rules = ruleset(hook, "udp dport 123 reject", "tcp dport 22 reject with icmpx admin-prohibited")
        assert verdict(rules, Packet(hook, dport=123)) == "reject"
        assert verdict(rules, Packet(hook, proto="tcp", dport=22)) == "reject"
        assert verdict(rules, Packet(hook, proto="tcp", dport=23)) == "accept"

    def test_reject_with_a_reset(self, hook: str) -> None:
        rules = ruleset(hook, "meta l4proto tcp reject with tcp reset")
        for flags in (0x02, 0x10, 0x18):
            assert verdict(rules, Packet(hook, proto="tcp", tcp_flags=flags)) == "reject"
        assert verdict(rules, Packet(hook, proto="tcp", tcp_flags=0x04)) == "drop"  # no reset for a reset

    def test_a_drop_is_final_across_tables(self, hook: str) -> None:
        late = ruleset(hook, "udp dport 123 drop").replace("priority 0", "priority 10").replace(" t ", " u ")
        assert verdict(ruleset(hook, "accept") + late, Packet(hook)) == "drop"

    def test_answers_held_back_by_the_ruleset_count(self, hook: str) -> None:
        silent = ruleset("output", "udp dport != 123 drop").replace(" t ", " u ")
        assert verdict(ruleset(hook, "udp dport 123 reject") + silent, Packet(hook)) == "reject"

    def test_addresses_are_those_of_the_packet(self, hook: str) -> None:
        rules = ruleset(hook, "ip saddr 192.0.2.0/24 ip daddr 203.0.113.9 drop", f"ip6 saddr {HOST6} drop")
        packets = [
            Packet(hook, saddr="192.0.2.77", daddr="203.0.113.9"),
            Packet(hook, saddr="192.0.2.77", daddr="203.0.113.8"),
            Packet(hook, saddr=HOST6, daddr=CLIENT6),
            Packet(hook, saddr=CLIENT6, daddr=HOST6),
        ]
        assert verdicts(rules, packets) == ["drop", "accept", "drop", "accept"]


@pytest.mark.parametrize("hook", ["input", "output"])
@pytest.mark.parametrize("mode", range(8))
def test_ntp_mode_bits(hook: str, mode: int) -> None:
    rules = ruleset(hook, "udp dport 123 @th,64,8 & 0x7 == 0x4 accept", policy="drop")
    assert verdict(rules, Packet(hook, mode=mode)) == ("accept" if mode == 4 else "drop")


@pytest.mark.parametrize("hook", ["input", "output"])
@pytest.mark.parametrize(("proto", "state"), STATES)
def test_states(hook: str, proto: str | int, state: str) -> None:
    packet = Packet(hook, proto=proto, state=state)
    assert verdict(ruleset(hook, f"ct state {state} accept", policy="drop"), packet) == "accept"
    assert verdict(ruleset(hook, f"ct state {state} drop"), packet) == "drop"


def test_equal_packets_in_different_states_do_not_meet() -> None:
    rules = ruleset("input", "ct state established accept", "ct state new reject", policy="drop")
    states = ["new", "established", "invalid", "untracked"] * 2
    expected = ["reject", "accept", "drop", "drop"] * 2
    assert verdicts(rules, [Packet(state=state, mode=4) for state in states]) == expected


def test_icmp_types() -> None:
    rules = ruleset(
        "input", "icmp type echo-request accept", "icmpv6 type nd-neighbor-solicit accept", policy="drop"
    )
    packets = [
        Packet(proto="icmp", icmp_type=8),
        Packet(proto="icmp", icmp_type=13),
        Packet(saddr="fe80::1", daddr=HOST6, proto="icmpv6", icmp_type=135),
        Packet(saddr="fe80::1", daddr=HOST6, proto="icmpv6", icmp_type=136),
    ]
    assert verdicts(rules, packets) == ["accept", "drop", "accept", "drop"]


@pytest.mark.parametrize("hook", ["input", "output"])
def test_interfaces(hook: str) -> None:
    name = "iifname" if hook == "input" else "oifname"
    rules = ruleset(hook, f'{name} "lo" accept', f'{name} "wan*" reject', policy="drop")
    assert verdict(rules, Packet(hook, interface="lo")) == "accept"
    assert verdict(rules, Packet(hook, interface="wan0")) == "reject"
    assert verdict(rules, Packet(hook, interface="eth0")) == "drop"
    states = rules.replace('"lo" accept', '"lo" ct state established accept')
    assert verdict(states, Packet(hook, interface="lo", state="established")) == "accept"
    assert verdict(states, Packet(hook, interface="lo", state="new")) == "drop"


def test_prerouting_and_groups() -> None:
    rules = ruleset("prerouting", "fib daddr type { multicast, broadcast } udp dport 123 drop")
    packets = [
        Packet(daddr="224.0.1.1"),
        Packet(daddr="224.0.1.1", dport=124),
        Packet(daddr="255.255.255.255"),
        Packet(saddr=CLIENT6, daddr="ff05::101"),
        Packet(saddr=CLIENT6, daddr="ff05::101", dport=124),
        Packet(),
    ]
    assert verdicts(rules, packets) == ["drop", "accept", "drop", "drop", "accept", "accept"]


class TestFragments:
    """A fragment has a header or a payload to match, or neither."""

    MODE_4 = "udp dport 123 @th,64,8 & 0x7 == 0x4 accept"

    def test_a_first_fragment_has_ports_but_no_payload(self) -> None:
        first = Packet("output", fragment="first", mode=4)
        assert verdict(ruleset("output", self.MODE_4, policy="drop"), first) == "drop"
        assert verdict(ruleset("output", "udp dport 123 accept", policy="drop"), first) == "accept"
        # The hole in a negative match: it passes what it cannot read.
        assert verdict(ruleset("output", "udp dport 123 @th,64,8 & 0x7 != 0x4 drop"), first) == "accept"

    def test_a_later_fragment_has_no_ports_of_its_own(self) -> None:
        later = Packet("output", fragment="later")
        assert verdict(ruleset("output", "udp dport 123 accept", policy="drop"), later) == "drop"
        assert verdict(ruleset("output", "meta l4proto udp drop"), later) == "drop"

    def test_input_sees_lone_fragments_over_ipv6_only(self) -> None:
        rules = ruleset("input", "exthdr frag exists drop")
        assert verdicts(rules, [Packet(saddr=CLIENT6, daddr=HOST6, fragment="later")]) == ["drop"]
        with pytest.raises(OracleError, match="the kernel itself stops it"):
            verdicts(rules, [Packet(fragment="later")])
        early = ruleset("prerouting", "ip frag-off & 0x3fff != 0 drop")
        assert verdicts(early, [Packet(fragment="later")]) == ["drop"]

    def test_conntrack_puts_them_together(self) -> None:
        rules = ruleset("input", "ct state new " + self.MODE_4, policy="drop")
        assert verdict(rules, Packet(fragment="pair", mode=4)) == "accept"
        assert verdict(rules, Packet(fragment="pair", mode=3)) == "drop"
        with pytest.raises(OracleError, match="waits in conntrack"):
            verdicts(rules, [Packet(fragment="later")])

    def test_without_conntrack_ipv6_judges_each(self) -> None:
        rules = ruleset("input", self.MODE_4, policy="drop")
        pair = both(Packet(fragment="pair", mode=4))
        assert verdicts(rules, pair) == ["accept", "drop"]


class TestItIsNoYesSayer:
    """Wrong expectations fail, and a question that makes no sense is no verdict."""

    def test_a_wrong_expectation_fails(self) -> None:
        with pytest.raises(AssertionError):
            assert verdict(ruleset("input", "udp dport 124 drop"), Packet(dport=123)) == "drop"

    def test_one_bit_of_difference_shows(self) -> None:
        right = ruleset("input", "udp dport 123 drop")
        packets = both(Packet(dport=123)) + both(Packet(dport=122))
        assert verdicts(right, packets) != verdicts(right.replace("123", "122"), packets)

    def test_a_state_that_cannot_be_made(self) -> None:
        solicit = Packet(saddr="fe80::1", daddr=HOST6, proto="icmpv6", icmp_type=135, state="new")
        with pytest.raises(OracleError, match="to conntrack this is untracked"):
            verdicts(ruleset("input", "ct state new accept"), [solicit])

    def test_a_packet_the_kernel_does_not_route(self) -> None:
        with pytest.raises(OracleError, match="the kernel itself stops it"):
            verdicts("", [Packet(saddr="224.0.0.5")])
        with pytest.raises(OracleError, match="no packet of this hook"):
            verdicts("", [Packet(saddr="::1", daddr=HOST6)])

    def test_a_ruleset_that_does_not_load(self) -> None:
        with pytest.raises(AssertionError, match="syntax error"):
            verdicts(ruleset("input", "udp dport 123 dorp"), [Packet()])

    def test_flush_ruleset_leaves_the_probe(self) -> None:
        assert verdicts("flush ruleset\n" + ruleset("input", "drop"), [Packet()]) == ["drop"]


def test_iptables_too() -> None:
    packets = both(Packet(mode=4, state="established")) + both(Packet(mode=3, state="new"))
    four = (
        "*filter\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "-A INPUT -p udp --dport 123 -j REJECT\nCOMMIT\n"
    )
    six = "*filter\n-A INPUT -p udp -m udp --dport 123 -j DROP\nCOMMIT\n"
    found = verdicts("", packets, restore=(("iptables-restore", four), ("ip6tables-restore", six)))
    assert found == ["accept", "drop", "reject", "drop"]


def test_hundreds_of_packets_take_a_moment() -> None:
    rules = ruleset("input", "ct state established accept", "udp dport 100-199 reject", policy="drop")
    packets = [packet for port in range(300) for packet in both(Packet(dport=port, state="new"))]
    began = time.monotonic()
    found = verdicts(rules, packets)
    assert time.monotonic() - began < 2  # 0.12 s on an idle machine
    expected = [("reject" if 100 <= port < 200 else "drop") for port in range(300) for _ in range(2)]
    assert found == expected
