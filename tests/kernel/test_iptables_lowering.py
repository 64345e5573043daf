"""What is emitted for iptables does on a real kernel what the language says, part by part, both variants."""

from __future__ import annotations

import socket
import time

import pytest

from fwpolicy.compiler.facts import Facts
from fwpolicy.deploy import xtload, xtproof
from fwpolicy.errors import CheckFailedError
from fwpolicy.host.xtables import XTables
from fwpolicy.policy import model
from fwpolicy.record import replace
from tests.compiler.build import HERE, allow, block, forwarding, match, policy, section
from tests.lab.frames import Packet
from tests.lab.oracle import verdicts
from tests.lab.street import INSIDE4, INSIDE6, LAN4, OUTSIDE4, OUTSIDE6, PATIENCE, WAN4, WAN6, Street
from tests.property.strategies import loaded

from .test_iptables_golden import restores
from .test_lowering import DOCKER, send_udp, tcp, tcp6

pytestmark = pytest.mark.kernel


@pytest.fixture(params=("legacy", "nft"))
def variant(request):
    return request.param


@pytest.fixture
def street():
    with Street() as built:
        yield built


def passing(variant: str, wanted: model.Policy, packets: list[Packet]) -> list[bool]:
    texts = xtproof.compiled(wanted)
    found = verdicts("", packets, restore=restores(texts, variant))
    return [verdict == "accept" for verdict in found]


def load(street: Street, variant: str, wanted: model.Policy) -> None:
    texts = xtproof.compiled(wanted, Facts(nat=True))
    street.call("box", lambda: xtload.load(XTables(variant), texts))


# --- conditions of one packet ---------------------------------------------------------------------


def test_interfaces_by_name_and_by_prefix(variant):
    lines = (
        allow("ssh", incoming=("eth0", "wg*", "wgx", "aa*", "ab0")),
        allow("tcp/23", incoming=("wg*",)),
    )
    names = ("eth0", "wg0", "wgx", "wg", "aa1", "ab0", "ab1", "eth1", "lan0")
    packets = [make(port, interface=name) for name in names for port in (22, 23) for make in (tcp, tcp6)]
    expected = [
        name.startswith("wg") or (port == 22 and (name in ("eth0", "ab0") or name.startswith("aa")))
        for name in names
        for port in (22, 23)
        for _ in range(2)
    ]
    assert passing(variant, policy(section("input", "drop", *lines)), packets) == expected


def test_more_ports_than_a_rule_takes(variant):
    ports = [*range(1000, 1040, 2), 2000]
    line = allow(" ".join(f"tcp/{port}" for port in ports) + " tcp/3000-3100")
    packets = [tcp(port) for port in (*ports, 999, 1001, 1039, 2999, 3000, 3100, 3101)]
    expected = [True] * len(ports) + [False, False, False, False, True, True, False]
    assert passing(variant, policy(section("input", "drop", line)), packets) == expected


@pytest.mark.parametrize("count", [3, 40])
def test_a_group_as_rules_and_as_a_set(variant, count):
    v4 = [f"198.51.{number}.8-198.51.{number}.11" for number in range(count)]
    v6 = [f"2001:db8:{number:x}::-2001:db8:{number:x}::9" for number in range(0, 2 * count, 2)]
    lines = section("input", "drop", allow("ssh", source=" ".join((*v4, *v6)), source_group="some"))
    packets = [tcp(22, saddr=f"198.51.1.{last}") for last in (7, 8, 11, 12)]
    packets += [tcp6(22, saddr=f"2001:db8:{site}") for site in ("2::", "2::9", "2::a", "1::", "4::5")]
    expected = [False, True, True, False, True, True, False, False, True]
    assert passing(variant, policy(lines), packets) == expected


def test_reject_kinds(variant):
    lines = (block("ident", action="reject"), block(source="203.0.113.9", action="reject"))
    texts = xtproof.compiled(policy(section("input", "accept", *lines)))
    packets = [tcp(113), tcp6(113), Packet(saddr="203.0.113.9"), tcp(22, saddr="203.0.113.9"), tcp(22)]
    found = verdicts("", packets, restore=restores(texts, variant))
    assert found == ["reject", "reject", "reject", "reject", "accept"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_expiry_is_utc_wherever_the_host_is(variant, zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    now = int(time.time())
    lines = (block("tcp/1", expires=now - 600), block("tcp/2", expires=now + 600))
    packets = [tcp(1), tcp(2), tcp6(1), tcp6(2)]
    assert passing(variant, policy(section("input", "accept", *lines)), packets) == [True, False] * 2


def test_a_hole_goes_on_as_if_the_line_were_not_there(variant):
    lines = (
        allow("ssh tcp/23", match("ssh", source="198.51.100.0/28"), match("tcp/23", source="198.51.100.7")),
        allow("ssh", source="198.51.100.3"),
        allow("tcp/23", match(source="198.51.100.6"), source="198.51.100.0/29"),
    )
    packets = [tcp(port, saddr=f"198.51.100.{last}") for port in (22, 23) for last in (3, 4, 6, 7, 8, 20)]
    expected = [True, False, False, False, False, True, True, True, True, True, True, True]
    assert passing(variant, policy(section("input", "drop", *lines)), packets) == expected


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_is_one_for_every_rule_of_the_line(variant):
    line = allow("https udp/443", limit=model.Limit(6, "day", 6), source="0.0.0.0/0", families=(4,))
    packets = [make for _ in range(5) for make in (tcp(443), Packet(dport=443))]
    found = passing(variant, policy(section("input", "drop", line)), packets)
    assert found == [True] * 6 + [False] * 4


def test_the_excess_is_for_another_rule_to_allow_and_a_hole_uses_up_nothing(variant):
    lines = (
        allow("https", match(source="198.51.100.66"), limit=model.Limit(2, "day", 2), families=(4,)),
        allow("https", source="198.51.100.7"),
    )
    sources = ["198.51.100.66"] * 3 + ["198.51.100.8"] * 3 + ["198.51.100.7"]
    packets = [tcp(443, saddr=source) for source in sources]
    found = passing(variant, policy(section("input", "drop", *lines)), packets)
    assert found == [False] * 3 + [True, True, False, True]


def test_each_source_has_its_own_limit_and_ipv6_each_64(variant):
    line = allow("https", limit=model.Limit(2, "day", 2, per_source=True))
    sources = ["198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1"]
    packets = [(tcp6 if ":" in s else tcp)(443, saddr=s) for _ in range(3) for s in sources]
    assert passing(variant, policy(section("input", "drop", line)), packets) == [
        *(True, True, True, True, True),
        *(True, True, False, False, True),
        *(False, False, False, False, False),
    ]


def test_another_rate_is_another_limiter(street, variant):
    """The kernel finds a limiter by name, and would keep the old rate."""
    street.serve("box", 80)
    for burst in (1, 3):
        limit = model.Limit(1, "hour", burst, per_source=True)
        load(street, variant, policy(section("input", "drop", allow("http", limit=limit))))
        found = [street.reaches("outside", WAN4, 80) for _ in range(4)]
        assert found == [True] * burst + [False] * (4 - burst)


def test_the_same_policy_again_gives_nobody_a_second_burst(street, variant):
    street.serve("box", 80)
    limit = model.Limit(1, "hour", 2, per_source=True)
    wanted = policy(section("input", "drop", allow("http", limit=limit)))
    found = []
    for _ in range(3):
        load(street, variant, wanted)
        found.append(street.reaches("outside", WAN4, 80))
    assert found == [True, True, False]


def test_at_most_so_many_connections_at_a_time(street, variant):
    server = street.serve("box", 80)
    line = allow("http tcp/8080", limit=model.Limit(0, "second", 0, False, 3), id="web", families=(4,))
    load(street, variant, policy(section("input", "drop", line)))
    held = [street.connect("outside", WAN4, 80) for _ in range(5)]
    assert [opened is not None for opened in held] == [True, True, True, False, False]
    held[0].close()
    server.hang_up()
    assert street.reaches("outside", WAN4, 80)


def test_at_most_so_many_connections_of_each_source(street, variant):
    street.serve("box", 80), street.serve("box", 8080)
    street.add("outside", "192.0.2.3", "2001:db8:a::3")
    limit = model.Limit(0, "second", 0, True, 2)
    lines = (allow("ping"), allow("http tcp/8080", limit=limit, source="192.0.2.0/24 2000::/3"))
    load(street, variant, policy(section("input", "drop", *lines)))
    sources = [OUTSIDE4, OUTSIDE4, OUTSIDE4, "192.0.2.3", OUTSIDE6, "2001:db8:a::3", OUTSIDE6]
    held = [
        street.connect("outside", WAN6 if ":" in source else WAN4, port, source)
        for source, port in zip(sources, (80, 8080, 80, 80, 80, 8080, 8080), strict=True)
    ]
    assert [opened is not None for opened in held] == [True, True, False, True, True, True, False]


# --- dynamic groups -------------------------------------------------------------------------------


def test_a_dynamic_group_is_filled_at_run_time_and_kept_by_a_load(street, variant):
    street.serve("box", 80)
    group = model.DynamicGroup("banned", 3600, HERE)
    lines = (allow("http"), block(source_dynamic=("banned",), source="203.0.113.9"))
    wanted = policy(section("input", "drop", *lines), dynamic=(group,))
    load(street, variant, wanted)
    assert street.reaches("outside", WAN4, 80) and street.reaches("outside", WAN6, 80)
    street.run("box", "ipset", "add", "fwp-banned_v6", OUTSIDE6)
    street.run("box", "ipset", "add", "fwp-banned_v4", OUTSIDE4, "timeout", "60")
    load(street, variant, wanted)
    assert not street.reaches("outside", WAN6, 80)
    assert not street.reaches("outside", WAN4, 80)
    street.run("box", "ipset", "-exist", "add", "fwp-banned_v4", OUTSIDE4, "timeout", "1")
    assert street.comes_to_reach("outside", WAN4, 80)
    assert not street.reaches("outside", WAN6, 80)


# --- forward and NAT ------------------------------------------------------------------------------


def test_masquerade_and_source_nat(street, variant):
    server = street.serve("outside", 80)
    street.add("inside", "10.0.0.3")
    street.add("box", "192.0.2.9", dev="wan0")
    nat = model.Nat(
        (model.Masquerade(("wan0",), None, (4, 6), HERE),),
        (),
        (model.SourceNat(("wan0",), match(source="10.0.0.3").source, (4, 0xC0000209), HERE),),
    )
    load(street, variant, policy(section("forward", "drop", allow(incoming=("lan0",))), nat=nat))
    assert street.reaches("inside", OUTSIDE4, 80)
    assert street.reaches("inside", OUTSIDE6, 80)
    assert street.reaches("inside", OUTSIDE4, 80, "10.0.0.3")
    assert server.peers(3) == [WAN4, WAN6, "192.0.2.9"]


def test_a_port_forward_allows_its_own_flows_only(street, variant):
    server = street.serve("inside", 8443)
    both = (forwarding("wan0", "https", INSIDE4, 8443), forwarding("wan0", "https", INSIDE6, 8443))
    nat = model.Nat(forward=both)
    load(street, variant, policy(section("forward", "drop"), section("input", "drop"), nat=nat))
    assert street.reaches("outside", WAN4, 443)
    assert street.reaches("outside", WAN6, 443)
    assert server.peers(2) == [OUTSIDE4, OUTSIDE6]
    assert not street.reaches("outside", INSIDE4, 8443)
    assert not street.reaches("outside", INSIDE6, 8443)
    assert not street.reaches("inside", WAN4, 443)


def test_hairpin(street, variant):
    server = street.serve("inside", 8443)
    street.serve("box", 443)
    street.add("inside", "10.0.0.3")
    nat = model.Nat(forward=(forwarding("wan0", "https", INSIDE4, 8443, hairpin=True),))
    sections = section("forward", "drop"), section("input", "drop", allow("https"))
    load(street, variant, policy(*sections, nat=nat))
    assert street.reaches("inside", WAN4, 443, "10.0.0.3")
    assert server.peers(1) == [LAN4]
    assert street.reaches("inside", LAN4, 443)
    assert server.peers(1) == [LAN4]
    assert street.reaches("outside", WAN4, 443)
    assert server.peers(2) == [LAN4, OUTSIDE4]


def test_segments_are_clamped_to_the_path(street, variant):
    server = street.serve("outside", 80)
    street.run("box", "ip", "link", "set", "wan0", "mtu", "1280")
    assert street.reaches("inside", OUTSIDE4, 80)
    load(street, variant, policy(nat=model.Nat(clamp_mss=True)))
    assert street.reaches("inside", OUTSIDE4, 80)
    before, after = server.segments(2)
    assert after <= 1240 < before


def test_published_lines(street, variant):
    street.serve("inside", 80), street.serve("box", 80)
    street.nft(DOCKER)
    street.add("outside", "192.0.2.3")
    lines = section("input", "accept", block("tcp/8080-8081", match(source="192.0.2.3"), published=True))
    load(street, variant, policy(lines))
    assert not street.reaches("outside", WAN4, 8080) and not street.reaches("outside", WAN4, 8081)
    assert street.reaches("outside", WAN4, 8080, "192.0.2.3")
    assert street.reaches("outside", WAN4, 80) and street.reaches("outside", INSIDE4, 80)
    opening = allow(
        "tcp/8080 tcp/8081", source="192.0.2.0/24", published=True, destination=WAN4, families=(4,)
    )
    load(street, variant, policy(section("input", "drop", opening), section("forward", "drop")))
    assert street.reaches("outside", WAN4, 8080) and street.reaches("outside", WAN4, 8081)
    assert not street.reaches("outside", WAN4, 80) and not street.reaches("outside", INSIDE4, 80)


# --- logs and counters ----------------------------------------------------------------------------


def counted(street: Street, variant: str, name: str) -> int:
    """The packets of all rules that say the counter's name."""
    saved = street.run("box", f"iptables-{variant}-save", "-c")
    saved += street.run("box", f"ip6tables-{variant}-save", "-c")
    lines = (line for line in saved.splitlines() if f"--comment {name} " in line or f'"{name}' in line)
    return sum(int(line[1:].partition(":")[0]) for line in lines if "LOG" not in line)


def test_denied_packets_are_logged_at_a_rate_and_noise_is_not(street, variant):
    logs = street.listen_to_logs(7)
    log = model.Log(denied=True, rate=5, unit="hour", prefix="fwp", group=7)
    lines = (allow("udp/53"), block("udp/99", log="special"))
    load(street, variant, policy(section("input", "drop", *lines), log=log, ntp="client-only"))
    send_udp(street, "192.0.2.255", 137, 3)
    send_udp(street, WAN4, 53, 3)
    assert logs.prefixes() == []
    send_udp(street, WAN4, 99, 1)
    assert logs.prefixes() == ["special: "]
    send_udp(street, WAN4, 323, 2)
    send_udp(street, WAN4, 1000, 20)
    assert logs.prefixes() == ["fwp denied: "] * 5
    assert counted(street, variant, "default_input") == 23
    assert counted(street, variant, "role_ntp_input_drop") == 2


# --- the NTP mode over IPv6 -------------------------------------------------------------------------

SERVER = """version: 1
name: server
roles: {ntp: {mode: server, serve: [clients]}}
groups: {clients: [192.0.2.0/24, "2001:db8:a::/64"]}
"""
QUESTION, MONLIST = b"\x23" + bytes(47), b"\x17\x00\x03\x2a" + bytes(4)
# One padding option of six bytes: UDP's source port then stands where the payload else begins.
PADDING = b"\x00\x00\x01\x04\x00\x00\x00\x00"
LOOKS_LIKE_MODE_3 = 0x0300


def asked(street: Street, payload: bytes, sport: int, options: bytes = b"") -> bool:
    """Whether the box's port 123 gets what outside sends."""

    def listen() -> socket.socket:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        opened.bind(("::", 123))
        opened.settimeout(PATIENCE)
        return opened

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            opened.bind((OUTSIDE6, sport))
            if options:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, options)
            opened.sendto(payload, (WAN6, 123))

    with street.call("box", listen) as listening:
        street.call("outside", send)
        try:
            return listening.recv(100) == payload
        except TimeoutError:
            return False


def test_a_header_in_between_cannot_stand_in_for_the_mode(street, variant):
    texts = xtproof.compiled(loaded(SERVER), Facts(nat=True))
    street.call("box", lambda: xtload.load(XTables(variant), texts))
    assert asked(street, QUESTION, 40000)
    assert not asked(street, MONLIST, 40001)
    assert not asked(street, MONLIST, LOOKS_LIKE_MODE_3, PADDING)
    assert not asked(street, QUESTION, 40002, PADDING), "docs/iptables.md says so"


def test_a_fixed_offset_alone_would_be_fooled(street, variant):
    """Why the header that follows is asked for, too."""
    texts = xtproof.compiled(loaded(SERVER), Facts(nat=True))
    four, six = texts.rules
    naive = replace(six, text=six.text.replace("4>>8&0xFF=17&&", ""))
    with pytest.raises(CheckFailedError):
        xtproof.prove_compiled(loaded(SERVER), None, replace(texts, rules=(four, naive)))
    wrong = replace(texts, rules=(four, naive))
    street.call("box", lambda: xtload.load(XTables(variant), wrong, proved=False))
    assert asked(street, MONLIST, LOOKS_LIKE_MODE_3, PADDING)


# --- headers of IPv6 that stand before the protocol's -----------------------------------------------

AH, DESTINATION_OPTIONS, EXPERIMENT = 51, 60, 253
# Ports stand where these headers have what follows, their length, and an option: six bytes of padding.
AUTHENTICATED = Packet(proto=AH, sport=EXPERIMENT << 8 | 1, dport=0, payload=bytes(12))
OPTIONS = Packet(proto=DESTINATION_OPTIONS, sport=EXPERIMENT << 8, dport=0x0104, payload=bytes(8))


def in_both_families(*packets: Packet) -> list[Packet]:
    return [*packets, *(replace(each, saddr="2001:db8::7", daddr="2001:db8::1") for each in packets)]


@pytest.mark.parametrize("default", ["accept", "drop"])
def test_authentication_headers_are_found_in_both_families(variant, default):
    make = block if default == "accept" else allow
    wanted = policy(section("input", default, make("ah")))
    packets = in_both_families(AUTHENTICATED, Packet(proto=EXPERIMENT))
    assert passing(variant, wanted, packets) == [default == "drop", default == "accept"] * 2


def test_extension_headers_are_no_protocol_in_ipv6(variant):
    wanted = policy(section("input", "accept", block("ip/60")))
    assert passing(variant, wanted, in_both_families(OPTIONS)) == [False, True]
