"""A large policy with its passes on a real kernel: it reads back, and packets meet the same end."""

from __future__ import annotations

import contextlib
import json
import random
import socket

import pytest

from fwpolicy.addresses import parse
from fwpolicy.backends.nft.read import normal_form, read
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.ir.ruleset import Ruleset
from fwpolicy.model.packet import Packet
from fwpolicy.model.simulate import simulate
from fwpolicy.record import replace
from tests.compiler.build import HERE, allow, block, match, policy, section
from tests.kernel.test_golden import as_frame
from tests.kernel.test_readback import loaded_and_listed
from tests.lab import netns
from tests.lab.holder import run
from tests.lab.oracle import verdicts

pytestmark = pytest.mark.kernel

SEED = 20260728
PLACES = ((socket.AF_INET, "10.0.{}.{}"), (socket.AF_INET6, "2001:db8::{:x}{:02x}"))
NET4, NET6 = 10 << 24, 0x20010DB8 << 96


def lines(count: int, dice: random.Random) -> list:
    """Addresses and prefixes of both families with ports and ranges of ports, that overlap now and then."""
    made = []
    for number in range(1, count + 1):
        host = dice.randrange(300)
        kind = dice.randrange(12)
        source = f"10.0.{host >> 8}.{host & 255}" if kind % 2 else f"2001:db8::{host:x}"
        if kind in (2, 3):
            source = f"10.0.0.{host & 0xF8}/29" if kind == 3 else f"2001:db8::{host & 0xF0:x}/124"
        port = 1000 + dice.randrange(40)
        what = f"{('tcp', 'udp')[kind == 5]}/{port}" + (f"-{port + 3}" if kind in (7, 8) else "")
        make = {9: block, 10: block}.get(kind, allow)
        more = {"action": "reject"} if kind == 10 else {}
        more |= {"comment": f"line {number}"} if kind == 4 else {}
        made.append(replace(make(what, source=source, **more), origin=replace(HERE, line=number)))
    return made


def packets(count: int, dice: random.Random) -> list[Packet]:
    made = []
    for _ in range(count):
        family = dice.choice((4, 6))
        base = NET4 if family == 4 else NET6
        protocol = dice.choice((6, 6, 6, 17))
        ports = (40000, 1000 + dice.randrange(48))
        made.append(Packet("input", family, protocol, base + dice.randrange(310), base + 0x1000, *ports))
    return made


def test_a_thousand_lines():
    dice = random.Random(SEED)
    wanted = policy(section("input", "drop", *lines(1000, dice)))
    plain, ruleset = compile_ruleset(wanted, passes=()), compile_ruleset(wanted)
    (table,), (before,) = ruleset.tables, plain.tables
    assert set(table.counters) == set(before.counters)
    assert count(before) > 1000
    assert count(table) < 90
    text = render(ruleset, "large").text
    found = read(loaded_and_listed(text), table.family, table.name)
    assert found is not None
    assert normal_form(Ruleset((found,))) == normal_form(ruleset)
    sample = packets(2000, dice)
    done = verdicts(text, [as_frame(packet) for packet in sample])
    assert done == [simulate(plain, packet)[0] for packet in sample]
    assert set(done) == {"accept", "drop", "reject"}


def test_a_feed_of_networks():
    """Three lengths for IPv4 and a few of a fourth, two for IPv6: a hash each, met or not."""
    dice = random.Random(SEED)
    four = {f"10.{dice.randrange(256)}.{dice.randrange(256)}.0/24" for _ in range(2000)}
    four |= {f"10.{dice.randrange(256)}.{dice.randrange(128) * 2}.0/23" for _ in range(300)}
    four |= {f"11.0.{dice.randrange(256)}.{dice.randrange(256)}" for _ in range(900)}
    six = {f"2001:db8:{dice.randrange(1, 65536):x}::/48" for _ in range(1500)}
    feed = " ".join(sorted(four | six))
    line = block(source=feed, source_group="abuse")
    keeps_out = allow("tcp/1-9", match(source=feed, source_group="abuse"))
    wanted = policy(section("input", "accept", line, keeps_out))
    plain, ruleset = compile_ruleset(wanted, passes=()), compile_ruleset(wanted)
    (table,) = ruleset.tables
    assert {each.name for each in table.sets} > {"abuse_v4_24", "abuse_v4_32", "abuse_v6_48"}
    assert all(first == last for each in table.sets for first, last in each.intervals)
    text = render(ruleset, "feed").text
    found = read(loaded_and_listed(text), table.family, table.name)
    assert found is not None
    assert normal_form(Ruleset((found,))) == normal_form(ruleset)
    sample = [around(source, dice) for source in dice.sample(sorted(four | six), 300)]
    done = verdicts(text, [as_frame(packet) for packet in sample])
    assert done == [simulate(plain, packet)[0] for packet in sample]
    assert set(done) == {"accept", "drop"}


def test_chains_of_lines_behind_a_verdict_map():
    """A hole comes back from the chain, and what comes after the map goes on with it."""
    holes = [
        allow(f"tcp/{port}", match(source="10.0.0.4-10.0.0.9"), source="10.0.0.0/24", id=f"line-{port}")
        for port in range(1000, 1008)
    ]
    wanted = policy(section("input", "drop", *holes, allow("tcp/1003", source="10.0.0.8")))
    plain, ruleset = compile_ruleset(wanted, passes=()), compile_ruleset(wanted)
    assert [each.holds for each in ruleset.tables[0].maps] == ["verdict"]
    sample = [
        Packet("input", 4, 6, NET4 + host, NET4 + 0x1000, 40000, port)
        for host in (1, 3, 4, 8, 9, 10, 256)
        for port in (999, 1000, 1003, 1007, 1008)
    ]
    done = verdicts(render(ruleset, "").text, [as_frame(packet) for packet in sample])
    assert done == [simulate(plain, packet)[0] for packet in sample]
    # Three hosts beside the holes at three ports, and the one of the line after.
    assert done.count("accept") == 3 * 3 + 1


def around(prefix: str, dice: random.Random) -> Packet:
    """A packet from the ends of a network, or from just beyond."""
    family, first, last = parse(prefix)
    source = dice.choice((first, last, first - 1, last + 1))
    here = (NET4 if family == 4 else NET6) + (9 << 24)
    return Packet("input", family, 6, source, here, 40000, 22)


def count(table) -> int:
    return sum(len(chain.rules) for chain in table.chains)


def test_each_line_counts_its_own_packets():
    """By the counters themselves: as the ruleset without passes counts."""
    dice = random.Random(SEED)
    wanted = policy(section("output", "drop", *(outgoing(line) for line in lines(400, dice))))
    rulesets = (compile_ruleset(wanted, passes=()), compile_ruleset(wanted))
    assert counted(render(rulesets[0], "").text) == counted(render(rulesets[1], "").text)


def outgoing(line):
    """The line as one of output, and about UDP, which needs no answer."""
    services = tuple(replace(service, protocol=17) for service in line.match.services)
    what = replace(line.match, source=None, destination=line.match.source, services=services)
    return replace(line, match=what)


def counted(text: str) -> dict[str, int]:
    """What the counters say after the same packets to many places, sent by a socket."""

    def inside() -> dict[str, int]:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "eth1")
        run("ip", "link", "set", "eth1", "up")
        run("ip", "link", "set", "eth0", "up")
        run("ip", "address", "add", "10.1.0.1/8", "dev", "eth0")
        run("ip", "-6", "address", "add", "2001:db8::ffff:1/64", "dev", "eth0", "nodad")
        run("nft", "-f", "-", input=text)
        dice = random.Random(SEED + 1)
        for _ in range(3000):
            family, base = dice.choice(PLACES)
            host = dice.randrange(310)
            place = base.format(host >> 8, host & 255)
            # An error is how a drop in the output hook looks from above.
            with socket.socket(family, socket.SOCK_DGRAM) as opened, contextlib.suppress(OSError):
                opened.sendto(b"?", (place, 1000 + dice.randrange(48)))
        listing = json.loads(run("nft", "-j", "list", "counters").stdout)["nftables"]
        return {e["counter"]["name"]: e["counter"]["packets"] for e in listing if "counter" in e}

    found = netns.call(inside)
    assert sum(map(bool, found.values())) > 20
    return found
