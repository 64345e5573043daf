"""Who can open a connection to a port, before and after: in words, and against single packets."""

from __future__ import annotations

from random import Random

import pytest

from fwpolicy.addresses import of
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.packet import Packet
from fwpolicy.model.program import Program
from fwpolicy.model.reach import Door, reaches
from tests.policy.reading import read

OPEN = Program({})
OWN = of("192.0.2.1", "2001:db8::1", "fe80::1")
HERE = ("lo", "eth0", "eth1")
POLICY = """\
version: 1
zones: {lan: [eth1], vpn: ["wg*"]}
groups: {admin: [192.0.2.0/24, "2001:db8:1::/48"]}
input:
  default: drop
  allow:
    - {service: ssh, from: admin}
    - http
    - {service: tcp/81, in: lan}
    - {service: tcp/82, in: vpn}
    - {service: tcp/83, local: 192.0.2.1}
    - {service: tcp/84, sport: 1024-65535}
    - {service: tcp/85, expires: 2030-01-01}
    - {service: tcp/86, limit: 3/minute}
    - {service: mdns, local: 224.0.0.251}
  block: [{from: 203.0.113.0/24}]
"""
WORDS = {
    22: ("from 192.0.2.0/24", "from 2001:db8:1::/48"),
    80: ("IPv6", "from all but 203.0.113.0/24"),
    81: ("IPv6 in eth1", "from all but 203.0.113.0/24 in eth1"),
    82: ("IPv6 in wg*", "from all but 203.0.113.0/24 in wg*"),
    83: ("from all but 203.0.113.0/24",),
    85: ("IPv6", "from all but 203.0.113.0/24"),
    86: ("IPv6", "from all but 203.0.113.0/24"),
    87: (),
}
NOW = 1_790_000_000


def policy(text: str = POLICY) -> Program:
    return of_policy(read(text))


def reach(port: int, before: Program = OPEN, after: Program | None = None, own=OWN, protocol=6, groups=()):
    doors = (Door(protocol, port, own, groups),)
    return reaches(before, policy() if after is None else after, doors, HERE, NOW)[0]


@pytest.mark.parametrize("port", WORDS)
def test_who_still_can(port):
    found = reach(port)
    assert sorted(found.kept) == sorted(WORDS[port])
    assert found.lost and found.closed == (port in (82, 87)) and found.absent == (port == 82)


def test_who_no_longer_can():
    assert reach(80).lost == ("from 203.0.113.0/24",)
    assert reach(87).lost == ("",)
    assert reach(22, own=of("192.0.2.1")).lost == ("from all but 192.0.2.0/24",)


def test_nothing_is_lost_that_was_not_there():
    assert reach(87, before=policy()).lost == ()
    assert reach(22, before=policy(), after=OPEN) == reach(22, before=policy(), after=policy())
    closed = policy("version: 1\ninput: {default: drop}\n")
    assert reach(22, before=closed).lost == () and reach(22, before=closed).kept == ()


def test_a_loss_by_interfaces_that_are_not_here_is_none():
    after = policy("version: 1\nzones: {vpn: ['wg*']}\ninput: {default: accept, block: [{in: vpn}]}\n")
    assert reach(22, after=after).lost == ()


def test_neighbours_alone_reach_a_link_local_address():
    after = policy("version: 1\ninput: {default: drop, allow: [{service: ssh, from: 'fe80::/10'}]}\n")
    assert reach(22, after=after, own=of("fe80::1")).lost == ()
    assert reach(22, after=after, own=of("2001:db8::1")).kept == ("from fe80::/10",)


def test_packets_to_groups():
    found = reach(5353, own=of("192.0.2.1"), protocol=17, groups=(4,))
    assert found.kept == ("from all but 203.0.113.0/24 to 224.0.0.251",)
    assert reach(5353, own=of("192.0.2.1"), protocol=17).kept == ()


def test_time_and_limits():
    expired = reaches(OPEN, policy(), (Door(6, 85, OWN),), HERE, 1_900_000_000)[0]
    assert expired.closed and not reach(85).closed
    assert not reach(86).closed


def test_a_role_without_a_section_closes_its_own_ports():
    role = policy("version: 1\nroles: {ntp: client-only}\n")
    assert reach(123, after=role, protocol=17).closed and reach(22, after=role).lost == ()


def test_against_single_packets():
    """Whatever the words: a port is lost, kept or closed as random packets meet it, one by one."""
    random = Random(5)
    after = policy()
    sources = ("192.0.2.9", "198.51.100.9", "203.0.113.9", "2001:db8:1::9", "2001:db8:2::9")
    for port in WORDS:
        found = reach(port)
        met = set()
        for _ in range(200):
            source = random.choice(sources)
            family = 6 if ":" in source else 4
            packet = Packet(
                "input",
                family,
                6,
                of(source).of(family)[0][0],
                OWN.of(family)[0][0],
                random.randint(1, 65535),
                port,
                incoming=random.choice(("eth0", "eth1")),
                time=NOW,
            )
            limits = dict.fromkeys(after.limiters, 1)
            met.add(decide(after, "input", {**to_fields(packet), **limits})[0].kind)
        assert ("accept" in met) != found.closed
        assert ("drop" in met) == bool(found.lost)
