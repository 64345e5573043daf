"""Law: packets of one class are decided alike, so that of a hundred thousand flows few are asked about."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.errors import PolicyError
from fwpolicy.model.classes import Classes, interfaces
from fwpolicy.model.decide import decide
from fwpolicy.record import replace
from tests.property.strategies import loaded, policy_texts, sample

POLICIES, PACKETS = 150, 60
QUICK = settings(
    max_examples=POLICIES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
REAL = (None, "eth0", "eth1", "eth10", "wg", "wg0", "wlan0", "docker0", "e")


def _lines(section):
    return len(section.allow) + len(section.block)


def _neighbours(packet, random):
    """The same packet from and to somewhere near."""
    for _ in range(4):
        source, destination = (
            each ^ random.choice((0, 1, 3, 256)) for each in (packet.source, packet.destination)
        )
        found = replace(packet, source=source, destination=destination)
        if packet.sport is not None:
            sport, dport = (
                max(0, each + random.randint(-2, 2)) & 65535 for each in (packet.sport, packet.dport)
            )
            found = replace(found, sport=sport, dport=dport)
        yield found


def test_packets_of_one_class_are_decided_alike():
    met = Counter()

    @QUICK
    @given(policy_texts(), st.integers(0, 2**32))
    def law(text, seed):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        classes, first, random = Classes(policy), {}, Random(seed)
        known = sample(policy, seed, PACKETS)
        for packet in (each for one in known for each in (one, *_neighbours(one, random))):
            ports = packet.sport or 0, packet.dport or 0
            asked = None if packet.published is None else classes.port(packet.published)
            alike = classes.of(packet.family, packet.source, packet.destination, *ports)
            # What is no address and no port is the caller's to keep apart.
            rest = replace(packet, source=0, destination=0, sport=None, dport=None, published=None)
            has = packet.sport is None, packet.dport is None
            one = first.setdefault((alike, asked, has, rest), packet)
            said, before = decide(policy, packet), decide(policy, one)
            fewer = classes.relevant(packet.protocol, packet.dport or 0, packet.published or 0)
            assert decide(fewer, packet) == said, f"{packet}\n{text}"
            met["fewer lines"] += sum(map(_lines, fewer.sections)) < sum(map(_lines, policy.sections))
            assert (said.verdict, said.step, said.origin) == (before.verdict, before.step, before.origin), (
                f"{one}\n{packet}\n{text}"
            )
            met["in company"] += one is not packet and one != packet
            met[said.verdict] += 1

    law()
    assert (
        met["in company"] > 3000 and met["fewer lines"] > 3000 and met["drop"] > 1000 and met["accept"] > 1000
    ), met


def test_an_interface_of_each_class_is_asked_about():
    met = Counter()

    @QUICK
    @given(policy_texts(), st.integers(0, 2**32))
    def law(text, seed):
        try:
            policy = loaded(text)
        except PolicyError:
            return
        known = interfaces(policy)
        for packet in sample(policy, seed, 20):
            if packet.hook == "output":
                continue
            said = {decide(policy, replace(packet, incoming=name)).verdict for name in known}
            real = {decide(policy, replace(packet, incoming=name)).verdict for name in REAL}
            assert real <= said, f"{packet}\n{text}"
            met["differs"] += len(said) > 1

    law()
    assert met["differs"] > 100, met
