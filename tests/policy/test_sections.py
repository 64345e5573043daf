"""Zones, forward, labels, limits, logs, NAT: what is accepted, and what it means."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import EVERYWHERE, AddressSet, of
from fwpolicy.cli import main
from fwpolicy.policy.model import (
    DynamicGroup,
    Limit,
    Log,
    Masquerade,
    PortForward,
    SourceNat,
)
from fwpolicy.policy.services import Service
from tests.policy.reading import HEAD, allowed, read, warned, warnings

ZONES = 'zones: {wan: eth0, lan: [eth1, "wg*"]}\n'
DAY = 86400
FEB_1 = 1801440000  # 2027-02-01


# Keys of a match


@pytest.mark.parametrize(
    "name", ["0", "1", "42", "0x1", "5*", "br-0", "eth0.100", "$b", "a|b", "x+y", "x!", "any"]
)
@pytest.mark.parametrize("backends", ["nft", "iptables"])
def test_what_may_be_an_interface_is_proved(name, backends, tmp_path, capsys):
    file = tmp_path / "a.yaml"
    file.write_text(
        f"{HEAD}backends: [{backends}]\nzones: {{wan: '{name}', lan: [eth1, '{name}']}}\n"
        "input: {default: drop, allow: [{service: ssh, in: wan}], block: [{service: http, in: lan}]}\n"
        "forward: {default: drop, allow: [{in: wan, out: lan}]}\n"
    )
    code = main(["check", str(file)])
    assert (code, capsys.readouterr().out) == (
        0,
        "a: ok and proved, input: default drop, forward: default drop\n",
    )


def test_zones_are_names_of_interfaces():
    rule = allowed("{service: ssh, in: [wan, lan]}", ZONES)
    assert rule.match.incoming == ("eth0", "eth1", "wg*")
    assert rule.match.outgoing is None
    assert allowed("{in: lan}", ZONES).match.services is None
    assert warned("{in: lan}", ZONES) == ["zone 'wan' is never used"]


def test_forward_has_both_directions():
    policy = read(
        HEAD + ZONES + "forward:\n  default: reject\n"
        "  allow: [{in: lan, out: wan, from: 10.0.0.0/8, to: internet, service: https}]\n"
        "  block: [{out: wan, service: smtp, action: reject}]\n"
    )
    (allow,), (block,) = policy.forward.allow, policy.forward.block
    assert policy.forward.default == "reject"
    assert policy.sections == (policy.forward,)
    assert (allow.match.source, allow.match.incoming) == (of("10.0.0.0/8"), ("eth1", "wg*"))
    assert (allow.match.outgoing, allow.families) == (("eth0",), (4,))
    assert (block.verdict, block.match.destination) == ("reject", None)


def test_local_is_the_hosts_own_address():
    match = allowed("{service: ssh, local: 192.0.2.1, from: private}").match
    assert (match.destination, match.source) == (of("192.0.2.1"), allowed("{from: private}").match.source)


def test_source_ports():
    assert allowed("{service: udp/1-65535, sport: 161}").match.sports == ((161, 161),)
    assert allowed("{service: snmp, sport: [1900, 100-200, 150-250]}").match.sports == (
        (100, 250),
        (1900, 1900),
    )
    assert allowed("{service: [dns, ip/17], sport: 53}").match.sports == ((53, 53),)


def test_published():
    assert allowed("{service: https, published: true}").match.published
    assert not allowed("{service: https, published: false}").match.published


OPEN = "where this is redirected to a container 'forward' lets everybody in: "


@pytest.mark.parametrize(
    ("line", "rest", "said"),
    [
        ("from: private", "", [f"{OPEN}there is none"]),
        ("limit: 5/minute", "", [f"{OPEN}there is none"]),
        ("except: {from: private}", "forward: {default: accept}", [f"{OPEN}its default is accept"]),
        ("from: private", "forward: {default: drop}", []),
        ("from: private", "forward: {default: accept, block: [{from: internet}]}", []),
        ("comment: everybody", "", []),
    ],
)
def test_a_published_line_keeps_nobody_out_where_forward_does_not(line, rest, said):
    text = f"input: {{default: drop, allow: [{{service: tcp/8080, published: true, {line}}}]}}\n{rest}\n"
    assert warnings(read(HEAD + text)) == said


def test_a_published_block_closes_what_a_published_line_opens():
    block = "{service: tcp/8000-8100, published: true, except: {from: private}}"
    line = "{service: tcp/8080, published: true, from: private}"
    text = f"input: {{default: drop, allow: [{line}], block: [{block}]}}\n"
    assert warnings(read(HEAD + text)) == []
    assert len(warnings(read(HEAD + text.replace("8000-8100", "8000-8079")))) == 1


@pytest.mark.parametrize(
    ("line", "families"),
    [
        ("{service: ssh, family: ipv4}", (4,)),
        ("{service: ssh, family: ipv6}", (6,)),
        ("{service: ping, family: ipv6}", (6,)),
        ("{service: ssh, from: private, family: ipv6}", (6,)),
        ("{service: ssh, from: 10.0.0.0/8, family: ipv4}", (4,)),
    ],
)
def test_family_says_what_would_be_warned_of(line, families):
    assert allowed(line).families == families
    assert warned(line) == []


def test_one_leg_of_a_forward_line_lost():
    lines = '{from: private, to: [10.0.0.1, "fc00::1"]}, {from: private, to: 10.0.0.1}'
    text = f"forward: {{default: drop, allow: [{lines}]}}\n"
    policy = read(HEAD + text)
    assert [rule.families for rule in policy.forward.allow] == [(4, 6), (4,)]
    assert warnings(policy) == ["IPv4 only"]


def test_family_of_an_exception_cuts_its_addresses():
    (hole,) = allowed("{service: ssh, except: {family: ipv6}}").holes
    assert hole.source == AddressSet((), EVERYWHERE.v6)
    (hole,) = allowed("{service: ssh, from: private, except: {from: private, family: ipv4}}").holes
    assert (hole.source.v6, hole.source_group) == ((), None)
    head = "groups: {banned: {dynamic: 1h}, none: {optional: true, addresses: []}}\n"
    (hole,) = allowed("{service: ssh, except: {from: banned, family: ipv4}}", head).holes
    assert (hole.source_dynamic, hole.destination) == (("banned",), AddressSet(EVERYWHERE.v4, ()))
    assert allowed("{service: ssh, except: {from: none, family: ipv4}}", head).holes == ()


# Labels and limits


def test_labels_become_a_comment_and_an_id():
    rule = allowed(
        "{service: ssh, id: admin-ssh, comment: operators, owner: noc, ticket: OPS-12, expires: 2027-01-31}"
    )
    assert rule.id == "admin-ssh"
    assert rule.comment == "operators; owner: noc; ticket: OPS-12; expires: 2027-01-31"
    assert rule.expires == FEB_1
    assert (allowed("ssh").id, allowed("ssh").expires, allowed("ssh").comment) == (None, None, None)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (FEB_1 - 15 * DAY, []),
        (FEB_1 - 14 * DAY, ["this line expires in 14 days"]),
        (FEB_1 - DAY, ["this line expires today"]),
        (FEB_1 - 1, ["this line expires today"]),
        (FEB_1, ["this line has expired: it matches nothing any more"]),
        (None, []),
    ],
)
def test_an_end_is_warned_of_and_stops_nothing(now, said):
    text = (
        HEAD + "input: {default: accept, block: [{from: 192.0.2.0/24, family: ipv4, expires: 2027-01-31}]}\n"
    )
    policy = read(text, now=now)
    assert warnings(policy) == said
    assert len(policy.input.block) == 1


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ("limit: 3/minute", Limit(3, "minute", 5)),
        ("limit: 100/second, burst: 200, per: source", Limit(100, "second", 200, per_source=True)),
        ("max: 10", Limit(0, "second", 0, maximum=10)),
        ("limit: 1/day, max: 2, per: source", Limit(1, "day", 5, per_source=True, maximum=2)),
    ],
)
def test_limits(keys, limit):
    assert allowed(f"{{service: ssh, {keys}}}").limit == limit


def test_logs_of_lines():
    assert allowed("{service: ssh, log: true}").log == ""
    assert allowed("{service: ssh, log: false}").log is None
    assert allowed("{service: ssh, log: ssh from outside}").log == "ssh from outside"
    assert allowed('{service: ssh, log: "no entry"}').log == "no entry"


def test_lines_that_differ_in_their_label_say_something_new():
    lines = (
        "ssh, {service: ssh, limit: 3/minute}, {service: ssh, expires: 2027-01-31},"
        " {service: ssh, family: ipv4}"
    )
    assert warnings(read(f"{HEAD}input: {{default: drop, allow: [{lines}]}}\n")) == []
    lines = "{service: ssh, in: lan}, {service: ssh, in: wan}, {service: ssh, in: lan, log: true}"
    policy = read(f"{HEAD}{ZONES}input: {{default: drop, allow: [{lines}]}}\n")
    assert warnings(policy) == ["this line says what a.yaml:3:32 says"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "{service: ssh, in: lan, except: {in: wan}}",
            ["this exception is outside of its line's zones, so it excepts nothing"],
        ),
        (
            "{service: ssh, in: lan, except: {in: lan}}",
            ["this exception covers its whole line, which then matches nothing"],
        ),
        ("{service: ssh, in: [lan, wan], except: {in: wan}}", []),
        ("{service: ssh, except: {service: ssh, sport: 9}, in: [wan, lan]}", []),
        (
            "{service: ssh, in: [wan, lan], local: 192.0.2.1, except: {local: 192.0.2.2}}",
            ["IPv4 only", "this exception is outside of its line's addresses, so it excepts nothing"],
        ),
    ],
)
def test_exceptions_that_are_hardly_meant(line, said):
    assert sorted(each for each in warned(line, ZONES) if not each.startswith("zone ")) == sorted(said)


def test_the_log_section():
    roles = HEAD + "roles: {ntp: client-only}\n"
    assert read(roles).log is None
    assert read(roles + "log: {denied: true}\n").log == Log(True, 5, "minute", "fwp")
    said = "log: {denied: true, rate: 2/second, prefix: web, group: 5}\n"
    assert read(roles + said).log == Log(True, 2, "second", "web", 5)
    assert read(roles + "log: {prefix: web}\n").log == Log(False, 5, "minute", "web")


# Groups filled at run time


def test_dynamic_groups():
    policy = read(
        HEAD + "groups: {banned: {dynamic: 1h}, slow: {dynamic: 0}, bad: [banned, slow, 192.0.2.1]}\n"
        "input: {default: drop, allow: [{service: ssh, from: banned}], block: [{from: [bad, banned]}]}\n"
    )
    assert [(group.name, group.timeout) for group in policy.dynamic] == [("banned", 3600), ("slow", 0)]
    assert isinstance(policy.dynamic[0], DynamicGroup)
    (allow,), (block,) = policy.input.allow, policy.input.block
    assert (allow.match.source, allow.match.source_dynamic) == (AddressSet(), ("banned",))
    assert allow.match.source_group is None
    assert (block.match.source, block.match.source_dynamic) == (of("192.0.2.1"), ("banned", "slow"))
    assert allow.families == block.families == (4, 6)
    assert warnings(policy) == []


# NAT


def test_nat():
    policy = read(
        HEAD + ZONES + "nat:\n"
        "  masquerade: [{out: wan}, {out: wan, from: 10.0.0.0/8, family: ipv4}]\n"
        "  forward: [{in: wan, service: [dns, https], to: 192.168.1.10, from: private},\n"
        "    {in: wan, service: tcp/8080, to: '2001:db8::10', port: 80, hairpin: true}]\n"
        "  snat: [{out: wan, from: private, to: 198.51.100.9}]\n"
        "  clamp-mss: true\n"
    )
    nat = policy.nat
    assert not policy.is_overlay
    assert [(m.outgoing, m.source, m.families) for m in nat.masquerade] == [
        (("eth0",), None, (4, 6)),
        (("eth0",), of("10.0.0.0/8"), (4,)),
    ]
    assert isinstance(nat.masquerade[0], Masquerade)
    assert [(f.service, f.to, f.port, f.hairpin) for f in nat.forward] == [
        (Service(17, ((53, 53),)), (4, 0xC0A8010A), None, False),
        (Service(6, ((53, 53),)), (4, 0xC0A8010A), None, False),
        (Service(6, ((443, 443),)), (4, 0xC0A8010A), None, False),
        (Service(6, ((8080, 8080),)), (6, 0x20010DB8 << 96 | 0x10), 80, True),
    ]
    assert all(isinstance(forward, PortForward) for forward in nat.forward)
    assert nat.forward[0].source is not None
    assert nat.snat == (SourceNat(("eth0",), nat.forward[0].source, (4, 0xC6336409), nat.snat[0].origin),)
    assert nat.clamp_mss


def test_nat_of_several_files_joins():
    one = HEAD + ZONES + "nat: {masquerade: [{out: wan}]}\n"
    other = HEAD + "nat: {masquerade: [{out: lan}], clamp-mss: true}\n"
    nat = read(one, other).nat
    assert [line.outgoing for line in nat.masquerade] == [("eth0",), ("eth1", "wg*")]
    assert nat.clamp_mss


def test_nat_of_an_empty_group_translates_nothing():
    text = "groups: {app: {optional: true, addresses: []}}\nnat: {masquerade: [{out: wan, from: app}]}\n"
    policy = read(HEAD + ZONES + text)
    assert policy.nat.masquerade == ()
    assert "this line matches nothing: its group is empty" in warnings(policy)


# Contradictions with roles


def test_lines_of_forward_do_not_touch_a_role():
    text = "roles: {ntp: closed}\nforward: {default: drop, allow: [ntp], block: [{service: udp/323}]}\n"
    assert read(HEAD + text).forward.allow


def test_a_block_of_part_of_a_roles_exchange_is_none_of_the_role():
    for part in ("out: wan", "family: ipv4", "expires: 2027-01-31", "sport: 123"):
        text = (
            f"roles: {{ntp: client-only}}\noutput: {{default: accept, block: [{{service: ntp, {part}}}]}}\n"
        )
        assert read(HEAD + ZONES + text).output.block


HIDES = "hairpin hides what a.yaml:3:32 allows, but at this host's address in one's own network"


@pytest.mark.parametrize(
    ("line", "forward", "said"),
    [
        ("https", "hairpin: true", [HIDES]),
        ("{service: tcp/400-500, in: [lan, guest]}", "hairpin: true", [HIDES]),
        ("{service: https, in: [lan, wan]}", "hairpin: true", []),
        ("https", "hairpin: false", []),
        ("ssh", "hairpin: true", []),
        ("{service: https, family: ipv6}", "hairpin: true", []),
        ("{service: https, from: 10.0.0.0/8, family: ipv4}", "hairpin: true, from: 192.168.0.0/16", []),
    ],
)
def test_a_hairpin_hides_what_the_host_itself_serves_in_other_networks(line, forward, said):
    zones = "zones: {wan: eth0, lan: eth1, guest: eth2}\n"
    section = f"input: {{default: drop, allow: [{line}]}}\n"
    nat = f"nat: {{forward: [{{in: wan, service: https, to: 192.168.1.10, {forward}}}]}}\n"
    found = warnings(read(HEAD + zones + section + nat))
    assert [each for each in found if "never used" not in each] == said
