"""What translation makes of packets: what really comes out, against docs/language.md ("nat")."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random

import pytest

from fwpolicy.addresses import parse
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.model import fields

from ..lab.arena import INTERFACES, Host
from ..property.strategies import loaded

pytestmark = pytest.mark.kernel

HEAD = 'version: 1\nname: nat\nzones: {wan: eth0, lan: [eth1, "wg*"], dmz: wlan0}\nnat:\n'
MASQUERADES = (
    "{out: wan}",
    "{out: dmz, from: 10.0.0.0/8}",
    "{out: lan, family: ipv4}",
    "{out: wan, family: ipv6}",
)
SNATS = ("{out: wan, from: 10.1.0.0/16, to: 198.51.100.9}", '{out: dmz, to: "2001:db8::99"}')
FORWARDS = (
    "{in: wan, service: tcp/443, to: 10.1.2.3, port: 8443, hairpin: true}",
    "{in: [wan, dmz], service: udp/122-124, to: 10.9.9.9, from: 203.0.113.0/24}",
    '{in: wan, service: tcp/22, to: "2001:db8::7"}',
)
SOURCES = {4: ("10.1.2.3", "10.2.0.1", "203.0.113.9"), 6: ("2001:db8::5", "fd00::7")}
OTHERS = {4: ("192.0.2.1", "10.1.2.3"), 6: ("2001:db8::1", "2001:db8::7")}
RULESETS, PACKETS = 80, 60


def own(interface: str, family: int) -> int:
    """The arena's own address on an interface."""
    index = INTERFACES.index(interface) + 1
    return parse(f"198.18.0.{index}" if family == 4 else f"2001:2::{index}")[1]


def names(patterns):
    return {name for name in INTERFACES for each in patterns if fnmatchcase(name, each)}


def within(value, family, addresses):
    return addresses is None or any(first <= value <= last for first, last in addresses.of(family))


def redirected(nat, packet, arrives):
    """(the port forward that the packet is of, or None; whether from an interface that it is not about)."""
    family = packet["nfproto"]
    mine = {own(name, family): name for name in INTERFACES}
    asked = packet[f"daddr{family}"]
    for forward in nat.forward:
        service = forward.service
        if asked not in mine or forward.to[0] != family or service.protocol != packet["l4proto"]:
            continue
        if not any(first <= packet["dport"] <= last for first, last in service.ports):
            continue
        if not within(packet[f"saddr{family}"], family, forward.source):
            continue
        if arrives in names(forward.incoming):
            return forward, False
        # At the host's address in its own network the host is meant, at all others the server.
        if forward.hairpin and mine[asked] != arrives:
            return forward, True
    return None, False


def translated(nat, packet, arrives, leaves):
    """(source, destination, source port, destination port) as it leaves."""
    family = packet["nfproto"]
    source, destination, dport = packet[f"saddr{family}"], packet[f"daddr{family}"], packet["dport"]
    forward, hairpin = redirected(nat, packet, arrives)
    if forward:
        destination, dport = forward.to[1], forward.port or dport
    if hairpin:
        return own(leaves, family), destination, packet["sport"], dport
    for each in nat.snat:
        if each.to[0] == family and leaves in names(each.outgoing) and within(source, family, each.source):
            return each.to[1], destination, packet["sport"], dport
    for each in nat.masquerade:
        if family in each.families and leaves in names(each.outgoing) and within(source, family, each.source):
            return own(leaves, family), destination, packet["sport"], dport
    return source, destination, packet["sport"], dport


def a_packet(random: Random):
    family = random.choice((4, 6))
    arrives, leaves = random.sample(("eth0", "eth1", "wg0", "wlan0", "ppp0"), 2)
    others = [parse(each)[1] for each in OTHERS[family]]
    asked = random.choice((*[own("eth0", family)] * 3, own(arrives, family), *others))
    packet = {
        "nfproto": family,
        "ctstate": 0,
        "l4proto": random.choice((6, 17)),
        "iif": fields.interface(arrives)[0][0],
        "oif": fields.interface(leaves)[0][0],
        f"saddr{family}": parse(random.choice(SOURCES[family]))[1],
        f"daddr{family}": asked,
        "sport": random.choice((40000, 50000)),
        "dport": random.choice((443, 443, 122, 124, 125, 22, 22, 8443)),
        "ttl": 64,
    }
    return packet, arrives, leaves


def test_what_comes_out_is_what_the_policy_says():
    random, seen = Random(7), {"as it was": 0, "destination": 0, "source": 0, "both": 0}
    host = Host(everything_is_local=False)
    try:
        for _ in range(RULESETS):
            parts = {"masquerade": MASQUERADES, "snat": SNATS, "forward": FORWARDS}
            lines = [
                f"  {key}: [{', '.join(random.sample(pool, random.randint(1, len(pool))))}]\n"
                for key, pool in parts.items()
                if random.random() < 3 / 4
            ] or ["  clamp-mss: true\n"]
            policy = loaded(HEAD + "".join(lines))
            host.load(render(compile_ruleset(policy), "nat").text)
            asked = [a_packet(random) for _ in range(PACKETS)]
            for (packet, arrives, leaves), found in zip(
                asked, host.ask([("forward", packet) for packet, _, _ in asked]), strict=True
            ):
                family = packet["nfproto"]
                wanted = translated(policy.nat, packet, arrives, leaves)
                if wanted[1] in {own(name, family) for name in INTERFACES}:
                    continue  # it is for the host itself, and leaves by no interface
                came = host.came_out(found.ident, family)
                assert came == wanted, (packet, arrives, leaves, came, wanted, lines)
                changed = wanted[0] != packet[f"saddr{family}"], wanted[1] != packet[f"daddr{family}"]
                seen[{(0, 0): "as it was", (0, 1): "destination", (1, 0): "source"}.get(changed, "both")] += 1
    finally:
        host.close()
    assert min(seen.values()) > 20, seen
