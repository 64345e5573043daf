"""What the compiler emits does on a real kernel what the language says, part by part."""

from __future__ import annotations

import json
import socket
import time

import pytest

from fwpolicy.backends.nft.read import normal_form, read
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.host.libnftables import Nftables
from fwpolicy.ir.ruleset import Ruleset
from fwpolicy.policy import model
from tests.compiler.build import HERE, allow, block, compiled, forwarding, match, policy, section
from tests.lab import netns
from tests.lab.frames import Packet
from tests.lab.oracle import verdicts
from tests.lab.street import INSIDE4, INSIDE6, LAN4, OUTSIDE4, OUTSIDE6, WAN4, WAN6, Street

pytestmark = pytest.mark.kernel

CLIENT6, HOST6 = "2001:db8::7", "2001:db8::1"


@pytest.fixture
def street():
    with Street() as built:
        yield built


def tcp(port: int, **more: object) -> Packet:
    return Packet(proto="tcp", dport=port, **more)


def tcp6(port: int, **more: object) -> Packet:
    return tcp(port, **{"saddr": CLIENT6, "daddr": HOST6} | more)


def passing(rules: str, packets: list[Packet]) -> list[bool]:
    return [verdict == "accept" for verdict in verdicts(rules, packets)]


def counted(street: Street, name: str) -> int:
    listing = json.loads(street.run("box", "nft", "-j", "list", "counter", "inet", "fwpolicy", name))
    return next(entry["counter"]["packets"] for entry in listing["nftables"] if "counter" in entry)


# --- conditions of one packet ---------------------------------------------------------------------


def test_interfaces_by_name_and_by_prefix():
    rules = compiled(
        policy(
            section(
                "input",
                "drop",
                allow("ssh", incoming=("eth0", "wg*", "wgx", "aa*", "ab0")),
                allow("tcp/23", incoming=("wg*",)),
            )
        )
    )
    names = ("eth0", "wg0", "wgx", "wg", "aa1", "ab0", "ab1", "eth1", "lan0")
    packets = [make(port, interface=name) for name in names for port in (22, 23) for make in (tcp, tcp6)]
    expected = [
        name.startswith("wg") or (port == 22 and (name in ("eth0", "ab0") or name.startswith("aa")))
        for name in names
        for port in (22, 23)
        for _ in range(2)
    ]
    assert passing(rules, packets) == expected


def test_outgoing_interfaces():
    rules = compiled(policy(section("output", "drop", allow("ssh", outgoing=("eth0", "wg*")))))
    packets = [tcp(22, hook="output", interface=name) for name in ("eth0", "wg0", "lan0")]
    assert passing(rules, packets) == [True, True, False]


def test_source_ports():
    rules = compiled(policy(section("input", "drop", allow("udp/1000-2000 tcp/7", sports=(1900, 1910)))))
    packets = [
        *(Packet(sport=sport, dport=1500) for sport in (1899, 1900, 1910, 1911)),
        Packet(sport=1900, dport=2001),
        tcp(7, sport=1905),
        tcp(7, sport=2000),
        tcp6(7, sport=1905),
    ]
    assert passing(rules, packets) == [False, True, True, False, False, True, False, True]


def test_one_of_the_hosts_own_addresses():
    rules = compiled(policy(section("input", "drop", allow("ssh", destination=f"192.0.2.1 {HOST6}"))))
    packets = [tcp(22), tcp(22, daddr="192.0.2.3"), tcp6(22), tcp6(22, daddr="2001:db8::3")]
    assert passing(rules, packets) == [True, False, True, False]


def test_families():
    rules = compiled(
        policy(
            section(
                "input",
                "drop",
                allow("ssh", families=(4,)),
                allow("tcp/23", families=(6,)),
                allow("ping", families=(4,)),
            )
        )
    )
    packets = [tcp(22), tcp6(22), tcp(23), tcp6(23), Packet(proto="icmp"), tcp6(0)]
    packets[-1] = Packet(proto="icmpv6", saddr=CLIENT6, daddr=HOST6)
    assert passing(rules, packets) == [True, False, False, True, True, False]


def test_reject_kinds():
    rules = compiled(
        policy(
            section(
                "input",
                "accept",
                block("ident", action="reject"),
                block(source="203.0.113.9", action="reject"),
            )
        )
    )
    packets = [tcp(113), tcp6(113), Packet(saddr="203.0.113.9"), tcp(22, saddr="203.0.113.9"), tcp(22)]
    assert verdicts(rules, packets) == ["reject", "reject", "reject", "reject", "accept"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def test_expiry_is_utc_wherever_the_host_is(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    now = int(time.time())
    rules = compiled(
        policy(
            section("input", "accept", block("tcp/1", expires=now - 600), block("tcp/2", expires=now + 600))
        )
    )
    assert passing(rules, [tcp(1), tcp(2), tcp6(1), tcp6(2)]) == [True, False, True, False]


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Kolkata"])
def test_a_listing_says_utc_even_in_the_hour_that_comes_twice(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    clock_goes_back = 1792886400  # 2026-10-25 00:00 UTC, 01:00 BST; an hour later it is 01:00 GMT
    ruleset = lower(policy(section("input", "accept", block("tcp/1", expires=clock_goes_back))), Facts())

    def inside() -> list[Ruleset]:
        kernel, found = Nftables(), []
        kernel.load(render(ruleset, "").text)
        for _ in range(2):
            found.append(Ruleset((read(kernel.listing(), "inet", "fwpolicy"),)))
            kernel.load("flush ruleset\n" + kernel.text("table inet fwpolicy"))
        return found

    assert [normal_form(each) for each in netns.call(inside)] == [normal_form(ruleset)] * 2


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_is_one_for_both_families_and_every_rule_of_the_line():
    line = allow("https udp/443", limit=model.Limit(1, "day", 6), source="0.0.0.0/0 2000::/3")
    rules = compiled(policy(section("input", "drop", line)))
    packets = [make for _ in range(5) for make in (tcp(443), tcp6(443), Packet(dport=443))]
    assert passing(rules, packets) == [True] * 6 + [False] * 9


def test_the_excess_is_for_another_rule_to_allow_and_a_hole_uses_up_nothing():
    lines = (
        allow("https", match(source="198.51.100.66"), limit=model.Limit(1, "day", 2)),
        allow("https", source="198.51.100.7"),
    )
    rules = compiled(policy(section("input", "drop", *lines)))
    sources = ["198.51.100.66"] * 3 + ["198.51.100.8"] * 3 + ["198.51.100.7"]
    assert passing(rules, [tcp(443, saddr=source) for source in sources]) == [False] * 3 + [
        True,
        True,
        False,
        True,
    ]


def test_established_connections_use_up_no_limit():
    rules = compiled(policy(section("input", "drop", allow("https", limit=model.Limit(1, "day", 2)))))
    packets = [tcp(443, state="established") for _ in range(5)] + [tcp(443) for _ in range(3)]
    assert passing(rules, packets) == [True] * 7 + [False]


def test_each_source_has_its_own_limit_and_ipv6_each_64():
    line = allow("https", limit=model.Limit(1, "day", 2, per_source=True))
    rules = compiled(policy(section("input", "drop", line)))
    sources = ["198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1"]
    packets = [(tcp6 if ":" in s else tcp)(443, saddr=s) for _ in range(3) for s in sources]
    assert passing(rules, packets) == [
        *(True, True, True, True, True),
        *(True, True, False, False, True),
        *(False, False, False, False, False),
    ]


@pytest.mark.parametrize("each", [True, False])
def test_the_largest_bursts_are_taken(each):
    """The kernel counts 2^63 nanoseconds, nft reads eight digits of a timeout."""
    limit = model.Limit(1, "day", 106_751, per_source=each)
    rules = compiled(policy(section("input", "drop", allow("https", limit=limit))))
    assert passing(rules, [tcp(443)] * 9) == [True] * 9


def test_a_full_table_denies():
    line = allow("https", limit=model.Limit(1, "day", 2, per_source=True), id="web")
    rules = compiled(policy(section("input", "drop", line))).replace("size 65535", "size 2")
    sources = [f"198.51.100.{number}" for number in range(1, 5)]
    found = passing(rules, [tcp(443, saddr=source) for source in sources])
    assert found == [True, True, False, False]


def test_at_most_so_many_connections_at_a_time(street):
    server = street.serve("box", 80)
    street.nft(
        compiled(
            policy(
                section(
                    "input",
                    "drop",
                    allow("http tcp/8080", limit=model.Limit(0, "second", 0, False, 3), id="web"),
                )
            )
        )
    )
    held = [street.connect("outside", address, 80) for address in (WAN4, WAN6, WAN4, WAN6, WAN4)]
    assert [opened is not None for opened in held] == [True, True, True, False, False]
    held[0].close()
    server.hang_up()
    # A closed connection stays in conntrack for two minutes, but counts no more (nf_conncount.c).
    assert street.reaches("outside", WAN6, 80)


def test_at_most_so_many_connections_of_each_source(street):
    street.serve("box", 80)
    street.add("outside", "192.0.2.3", "2001:db8:a::3")
    limit = model.Limit(0, "second", 0, True, 2)
    street.nft(compiled(policy(section("input", "drop", allow("ping"), allow("http", limit=limit)))))
    sources = [OUTSIDE4, OUTSIDE4, OUTSIDE4, "192.0.2.3", OUTSIDE6, "2001:db8:a::3", OUTSIDE6]
    held = [street.connect("outside", WAN6 if ":" in s else WAN4, 80, s) for s in sources]
    assert [opened is not None for opened in held] == [True, True, False, True, True, True, False]


# --- dynamic groups -------------------------------------------------------------------------------


def test_a_dynamic_group_is_filled_at_run_time(street):
    street.serve("box", 80)
    group = model.DynamicGroup("banned", 3600, HERE)
    lines = (allow("http"), block(source_dynamic=("banned",), source="203.0.113.9"))
    street.nft(compiled(policy(section("input", "drop", *lines), dynamic=(group,))))
    assert street.reaches("outside", WAN4, 80) and street.reaches("outside", WAN6, 80)
    street.nft(f"add element inet fwpolicy banned_v6 {{ {OUTSIDE6} }}")
    street.nft(f"add element inet fwpolicy banned_v4 {{ {OUTSIDE4} }}")
    assert not street.reaches("outside", WAN6, 80)
    assert not street.reaches("outside", WAN4, 80)
    street.nft(f"delete element inet fwpolicy banned_v4 {{ {OUTSIDE4} }}")
    street.nft(f"add element inet fwpolicy banned_v4 {{ {OUTSIDE4} timeout 500ms }}")
    assert street.comes_to_reach("outside", WAN4, 80)
    assert not street.reaches("outside", WAN6, 80)


# --- forward and NAT ------------------------------------------------------------------------------


def test_forward_by_interfaces_and_addresses(street):
    street.serve("outside", 80), street.serve("outside", 25), street.serve("inside", 80)
    lines = (allow(incoming=("lan*",), outgoing=("wan0",)), block("smtp", outgoing=("wan0",)))
    street.nft(compiled(policy(section("forward", "drop", *lines))))
    assert street.reaches("inside", OUTSIDE4, 80) and street.reaches("inside", OUTSIDE6, 80)
    assert not street.reaches("inside", OUTSIDE4, 25)
    assert not street.reaches("outside", INSIDE4, 80) and not street.reaches("outside", INSIDE6, 80)
    assert counted(street, "block_forward_tcp_25_out_wan0") > 0
    assert counted(street, "default_forward") > 0
    assert counted(street, "allow_forward_in_lan__out_wan0_" + name_rest(street)) == 2


def name_rest(street: Street) -> str:
    names = street.run("box", "nft", "list", "counters")
    return names.partition("allow_forward_in_lan__out_wan0_")[2].split()[0]


def test_masquerade_and_source_nat(street):
    server = street.serve("outside", 80)
    street.add("inside", "10.0.0.3")
    nat = model.Nat(
        (model.Masquerade(("wan0",), None, (4, 6), HERE),),
        (),
        (model.SourceNat(("wan0",), match(source="10.0.0.3").source, (4, 0xC0000209), HERE),),
    )
    street.add("box", "192.0.2.9", dev="wan0")
    street.nft(compiled(policy(section("forward", "drop", allow(incoming=("lan0",))), nat=nat)))
    assert street.reaches("inside", OUTSIDE4, 80)
    assert street.reaches("inside", OUTSIDE6, 80)
    assert street.reaches("inside", OUTSIDE4, 80, "10.0.0.3")
    assert server.peers(3) == [WAN4, WAN6, "192.0.2.9"]


def test_a_port_forward_allows_its_own_flows_only(street):
    server = street.serve("inside", 8443)
    nat = model.Nat(
        forward=(forwarding("wan0", "https", INSIDE4, 8443), forwarding("wan0", "https", INSIDE6, 8443))
    )
    rules = policy(section("forward", "drop"), section("input", "drop"), nat=nat)
    street.nft(compiled(rules))
    assert street.reaches("outside", WAN4, 443)
    assert street.reaches("outside", WAN6, 443)
    assert server.peers(2) == [OUTSIDE4, OUTSIDE6]
    assert not street.reaches("outside", INSIDE4, 8443)  # by route, not by the port forward
    assert not street.reaches("outside", INSIDE6, 8443)
    assert not street.reaches("inside", WAN4, 443)  # no hairpin was asked for


def test_a_block_beats_a_port_forward(street):
    street.serve("inside", 8443)
    street.add("outside", "192.0.2.3")
    nat = model.Nat(forward=(forwarding("wan0", "https", INSIDE4, 8443),))
    street.nft(compiled(policy(section("forward", "accept", block(source="192.0.2.3")), nat=nat)))
    assert street.reaches("outside", WAN4, 443)
    assert not street.reaches("outside", WAN4, 443, "192.0.2.3")


def test_hairpin(street):
    server = street.serve("inside", 8443)
    street.serve("box", 443)
    street.add("inside", "10.0.0.3")
    nat = model.Nat(forward=(forwarding("wan0", "https", INSIDE4, 8443, hairpin=True),))
    street.nft(
        compiled(policy(section("forward", "drop"), section("input", "drop", allow("https")), nat=nat))
    )
    assert street.reaches("inside", WAN4, 443, "10.0.0.3")
    assert server.peers(1) == [LAN4]
    assert street.reaches("inside", LAN4, 443)  # the box's own service at its inside address
    assert server.peers(1) == [LAN4]
    assert street.reaches("outside", WAN4, 443)
    assert server.peers(2) == [LAN4, OUTSIDE4]


def test_segments_are_clamped_to_the_path(street):
    server = street.serve("outside", 80)
    street.run("box", "ip", "link", "set", "wan0", "mtu", "1280")
    assert street.reaches("inside", OUTSIDE4, 80)
    street.nft(compiled(policy(nat=model.Nat(clamp_mss=True))))
    assert street.reaches("inside", OUTSIDE4, 80)
    before, after = server.segments(2)
    assert after <= 1240 < before


# --- published: another tool's port forward ---------------------------------------------------------

DOCKER = """
table ip docker {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local tcp dport 8080 dnat to 10.0.0.2:80
		tcp dport 8081 redirect to :80
	}
}
"""


def test_a_published_block_holds_for_a_container(street):
    street.serve("inside", 80), street.serve("box", 80)
    street.nft(DOCKER)
    street.add("outside", "192.0.2.3")
    assert street.reaches("outside", WAN4, 8080)
    only_one = block("tcp/8080-8081", match(source="192.0.2.3"), published=True)
    street.nft(compiled(policy(section("input", "accept", only_one))))
    assert not street.reaches("outside", WAN4, 8080)
    assert not street.reaches("outside", WAN4, 8081)
    assert street.reaches("outside", WAN4, 8080, "192.0.2.3")
    assert street.reaches("outside", WAN4, 8081, "192.0.2.3")
    assert street.reaches("outside", WAN4, 80)  # another service
    assert street.reaches("outside", INSIDE4, 80)  # routed traffic that nobody redirects


def test_an_unpublished_block_does_not(street):
    street.serve("inside", 80)
    street.nft(DOCKER)
    street.nft(compiled(policy(section("input", "accept", block("tcp/8080")))))
    assert street.reaches("outside", WAN4, 8080)


def test_a_published_allow_opens_the_forward_section_for_it(street):
    street.serve("inside", 80), street.serve("box", 80)
    street.nft(DOCKER)
    lines = section(
        "input", "drop", allow("tcp/8080 tcp/8081", source="192.0.2.0/24", published=True, destination=WAN4)
    )
    street.nft(compiled(policy(lines, section("forward", "drop"))))
    assert street.reaches("outside", WAN4, 8080)
    assert street.reaches("outside", WAN4, 8081)
    assert not street.reaches("outside", WAN4, 80)
    assert not street.reaches("outside", INSIDE4, 80)


# --- logs -----------------------------------------------------------------------------------------


def send_udp(street: Street, address: str, port: int, times: int = 1) -> None:
    def send() -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for _ in range(times):
                opened.sendto(b"x", (address, port))

    street.call("outside", send)


def test_denied_packets_are_logged_at_a_rate_and_noise_is_not(street):
    logs = street.listen_to_logs(7)
    log = model.Log(denied=True, rate=1, unit="hour", prefix="fwp", group=7)
    lines = (allow("udp/53"), block("udp/99", log="special"))
    street.nft(compiled(policy(section("input", "drop", *lines), log=log, ntp="client-only")))
    send_udp(street, "192.0.2.255", 137, 3)
    send_udp(street, WAN4, 53, 3)
    assert logs.prefixes() == []
    send_udp(street, WAN4, 99, 1)
    assert logs.prefixes() == ["special: "]
    send_udp(street, WAN4, 323, 2)
    send_udp(street, WAN6, 1000, 20)
    assert logs.prefixes() == ["fwp denied: "] * 5  # the burst
    assert counted(street, "default_input") == 23


def test_an_allow_is_logged_once_a_connection_at_a_rate(street):
    street.serve("box", 80)
    logs = street.listen_to_logs(7)
    log = model.Log(denied=False, rate=1, unit="hour", prefix="fwp", group=7)
    street.nft(compiled(policy(section("input", "drop", allow("http", log="web")), log=log)))
    for _ in range(4):
        assert street.reaches("outside", WAN4, 80) and street.reaches("outside", WAN6, 80)
    assert logs.prefixes() == ["web: "] * 5
    assert counted(street, "allow_input_tcp_80") == 8
