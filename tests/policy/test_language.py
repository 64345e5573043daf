"""What is accepted, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import EVERYWHERE, AddressSet, merge, of
from fwpolicy.policy import repeats, services
from fwpolicy.policy.parse import NAME
from fwpolicy.policy.services import Service
from tests.policy.reading import HEAD, allowed, read, warned, warnings

# Addresses and groups


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("10.0.0.1", of("10.0.0.1")),
        ("10.0.0.0/8", of("10.0.0.0/8")),
        ('"2001:db8::/32"', of("2001:db8::/32")),
        ("10.0.0.1-10.0.0.9", of("10.0.0.1-10.0.0.9")),
        ("10.0.0.1 - 10.0.0.9", of("10.0.0.1-10.0.0.9")),
        ("10.0.0.7-10.0.0.7", of("10.0.0.7")),
        ("[10.0.0.1, 10.0.0.2-10.0.0.3]", of("10.0.0.1-10.0.0.3")),
        ("0.0.0.0/0", of("0.0.0.0/0")),
        ('"::ffff:0:0/96"', of("::ffff:0:0/96")),
        ("any", EVERYWHERE),
        ("[0.0.0.0/0, '::/0']", EVERYWHERE),
        ("private", of("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ],
)
def test_addresses(text, meaning):
    assert allowed(f"{{from: {text}}}").match.source == meaning


def test_an_ipv6_address_in_block_style_needs_no_quotes():
    assert allowed("from: 2001:db8::1").match.source == of("2001:db8::1")
    assert allowed("from:\n        - 2001:db8::1\n        - ::1").match.source == of("2001:db8::1", "::1")


def test_internet_is_what_is_routed():
    internet = allowed("{from: internet}").match.source
    for outside in ("10.1.2.3", "127.0.0.1", "169.254.1.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"):
        assert of(outside).v4[0][0] and (4, of(outside).v4[0][0]) not in internet
    for outside in ("::1", "fe80::1", "fd00::1", "2001:db8::1", "ff02::1"):
        assert (6, of(outside).v6[0][0]) not in internet
    for inside in ("1.1.1.1", "100.63.255.255", "100.128.0.0", "223.255.255.255"):
        assert (4, of(inside).v4[0][0]) in internet
    for inside in ("2000::", "2606:4700::1111", "2a00::1"):
        assert (6, of(inside).v6[0][0]) in internet


def test_groups_join_and_name_groups():
    head = "groups: {a: [10.0.0.1, b], b: [10.0.0.2, c], c: 10.0.0.3}\n"
    rule = allowed("{from: [a, 10.0.0.4]}", head)
    assert rule.match.source == of("10.0.0.1-10.0.0.4")
    assert rule.match.source_group is None
    assert allowed("{from: a}", head).match.source_group == "a"
    assert allowed("{from: any}").match.source_group is None


def test_a_groups_file():
    files = {
        "feeds/drop.txt": "# a feed\n10.0.0.0/24 # two\n\n   2001:db8::/32\r\n10.0.1.0-10.0.1.9\n"
        "10.0.0.7\n10.0.0.7\n"
    }
    head = "groups: {feed: {file: drop.txt}}\n"
    rule = allowed("{from: feed}", head, names=("feeds/a.yaml",), files=files)
    assert rule.match.source == of("10.0.0.0/24", "2001:db8::/32", "10.0.1.0-10.0.1.9")
    head = "groups: {feed: {file: /feeds/drop.txt}}\n"
    files = {"/feeds/drop.txt": "\ufeff10.0.0.1"}
    assert allowed("{from: feed}", head, files=files).match.source == of("10.0.0.1")


def test_a_group_may_be_named_as_a_service():
    assert allowed(
        "{service: web, from: web}", "groups: {web: 10.0.0.1}\nservices: {web: tcp/80}\n"
    ).match.source


def test_an_optional_group_may_be_empty_and_its_line_is_left_out():
    text = (
        "groups: {app: {optional: true, addresses: []}}\n"
        "input: {default: drop, allow: [{service: ssh, from: app}]}\n"
    )
    policy = read(HEAD + text)
    assert policy.input.allow == ()
    assert warnings(policy) == ["this line matches nothing: its group is empty"]


@pytest.mark.parametrize("hole", ["from: app", "service: tcp/22, from: app", "from: [app, others]"])
def test_an_exception_of_empty_groups_is_none_and_warned_of(hole):
    app, others = "{optional: true, file: app.txt}", "{optional: true, addresses: []}"
    head = f"{HEAD}groups: {{app: {app}, others: {others}}}\n"
    line = f"{{service: ssh, except: {{{hole}}}}}"
    text = f"{head}input: {{default: drop, allow: [{line}, {{service: http, from: others}}]}}\n"
    policy = read(text, files={"app.txt": "# nobody today\n"})
    assert policy.input.allow[0].holes == ()
    assert warnings(policy) == [
        "this exception excepts nothing: its group is empty",
        "this line matches nothing: its group is empty",
    ]
    place = policy.warnings[0].span
    assert text.splitlines()[place.line - 1][place.column - 1 :].startswith(f"{{{hole}}}")


def test_an_exception_of_a_block_is_warned_of_likewise():
    text = (
        "groups: {app: {optional: true, addresses: []}}\n"
        "input: {default: accept, block: [{from: 192.0.2.0/24, except: {from: app}}]}\n"
    )
    assert "this exception excepts nothing: its group is empty" in warnings(read(HEAD + text))


def test_an_unused_group_is_warned_of_and_one_used_by_a_group_is_not():
    head = "groups: {a: [b], b: 10.0.0.1, c: 10.0.0.2}\n"
    assert warned("ssh", head) == ["group 'a' is never used", "group 'c' is never used"]


# Families


@pytest.mark.parametrize(
    ("line", "families", "said"),
    [
        ("ssh", (4, 6), []),
        ("{service: ssh, from: any}", (4, 6), []),
        ("{service: ssh, from: 10.0.0.0/8}", (4,), ["IPv4 only"]),
        ('{service: ssh, from: "2001:db8::/32"}', (6,), ["IPv6 only"]),
        ("{service: ping, from: 10.0.0.0/8}", (4,), ["IPv4 only"]),
        ("{service: icmp/8, from: 10.0.0.0/8}", (4,), []),
        ("{service: icmp/8, from: private}", (4, 6), []),
        ("{from: private}", (4, 6), []),
        ("ip/60", (4, 6), ["ip/60 is about IPv4 only: in IPv6 it is an extension header"]),
        ("{service: ip/0, family: ipv4}", (4,), []),
        ("{service: [esp, ah, ip/59]}", (4, 6), []),
        ("{service: ip/43, from: 10.0.0.0/8}", (4,), []),
        ("{service: ssh, except: {service: ip/44, from: 10.0.0.0/8}}", (4, 6), []),
        (
            '{service: [esp, ip/44], from: "2001:db8::/32"}',
            (6,),
            ["IPv6 only", "ip/44 is about IPv4 only: in IPv6 it is an extension header"],
        ),
        (
            "{from: private, except: {service: ip/43}}",
            (4, 6),
            ["ip/43 is about IPv4 only: in IPv6 it is an extension header"],
        ),
    ],
)
def test_families(line, families, said):
    assert allowed(line).families == families
    assert warned(line) == said


def test_an_address_that_is_meant_as_every_address():
    assert warned("{from: 0.0.0.0}") == ["IPv4 only", "'0.0.0.0' is one address, not every address"]
    assert warned('{from: "::"}') == ["IPv6 only", "'::' is one address, not every address"]
    assert warned("{from: 0.0.0.0/0}") == ["IPv4 only"]


def test_ipv4_in_ipv6_form_is_warned_of():
    """Lists of addresses that nobody has contain the block: no packet carries one, and IPv4 it is not."""
    said = "'::ffff:0:0/96' is IPv4 in IPv6 form, which no packet carries: it matches no IPv4 packet"
    assert warned('{from: "::ffff:0:0/96"}') == ["IPv6 only", said]
    text = f"{HEAD}groups: {{a: {{file: a.txt}}}}\ninput: {{default: accept, block: [{{from: a}}]}}\n"
    policy = read(text, files={"a.txt": "10.0.0.0/8\n::ffff:0:0/96\n"})
    assert warnings(policy) == [said]
    assert str(policy.warnings[0].span).startswith("a.txt:2:1")


# Services


def test_the_table_of_services():
    names = list(services.BUILT_IN)
    assert names == sorted(names)
    assert len(names) >= 60
    for name in names:
        assert NAME.match(name)
        found = services.built_in(name)
        assert found
        assert len(set(found)) == len(found)
    assert services.built_in("nosuch") is None
    assert {"ssh", "ntp", "dns", "http", "https", "ping", "vrrp", "esp", "gre"} <= set(names)


@pytest.mark.parametrize("name", services.BUILT_IN)
def test_every_service_may_be_allowed(name):
    assert allowed(name).match.services == services.built_in(name)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tcp/22", Service(6, ((22, 22),))),
        ("tcp/22-22", Service(6, ((22, 22),))),
        ("udp/1-65535", Service(17, ((1, 65535),))),
        ("sctp/7", Service(132, ((7, 7),))),
        ("dccp/7", Service(33, ((7, 7),))),
        ("ip/112", Service(112)),
        ("ip/0", Service(0, family=4)),
        ("ip/255", Service(255)),
        ("icmp/8", Service(1, (), (8,), 4)),
        ("icmp/0", Service(1, (), (0,), 4)),
        ("icmpv6/128", Service(58, (), (128,), 6)),
    ],
)
def test_services(text, meaning):
    assert services.parse(text) == meaning
    assert allowed(text).match.services == (meaning,)


def test_services_name_services():
    head = "services: {web: [http, https, quic], all-web: [web, tcp/8080, http]}\n"
    found = allowed("all-web", head).match.services
    assert found == tuple(services.parse(text) for text in ("tcp/80", "tcp/443", "udp/443", "tcp/8080"))


# Rules


def test_except_is_a_list_of_holes():
    line = "{service: dns, from: private, except: [{from: 10.0.0.1}, {service: tcp/53, from: 10.0.0.2}]}"
    one, other = allowed(line).holes
    assert (one.services, one.source) == (None, of("10.0.0.1"))
    assert (other.services, other.source) == ((Service(6, ((53, 53),)),), of("10.0.0.2"))
    (only,) = allowed("{service: dns, except: {service: tcp/53}}").holes
    assert only.source is None


def test_block_drops_unless_it_says_reject():
    lines = "telnet, {service: ident, action: reject}, {from: 192.0.2.1, action: drop}"
    section = read(f"{HEAD}input: {{default: reject, block: [{lines}]}}\n").input
    assert [rule.verdict for rule in section.block] == ["drop", "reject", "drop"]
    assert section.default == "reject"


def test_output_has_to():
    policy = read(
        HEAD + "output: {default: drop, allow: [{service: dns, to: 192.0.2.53}], block: [{to: 192.0.2.1}]}\n"
    )
    (rule,) = policy.output.allow
    assert (rule.match.source, rule.match.destination) == (None, of("192.0.2.53"))
    assert rule.verdict == "accept"
    assert policy.input is None


def test_comments_hold_most_of_what_one_writes():
    for comment in ("abuse feed", "für Zoë, #7: 'quoted' & <b>!", "x" * 100):
        assert allowed(f'{{service: ssh, comment: "{comment}"}}').comment == comment


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("allow: [ssh, ssh]", ["this line says what a.yaml:2:32 says"]),
        ("allow: [ssh, tcp/22]", ["this line says what a.yaml:2:32 says"]),
        ("allow: [{service: [dns, ssh]}, {service: [ssh, dns]}]", ["this line says what a.yaml:2:32 says"]),
        ("block: [telnet, {service: telnet, action: reject}]", ["this line says what a.yaml:2:32 says"]),
        ("allow: [ssh], block: [ssh]", ["this line has no effect: block beats allow, at a.yaml:2:46"]),
        ("allow: [{service: [ssh, ssh]}]", ["'ssh' is in this list twice"]),
        ("allow: [ssh, {service: ssh, except: {from: private}}]", []),
        ("allow: [ssh], block: [{service: ssh, except: {from: private}}]", []),
        (
            "allow: [{from: 10.0.0.0/8, except: {from: 192.0.2.1}}]",
            ["IPv4 only", "this exception is outside of its line's addresses, so it excepts nothing"],
        ),
        (
            "allow: [{service: ssh, from: private, except: {from: any}}]",
            ["this exception covers its whole line, which then matches nothing"],
        ),
        (
            "allow: [{service: ssh, except: {service: [dns, ssh]}}]",
            ["this exception covers its whole line, which then matches nothing"],
        ),
        ("allow: [{service: ssh, except: {service: dns}}]", []),
    ],
)
def test_what_is_harmless_and_hardly_meant(lines, said):
    assert warnings(read(f"{HEAD}input: {{default: drop, {lines}}}\n")) == said


def test_empty_lists_of_lines_are_sections_without_lines():
    policy = read(
        HEAD + "input: {default: drop, allow: [], block: []}\ngroups: {}\nservices: {}\ntests: []\n"
    )
    assert (policy.input.allow, policy.input.block, policy.tests) == ((), (), ())


def test_an_alias_is_the_text_it_stands_for():
    head = "groups: {a: &nets [10.0.0.1, 10.0.0.2], b: *nets}\n"
    assert allowed("{from: b}", head).match.source == of("10.0.0.1-10.0.0.2")


# Roles


def test_roles():
    for mode in ("client-only", "closed"):
        policy = read(f"{HEAD}roles: {{ntp: {mode}}}\n")
        assert policy.ntp.mode == mode
        assert policy.ntp.servers is None
        assert policy.is_overlay
    role = read(
        HEAD + "groups: {up: 192.0.2.1}\n"
        "roles:\n"
        "  ntp: {mode: server, serve: [private, 10.0.0.0/8], servers: up, monitors: [127.0.0.1, '::1'],\n"
        "    daemon: chrony, nts: true}\n"
    ).ntp
    assert role.serve == of("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    assert (role.servers, role.servers_group) == (of("192.0.2.1"), "up")
    assert role.monitors == of("127.0.0.1", "::1")
    assert (role.daemon, role.nts, role.from_daemon) == ("chrony", True, False)
    assert read(HEAD + "roles: {ntp: {mode: client-only, servers: from-daemon}}\n").ntp.from_daemon


def test_lines_that_a_role_allows_itself_are_no_contradiction():
    read(
        HEAD + "roles: {ntp: {mode: server, serve: [private]}}\n"
        "input: {default: drop, allow: [{service: ntp, from: private}]}\n"
    )
    read(HEAD + "roles: {ntp: client-only}\noutput: {default: drop, allow: [ntp]}\n")
    read(
        HEAD
        + "roles: {ntp: client-only}\ninput: {default: drop, allow: [{service: [ntp, ssh]}], block: [ntp]}\n"
    )


@settings(derandomize=True, deadline=None)
@given(*[st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=6)] * 2)
def test_within_and_outside_are_those_of_sets(one, other):
    part, whole = (AddressSet(merge((a, a + n) for a, n in pairs)) for pairs in (one, other))
    here, there = ({v for a, b in each.v4 for v in range(a, b + 1)} for each in (part, whole))
    assert repeats._within(part, whole) == (here <= there)
    assert repeats._outside(part, whole) == here.isdisjoint(there)
