"""nft's traps, each with the packet that tells the right reading from the wrong one."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import parse
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_json, of_text
from fwpolicy.model.program import NotModelledError, Verdict, holds, of_table

V4 = {"nfproto": 4, "th": 1}
V6 = {"nfproto": 6, "th": 1}
TCP = V4 | {"l4proto": 6}
UDP = V4 | {"l4proto": 17}
STATE = {name: {"ctstate": number} for number, name in enumerate(fields.STATES)}


def address(text):
    return parse(text)[1]


def ruleset(*lines, family="inet", objects="", policy="drop", hook="input"):
    rules = "".join(f"\t\t{line}\n" for line in lines)
    base = f"\t\ttype filter hook {hook} priority filter; policy {policy};\n"
    other = "\tchain other {\n\t\ttcp dport 22 accept\n\t}\n"
    return f"table {family} t {{\n{objects}{other}\tchain c {{\n{base}{rules}\t}}\n}}\n"


def matches(rule, packet, **more):
    """Whether `RULE accept` accepts the packet."""
    return verdict(ruleset(f"{rule} accept", **more), packet) == "accept"


def verdict(text, packet):
    return decide(of_text(text, "t.nft"), "input", packet)[0].kind


# Each: a rule, packets that it holds for, and packets that it does not: the counter-examples.
GUARDS = [
    (
        "ip saddr != 10.0.0.0/8",
        [V4 | {"saddr4": address("192.0.2.1")}],
        [V4 | {"saddr4": address("10.9.9.9")}, V6],
    ),
    ("ip6 daddr != ::1", [V6 | {"daddr6": 2}], [V6 | {"daddr6": 1}, V4]),
    (
        "tcp dport != 22",
        [TCP | {"dport": 23}],
        [TCP | {"dport": 22}, UDP | {"dport": 23}, TCP | {"dport": 23, "th": 0}],
    ),
    ("udp sport { 53, 67-68 }", [UDP | {"sport": 67}], [UDP | {"sport": 66}, TCP | {"sport": 67}]),
    ("tcp dport >= 1024", [TCP | {"dport": 1024}], [TCP | {"dport": 1023}]),
    ("icmp type 8", [V4 | {"l4proto": 1, "icmptype": 8}], [V6 | {"l4proto": 1, "icmptype": 8}]),
    ("icmp type != 8", [V4 | {"l4proto": 1, "icmptype": 0}], [V4 | {"l4proto": 1, "icmptype": 8}, TCP]),
    ("icmpv6 type 135", [V6 | {"l4proto": 58, "icmptype": 135}], [V4 | {"l4proto": 58, "icmptype": 135}]),
    ("meta l4proto { tcp, udp } th dport 53", [UDP | {"dport": 53}], [V4 | {"l4proto": 132, "dport": 53}]),
    ("ip protocol != tcp", [UDP], [TCP, V6 | {"l4proto": 17}]),
    (
        "ip6 nexthdr tcp",
        [],
        [V6 | {"l4proto": 17, "opaque:ip6 nexthdr 6": 1}, TCP | {"opaque:ip6 nexthdr 6": 1}],
    ),
    ("meta protocol ip6", [V6], [V4]),
    ("meta nfproto != ipv4", [V6], [V4]),
]
ADDRESSES = [
    (
        "ip saddr & 255.255.255.0 == 10.0.1.0",
        [V4 | {"saddr4": address("10.0.1.77")}],
        [V4 | {"saddr4": address("10.0.2.1")}],
    ),
    (
        "ip saddr & 255.255.255.0 != 10.0.1.0",
        [V4 | {"saddr4": 1}],
        [V4 | {"saddr4": address("10.0.1.1")}, V6],
    ),
    (
        "ip saddr & 255.0.255.0 == 10.0.5.0",
        [V4 | {"saddr4": address("10.9.5.9")}],
        [V4 | {"saddr4": address("10.9.6.9")}],
    ),
    ("ip daddr 0.0.0.0/0", [V4], [V6]),
    ("ip saddr 0.0.0.5-0.0.0.9", [V4 | {"saddr4": 9}], [V4 | {"saddr4": 10}, V4 | {"saddr4": 4}]),
]
FLAGS = [
    (
        "tcp flags syn",
        [TCP | {"tcpflags": 2}, TCP | {"tcpflags": 18}],
        [TCP | {"tcpflags": 16}, UDP | {"tcpflags": 2}],
    ),
    ("tcp flags syn,ack", [TCP | {"tcpflags": 16}], [TCP | {"tcpflags": 4}]),
    ("tcp flags == syn", [TCP | {"tcpflags": 2}], [TCP | {"tcpflags": 18}]),
    ("tcp flags { syn, ack }", [TCP | {"tcpflags": 2}], [TCP | {"tcpflags": 18}]),
    ("tcp flags { syn }", [TCP | {"tcpflags": 18}], [TCP | {"tcpflags": 16}]),
    ("tcp flags & (fin|syn|rst|ack) == syn", [TCP | {"tcpflags": 0xC2}], [TCP | {"tcpflags": 18}]),
    ("tcp flags syn / fin,syn,rst,ack", [TCP | {"tcpflags": 0xC2}], [TCP | {"tcpflags": 18}]),
    ("tcp flags 0x2 / 0x1,0x2,0x4,0x10", [TCP | {"tcpflags": 0xC2}], [TCP | {"tcpflags": 18}]),
    ("tcp flags != syn / fin,syn,rst,ack", [TCP | {"tcpflags": 18}], [TCP | {"tcpflags": 2}, UDP]),
    ("tcp flags ! syn", [TCP | {"tcpflags": 16}], [TCP | {"tcpflags": 18}, UDP]),
    ("tcp flags & (syn|ack) == 0", [TCP | {"tcpflags": 4}], [TCP | {"tcpflags": 18}]),
]
TRACKED = [
    ("ct state established,related", [STATE["related"]], [STATE["new"]]),
    ("ct state { established, related }", [STATE["related"]], [STATE["new"]]),
    ("ct state != new", [STATE["untracked"], STATE["invalid"]], [STATE["new"]]),
    ("ct state != new,established", [STATE["new"]], []),
    ("ct state ! new", [STATE["invalid"]], [STATE["new"]]),
    ("ct status dnat", [STATE["new"] | {"dnat": 1}], [STATE["new"], STATE["untracked"] | {"dnat": 1}]),
    ("ct status ! dnat", [STATE["new"]], [STATE["new"] | {"dnat": 1}, STATE["invalid"]]),
    ("ct status snat,dnat", [STATE["new"] | {"snat": 1}], [STATE["new"]]),
    ("ct status { dnat }", [STATE["new"] | {"dnat": 1}], [STATE["new"]]),
    (
        "ct direction reply",
        [STATE["established"] | {"ctdir": 1}],
        [STATE["established"], STATE["invalid"] | {"ctdir": 1}],
    ),
    ("ct mark != 1", [STATE["new"]], [STATE["new"] | {"ctmark": 1}, STATE["untracked"]]),
    (
        "ct mark 0x10000000/4",
        [STATE["new"] | {"ctmark": 0x1FFFFFFF}],
        [STATE["new"] | {"ctmark": 0x20000000}],
    ),
    (
        "ct original proto-dst 443",
        [STATE["new"] | {"origport": 443}],
        [STATE["untracked"] | {"origport": 443}],
    ),
    ("ct original proto-dst 0x1bb [invalid type]", [STATE["new"] | {"origport": 443}], [STATE["new"]]),
    ("ct original ip daddr != 0.0.0.1", [STATE["new"] | V4], [STATE["new"] | V6, STATE["invalid"] | V4]),
]
ETH0, WG1 = fields.interface("eth0")[0][0], fields.interface("wg1")[0][0]
MIXED = [
    ('iifname "wg*"', [{"iif": WG1}], [{"iif": ETH0}, {}]),
    ('iifname != "eth0"', [{"iif": WG1}, {}], [{"iif": ETH0}]),
    ('iifname "wg\\*"', [], [{"iif": WG1}]),
    ("fib daddr type { local, broadcast }", [{"daddrtype": 3}], [{"daddrtype": 5}]),
    ("fib daddr . iif type != local", [{"daddrtype_iif": 1}], [{"daddrtype_iif": 2}]),
    ("meta pkttype != multicast", [{}], [{"pkttype": 2}]),
    ("ip frag-off & 0x1fff != 0", [V4 | {"fragment": 1}], [V4, V6 | {"fragment": 1}]),
    ("ip ttl < 5", [V4 | {"ttl": 4}], [V4 | {"ttl": 5}, V6 | {"ttl": 4}]),
    ("ip6 dscp { cs1, 10 }", [V6 | {"dscp": 10}], [V4 | {"dscp": 10}]),
    ("meta skuid != 0", [{"skuid": 7, "opaque:meta skuid exists": 1}], [{"skuid": 7}]),
    ("meta time < 1800000000", [{"time": 1799999999}], [{"time": 1800000000}]),
    ('meta time < "2027-01-15 08:00:00"', [{"time": 1799999999}], [{"time": 1800000000}]),
    (
        "udp dport 123 @th,64,8 & 0x7 != 4",
        [UDP | {"dport": 123, "ntpmode": 3}],
        [UDP | {"dport": 123, "ntpmode": 4}, UDP | {"dport": 123, "ntpmode": fields.NO_MODE}],
    ),
    ("meta l4proto . th dport { tcp . 80, udp . 53 }", [UDP | {"dport": 53}], [TCP | {"dport": 53}]),
    (
        "ip saddr . tcp dport { 10.0.0.0/8 . 80-90 }",
        [TCP | {"saddr4": address("10.1.1.1"), "dport": 90}],
        [TCP | {"saddr4": 1, "dport": 90}],
    ),
    (
        "ip saddr . tcp dport != { 10.0.0.0/8 . 80-90 }",
        [TCP | {"dport": 90}],
        [UDP | {"dport": 90}, TCP | {"dport": 90, "th": 0}],
    ),
]


@pytest.mark.parametrize(
    ("rule", "for_these", "not_for_these"),
    [*GUARDS, *ADDRESSES, *FLAGS, *TRACKED, *MIXED],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_match_holds_for_these_packets_only(rule, for_these, not_for_these):
    assert [matches(rule, packet) for packet in for_these] == [True] * len(for_these)
    assert [matches(rule, packet) for packet in not_for_these] == [False] * len(not_for_these)


def test_in_a_table_of_one_family_icmp_implies_the_protocol_only():
    assert matches("icmpv6 type 135", V4 | {"l4proto": 58, "icmptype": 135}, family="ip")
    assert not matches("icmpv6 type 135", V4 | {"l4proto": 1, "icmptype": 135}, family="ip")


@pytest.mark.parametrize(
    "rule",
    ["th dport 53", "meta l4proto { tcp, icmp } th dport 53", "meta l4proto != { tcp, udp } th dport 53"],
)
def test_a_port_without_a_protocol_is_opaque(rule):
    assert not matches(rule, UDP | {"dport": 53})


def test_a_reset_is_for_tcp_and_an_icmp_error_for_its_family():
    text = ruleset(
        "reject with tcp reset", "reject with icmp type host-unreachable", "reject", policy="accept"
    )
    assert verdict(text, TCP) == "reject:tcp-reset"
    assert verdict(text, UDP) == "reject:icmp-host-unreachable"
    assert verdict(text, V6 | {"l4proto": 17}) == "reject:port-unreachable"


MAP = """\
\tmap m {
\t\ttype inet_service : verdict
\t\telements = { 22 : accept, 23 : jump other, 24 : continue, 25 : drop }
\t}
"""


@pytest.mark.parametrize("look", ["@m", "{ 22 : accept, 23 : jump other, 24 : continue, 25 : drop }"])
def test_a_verdict_map_ends_the_rule_but_for_continue(look):
    text = ruleset(f"tcp dport vmap {look} counter reject", "tcp dport { 21, 23 } queue", objects=MAP)
    done = {port: verdict(text, TCP | {"dport": port}) for port in (21, 22, 23, 24, 25)}
    assert done == {21: "queue", 22: "accept", 23: "queue", 24: "reject:port-unreachable", 25: "drop"}


def test_the_rest_of_a_map():
    text = ruleset("ip saddr vmap { 10.0.0.0/8 : accept, * : drop }", "accept")
    assert verdict(text, V4 | {"saddr4": address("10.0.0.1")}) == "accept"
    assert verdict(text, V4 | {"saddr4": 1}) == "drop"
    assert verdict(text, V6) == "accept"


def test_a_map_of_counters_is_a_match():
    elements = 'elements = { 80 comment "x" : "c", 90-99 : "d" }'
    objects = f"\tmap m {{\n\t\ttype inet_service : counter\n\t\t{elements}\n\t}}\n"
    assert matches("counter name tcp dport map @m", TCP | {"dport": 95}, objects=objects)
    assert not matches("counter name tcp dport map @m", TCP | {"dport": 81}, objects=objects)


SETS = """\
\tset banned {
\t\ttype ipv4_addr
\t\tsize 65535
\t\tflags dynamic,timeout
\t\ttimeout 1h
\t\telements = { 192.0.2.1, 192.0.2.7 timeout 1h expires 5m }
\t}
\tset nets {
\t\ttype ipv4_addr
\t\tflags interval
\t\tauto-merge
\t\telements = { 10.0.0.0/9, 10.128.0.0/9,
\t\t\t     192.0.2.5-192.0.2.9 comment "these" }
\t}
"""
MEMBER = fields.member("inet t banned", "saddr")


def test_a_set_filled_at_run_time_is_a_field_of_its_own():
    for packet in (V4, V4 | {"saddr4": address("192.0.2.1")}):
        assert matches("ip saddr @banned", packet | {MEMBER: 1}, objects=SETS)
        assert not matches("ip saddr @banned", packet, objects=SETS)
    assert matches("ip saddr != @banned", V4, objects=SETS)
    assert not matches("ip saddr != @banned", V6, objects=SETS)


def test_the_members_of_a_named_set():
    for text, inside in (("10.200.0.1", True), ("192.0.2.9", True), ("192.0.2.10", False)):
        assert matches("ip saddr @nets", V4 | {"saddr4": address(text)}, objects=SETS) == inside


def test_limiters_are_things_of_their_own():
    objects = "\tlimit l {\n\t\trate over 5/minute\n\t}\n"
    objects += "\tset s {\n\t\ttype ipv4_addr\n\t\tsize 9\n\t\tflags dynamic\n\t}\n"
    named, by_source = fields.limiter("inet t l"), fields.limiter("inet t s")
    assert matches('limit name "l"', {}, objects=objects), "over: it holds where no room is left"
    assert not matches('limit name "l"', {named: 1}, objects=objects)
    assert matches("update @s { ip saddr limit rate 5/minute }", V4 | {by_source: 1}, objects=objects)
    assert not matches("update @s { ip saddr limit rate 5/minute }", V6 | {by_source: 1}, objects=objects)
    assert matches("update @s { ip saddr limit rate over 5/minute }", V4, objects=objects)
    twice = ruleset("limit rate 5/second accept", "limit rate 5/second accept")
    first, second = of_text(twice, "t").chains["inet t c"].rules
    assert holds(first.guard, {fields.limiter("inet t c #0 limit rate 5/second burst 5 packets"): 1})
    assert first.guard != second.guard


def test_sets_and_limits_of_two_tables_are_different():
    program = of_text(
        ruleset("ip saddr @banned accept", objects=SETS)
        + ruleset("ip saddr @banned accept", objects=SETS, family="ip"),
        "t",
    )
    one, other = (program.chains[name].rules[0].guard for name in ("inet t c", "ip t c"))
    assert holds(one, V4 | {MEMBER: 1})
    assert not holds(other, V4 | {MEMBER: 1})


# Tables, chains, order.


def test_of_one_priority_the_last_registered_runs_first():
    text = ruleset("accept") + ruleset("drop", family="ip")
    assert [chain.name for chain in of_text(text, "t").bases("input")] == ["ip t c", "inet t c"]
    assert verdict(text, V4) == "drop"
    assert verdict(text, V6) == "accept"


def test_a_dormant_table_runs_no_chain():
    text = ruleset("drop").replace("table inet t {", "table inet t {\n\tflags dormant")
    assert not of_text(text, "t").bases("input")


@pytest.mark.parametrize("flags", ["t", "inet", "dormant", "owner", "", ["dormant", "other"]])
def test_a_table_whose_flags_cannot_be_read_may_be_dormant(flags):
    listing = {"nftables": [{"table": {"family": "inet", "name": "t", "flags": flags}}]}
    for program in (of_json(listing), of_table(of_json(listing), "inet t")):
        named = [str(where) for where in program.unmodelled]
        assert named == ["live: inet t: its flags cannot be read: it may be dormant"]
    listing["nftables"][0]["table"]["flags"] = ["dormant"]
    assert not of_json(listing).unmodelled


def test_goto_ends_where_its_chain_ends():
    assert verdict(ruleset("goto other", "accept"), UDP) == "drop"
    assert verdict(ruleset("jump other", "accept"), UDP) == "accept"


def test_a_file_is_carried_out_command_by_command():
    text = """\
add table inet old
add chain inet old c { type filter hook input priority 0; policy drop; }
delete table inet old
table inet t
delete table inet t
add table inet t
add set inet t s { type ipv4_addr; }
add chain inet t c { type filter hook input priority filter - 10; policy drop; }
add rule inet t c ip saddr @s accept
add rule inet t c tcp dport 22 drop
insert rule inet t c tcp dport 22 accept
add element inet t s { 192.0.2.1, 192.0.2.2 }
"""
    program = of_text(text, "t.nft")
    assert [(chain.name, chain.base.priority) for chain in program.bases("input")] == [("inet t c", -10)]
    assert verdict(text, TCP | {"dport": 22}) == "accept"
    assert verdict(text, V4 | {"saddr4": address("192.0.2.2")}) == "accept"
    assert not of_text(text + "flush ruleset\n", "t.nft").chains


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define x = 5\n", "t.nft:1: : define x = 5: 'define' is not read here"),
        ('include "other.nft"\n', "'include' is not read here"),
        (
            "table inet t {\n\tchain c {\n\t\tfrobnicate 5 accept\n\t}\n}\n",
            "t.nft:3: inet t c: frobnicate 5 accept",
        ),
        (
            "table inet t {\n\tchain c {\n\t\ttcp dport $x accept\n\t}\n}\n",
            "t.nft:3: inet t c: tcp dport $x accept",
        ),
        ("table inet t {\n\tchain c {\n\t\tjump d\n\t}\n}\n", "t.nft:3: inet t c: jump d: no chain inet t d"),
        ("table inet t {\n\tchain c {\n\t\tip saddr @s drop\n\t}\n}\n", "no set s"),
        ('table inet t {\n\tchain c {\n\t\tlimit name "l" drop\n\t}\n}\n', "no limit l"),
        ("table inet t {\n\tchain c {\n\t\taccept drop\n\t}\n}\n", "'drop' after a verdict"),
        ("table inet t {\n\tchain c {\n", "the block does not end"),
        (
            "table inet t {\n\tchain c {\n\t\ttype filter hook input priority soon;\n\t}\n}\n",
            "'soon' is no priority",
        ),
        ("table inet t {\n\tchain c {\n\t\ttcp dport { 22 : accept }\n\t}\n}\n", "expected 'vmap' or 'map'"),
        ("table inet t {\n\tchain c {\n\t\ttcp dport 9-1 drop\n\t}\n}\n", "tcp dport 9-1 drop: this is not"),
        ("table inet t {\n\tchain c {\n\t\tip saddr 10.0.0.0/33 drop\n\t}\n}\n", "this is not understood"),
        ("delete table inet t\n", "no table inet t"),
        ("add rule inet t c accept\n", "no table inet t"),
    ],
)
def test_what_is_not_understood_is_refused_at_its_place(text, message):
    with pytest.raises(NotModelledError) as caught:
        of_text(text, "t.nft")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {
            "nftables": [
                {"table": {"family": "inet", "name": "t"}},
                {"frob": {"family": "inet", "table": "t"}},
            ]
        },
        {"nftables": [{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": []}}]},
        {"nftables": 5},
        {},
    ],
)
def test_a_document_that_is_not_understood_is_refused(document):
    with pytest.raises(NotModelledError):
        of_json(document)


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (["meta mark set 0x1"], []),
        (["meta mark set 0x1", "meta mark 0x1 accept"], ["meta mark set 0x1"]),
        (["meta mark set 0x1", "fib saddr . mark . iif oif missing drop"], ["meta mark set 0x1"]),
        (["ct mark set meta mark", "meta mark 1 accept"], []),
        (["notrack"], ["notrack"]),
        (["tproxy to :1234"], ["tproxy to :1234"]),
        (['synproxy name "shield"'], ['synproxy name "shield"']),
        (["dup to 192.0.2.1 device eth0"], ["dup to 192.0.2.1 device eth0"]),
        (["flow add @fast"], ["flow add @fast"]),
        (["ip dscp set cs1"], ["ip dscp set cs1"]),
        (["queue num 3"], ["queue num 3"]),
        (["tcp option maxseg size set rt mtu", 'log prefix "x"', "counter", 'ct helper set "ftp"'], []),
        (["add @s { ip saddr }", "ip daddr @t drop"], []),
        (["add @s { ip saddr }", "ip saddr @s drop"], ["add @s { ip saddr }"]),
        (['xt target "REJECT"'], ['xt target "REJECT"']),
    ],
)
def test_what_changes_what_later_rules_see_is_named(rules, named):
    objects = "".join(
        f"\tset {name} {{\n\t\ttype ipv4_addr\n\t\tsize 9\n\t\tflags dynamic\n\t}}\n" for name in "st"
    )
    program = of_text(ruleset(*rules, objects=objects), "t.nft")
    assert [where.text for where in program.unmodelled] == named


def test_an_xt_match_is_equal_to_itself_only():
    program = of_text(ruleset('xt match "multiport" accept', 'xt match "multiport" accept'), "t.nft")
    one, other = program.chains["inet t c"].rules
    assert one.guard != other.guard


def test_tables_of_iptables_are_named_where_nft_says_so():
    text = "# Warning: table ip filter is managed by iptables-nft, do not touch!\n" + ruleset(family="ip")
    assert [where.chain for where in of_text(text, "t.nft").unmodelled] == ["ip filter"]


def test_chains_of_other_hooks_and_families_are_named():
    text = """\
table bridge b {
\tchain c {
\t\ttype filter hook forward priority 0; policy accept;
\t\taccept
\t}
}
table netdev n {
\tchain empty {
\t\ttype filter hook ingress device "eth0" priority 0; policy accept;
\t}
}
table inet t {
\tchain early {
\t\ttype filter hook ingress device "eth0" priority 0; policy drop;
\t}
}
"""
    program = of_text(text, "t.nft")
    assert sorted(where.chain for where in program.unmodelled) == ["bridge b c", "inet t early"]
    assert not program.bases("input")


def test_translations_are_verdicts_of_nat_chains():
    text = """\
table inet t {
\tchain c {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\ttcp dport 80 dnat ip to 192.0.2.10:8080
\t\ttcp dport 80 dnat ip6 to [2001:db8::1]:8080
\t\ttcp dport 81 redirect to :8081
\t}
\tchain d {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname "eth0" masquerade
\t\tsnat ip to 192.0.2.1
\t}
}
"""
    program = of_text(text, "t.nft")
    assert [rule.action for rule in program.chains["inet t c"].rules] == [
        Verdict("dnat to 192.0.2.10:8080"),
        Verdict("dnat to [2001:db8::1]:8080"),
        Verdict("redirect to :8081"),
    ]
    first = program.chains["inet t c"].rules[0].guard
    assert not holds(first, V6 | {"l4proto": 6, "dport": 80}), "of its own family only"
    assert [rule.action.kind for rule in program.chains["inet t d"].rules] == [
        "masquerade",
        "snat to 192.0.2.1",
    ]


def test_a_mask_that_leaves_millions_of_intervals_is_opaque():
    rule = "ip saddr & 0.0.0.1 == 0.0.0.1"
    assert not matches(rule, V4 | {"saddr4": 3})
    assert matches(rule, V4 | {fields.opaque(rule): 1})
    assert not matches(rule, V6 | {fields.opaque(rule): 1})
