"""Each trap of iptables' semantics, with the packet that a wrong reading would get wrong."""

from __future__ import annotations

import pytest

from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.iptables import merged, of_text
from fwpolicy.model.iptables.basics import masked

from .said import matches, packet, program, save, verdict

NO_CONNECTION = ("invalid", "untracked")


@pytest.mark.parametrize(
    "target", ["LOG --log-prefix x", "NFLOG --nflog-group 1", "AUDIT --type drop", "TRACE"]
)
def test_what_only_logs_goes_on(target):
    assert verdict(program(f"-j {target}", "-j DROP")) == "drop"


def test_a_rule_without_a_target_goes_on():
    assert verdict(program("-p tcp", "-j DROP")) == "drop"


@pytest.mark.parametrize(
    ("family", "option", "kind"),
    [
        (4, "", "port-unreachable"),
        (6, "", "port-unreachable"),
        (4, "--reject-with icmp-admin-prohibited", "admin-prohibited"),
        (4, "--reject-with icmp-proto-unreachable", "prot-unreachable"),
        (6, "--reject-with icmp6-adm-prohibited", "admin-prohibited"),
        (6, "--reject-with icmp6-addr-unreachable", "addr-unreachable"),
        (4, "--reject-with tcp-reset", "tcp-reset"),
    ],
)
def test_reject_is_final_and_has_a_kind(family, option, kind):
    assert verdict(program(f"-p tcp -j REJECT {option}", "-j ACCEPT", family=family)) == f"reject:{kind}"


def test_return_in_a_base_chain_is_its_policy():
    rules = program("-p tcp -j RETURN", "-j ACCEPT", policy="DROP")
    assert verdict(rules) == "drop"
    assert verdict(rules, l4proto="udp") == "accept"


def test_return_in_a_chain_goes_back_and_its_end_too():
    rules = program("-j a", "-j DROP", "-A a -p tcp -j RETURN", "-A a -p udp -j ACCEPT", chains="a")
    assert [verdict(rules, l4proto=name) for name in ("tcp", "udp", "icmp")] == ["drop", "accept", "drop"]


def test_goto_does_not_come_back():
    rules = program("-p tcp -g a", "-j DROP", "-A a -p udp -j DROP", chains="a")
    assert verdict(rules) == "accept"
    assert verdict(rules, l4proto="udp") == "drop"


def test_goto_from_a_chain_that_was_jumped_to_returns_to_the_jump():
    rules = program("-j a", "-j DROP", "-A a -g b", "-A a -j ACCEPT", "-A b -p udp -j ACCEPT", chains="a b")
    assert verdict(rules) == "drop"
    assert verdict(rules, l4proto="udp") == "accept"


def test_accept_in_one_table_does_not_end_the_others():
    raw = save("-A PREROUTING -j ACCEPT", table="raw")
    security = save("-A INPUT -p udp -j DROP").replace("*filter", "*security")
    rules = of_text(raw + save("-j ACCEPT") + security, "f", 4)
    assert verdict(rules) == "accept"
    assert verdict(rules, l4proto="udp") == "drop"
    assert [chain.name for chain in rules.bases("input")] == ["ip filter INPUT", "ip security INPUT"]


def test_a_plus_is_a_prefix_and_alone_is_anything():
    assert matches("-i eth+", iif="eth0")
    assert matches("-i eth+", iif="eth")
    assert not matches("-i eth+", iif="et")
    assert not matches("-i eth", iif="eth0")
    assert matches("-i +", iif="ppp0")
    assert matches("-i +", hook="output")
    assert not matches("! -i +", iif="ppp0")


def test_not_an_interface_holds_where_there_is_none():
    assert matches("! -i eth0", hook="output")


def test_a_name_that_ends_in_a_star_is_no_prefix():
    assert not matches("-i eth*", iif="eth0")


@pytest.mark.parametrize(
    ("sport", "dport", "expected"),
    [
        (80, 9, True),
        (9, 80, True),
        (80, 80, True),
        (9, 9, False),
        (1500, 9, True),
        (9, 2000, True),
        (9, 2001, False),
    ],
)
def test_multiport_ports_is_source_or_destination(sport, dport, expected):
    rule = "-p tcp -m multiport {} --ports 80,1000:2000"
    assert matches(rule.format(""), sport=sport, dport=dport) is expected
    assert matches(rule.format("!"), sport=sport, dport=dport) is not expected


def test_a_negated_port_still_needs_protocol_and_header():
    for rule in ("-p udp ! --dport 53", "-p udp -m multiport ! --ports 53,54", "-p udp -m udp"):
        assert matches(rule, l4proto="udp", dport=80)
        assert not matches(rule, l4proto="tcp", dport=80)
        assert not matches(rule, l4proto="udp", dport=80, th=0, fragment=1)
    assert matches("-p udp", l4proto="udp", th=0, fragment=1)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [(":1024", (0, 1024), (1025,)), ("1024:", (1024, 65535), (1023,)), ("ssh", (22,), (21, 23))],
)
def test_ports_with_an_open_end_and_by_name(text, inside, outside):
    assert all(matches(f"-p tcp --dport {text}", dport=port) for port in inside)
    assert not any(matches(f"-p tcp --dport {text}", dport=port) for port in outside)
    assert all(matches(f"-p tcp ! --sport {text}", sport=port) for port in outside)


def test_state_is_ctstate():
    for state in fields.STATES:
        for option in ("-m state --state", "-m conntrack --ctstate"):
            assert matches(f"{option} NEW,RELATED", ctstate=state) is (state in ("new", "related"))
        assert matches("-m state ! --state NEW,RELATED", ctstate=state) is (state not in ("new", "related"))


def test_a_state_that_is_a_translation():
    assert matches("-m conntrack --ctstate DNAT", ctstate="new", dnat=1)
    assert not matches("-m conntrack --ctstate DNAT", ctstate="new", snat=1)
    assert matches("-m conntrack --ctstate RELATED,DNAT", ctstate="related")
    assert matches("-m conntrack ! --ctstate DNAT", ctstate="invalid")


@pytest.mark.parametrize("state", NO_CONNECTION)
def test_without_a_connection_only_the_state_is_asked(state):
    """conntrack_mt: `if (ct == NULL) return info->match_flags & XT_CONNTRACK_STATE`."""
    assert matches("-m conntrack --ctstate INVALID,UNTRACKED --ctproto udp", ctstate=state, l4proto="tcp")
    assert not matches("-m conntrack --ctproto tcp", ctstate=state)
    assert not matches("-m conntrack ! --ctproto udp", ctstate=state)
    assert not matches("-m conntrack ! --ctorigdst 10.0.0.0/8", ctstate=state)
    assert not matches("-m connmark ! --mark 5", ctstate=state)


def test_what_a_connection_was_before_its_translation():
    there = {"ctstate": "established", "origdaddr": "10.0.0.9", "origport": 80}
    assert matches("-m conntrack --ctorigdst 10.0.0.0/8 --ctorigdstport 80", **there)
    assert not matches("-m conntrack --ctorigdst 10.0.0.0/8 ! --ctorigdstport 80", **there)
    assert not matches("-m conntrack --ctdir REPLY", ctdir=0, **there)
    assert matches("-m conntrack --ctdir REPLY", ctdir=1, **there)
    assert matches("-m connmark ! --mark 5", ctmark=4, **there)


def test_a_status_is_one_of_its_bits():
    found = {"ctstate": "new", "opaque:conntrack ctstatus ASSURED": 1}
    assert matches("-m conntrack --ctstatus EXPECTED,ASSURED", **found)
    assert not matches("-m conntrack ! --ctstatus EXPECTED,ASSURED", **found)
    assert not matches("-m conntrack --ctstatus NONE", **found)


def test_an_icmp_error_is_of_the_connection_that_it_is_about():
    error = {"ctstate": "related", "l4proto": "icmp"}
    assert matches("-m conntrack --ctproto tcp", **error, **{"opaque:conntrack ctproto 6": 1})
    assert not matches("-m conntrack --ctproto icmp", **error)
    assert matches("-m conntrack --ctproto tcp", ctstate="related")


@pytest.mark.parametrize(
    ("option", "kind", "code", "expected"),
    [
        ("3/4", 3, 4, True),
        ("3/4", 3, 3, False),
        ("fragmentation-needed", 3, 4, True),
        ("3", 3, 9, True),
        ("any", 200, 9, True),
        ("255", 200, 9, True),
        ("echo-request", 8, 0, True),
        ("echo-request", 0, 0, False),
        ("TOS-network-redirect", 5, 2, True),
    ],
)
def test_icmp_types(option, kind, code, expected):
    here = {"l4proto": "icmp", "icmptype": kind, "icmpcode": code}
    assert matches(f"-p icmp --icmp-type {option}", **here) is expected
    assert matches(f"-p icmp ! --icmp-type {option}", **here) is not expected
    assert not matches(f"-p icmp ! --icmp-type {option}", **(here | {"l4proto": "tcp"}))
    assert not matches(f"-p icmp --icmp-type {option}", **(here | {"th": 0}))


def test_icmpv6_types():
    here = {"family": 6, "l4proto": "icmpv6", "icmptype": 135, "icmpcode": 0}
    for option in ("135", "neighbour-solicitation", "neighbor-solicitation", "135/0"):
        assert matches(f"-p ipv6-icmp -m icmp6 --icmpv6-type {option}", **here)
    assert not matches("-p icmpv6 --icmpv6-type 255", **here)


def test_syn_is_four_flags():
    for rule in ("--syn", "--tcp-flags FIN,SYN,RST,ACK SYN"):
        for flags, expected in ((2, True), (0x0A, True), (0xC2, True), (0x12, False), (3, False), (6, False)):
            assert matches(f"-p tcp {rule}", tcpflags=flags) is expected
            assert matches(f"-p tcp ! {rule}", tcpflags=flags) is not expected


def test_flags_all_none_and_impossible():
    assert matches("-p tcp --tcp-flags ALL NONE", tcpflags=0xC0)
    assert not matches("-p tcp --tcp-flags ALL NONE", tcpflags=1)
    assert matches("-p tcp --tcp-flags ALL ALL", tcpflags=0x3F)
    assert not any(matches("-p tcp --tcp-flags SYN ACK", tcpflags=flags) for flags in range(256))


def test_fragments():
    assert matches("-f", fragment=1)
    assert not matches("-f", fragment=0)
    assert matches("! -f", fragment=0)
    with pytest.raises(ValueError, match="ip6tables has no '-f'"):
        program("-f -j DROP", family=6)


def test_addresses_and_masks():
    assert matches("-s 10.0.0.0/8", saddr="10.255.0.1")
    assert matches("! -s 10.0.0.0/8", saddr="11.0.0.1")
    assert matches("-s 10/8", saddr="10.255.0.1")
    assert matches("-s 10.9.8.7/255.0.0.0", saddr="10.255.0.1")
    assert matches("-d 10.0.1.0/255.0.255.0", daddr="10.77.1.9")
    assert not matches("-d 10.0.1.0/255.0.255.0", daddr="10.77.2.9")
    assert matches("-s 0.0.0.0/0", saddr="1.1.1.1")
    assert not matches("! -s 0.0.0.0/0", saddr="1.1.1.1")
    assert matches("-s 2001:db8::/32", family=6, saddr="2001:db8:9::1")
    assert matches("-s 10.0.0.1,192.0.2.1", saddr="192.0.2.1")


def test_a_mask_with_too_many_holes_is_a_condition_of_its_own():
    rules = program("-d 0.0.0.1/0.0.0.255 -j DROP")
    assert verdict(rules, daddr="1.2.3.1") == "accept"
    assert verdict(rules, **{"opaque:daddr4 & 0.0.0.255 == 0.0.0.1": 1}) == "drop"


def test_ranges_of_addresses():
    rule = "-m iprange --src-range 10.0.0.5-10.0.0.7 ! --dst-range 192.0.2.1-192.0.2.9"
    assert matches(rule, saddr="10.0.0.7", daddr="192.0.2.10")
    assert not matches(rule, saddr="10.0.0.8", daddr="192.0.2.10")
    assert not matches(rule, saddr="10.0.0.7", daddr="192.0.2.9")


def test_types_of_addresses():
    assert matches("-m addrtype --dst-type LOCAL,BROADCAST", daddrtype="broadcast")
    assert matches("-m addrtype ! --src-type LOCAL", saddrtype="unicast")
    assert not matches("-m addrtype --dst-type LOCAL --limit-iface-in", daddrtype="local")
    assert matches("-m addrtype --dst-type LOCAL --limit-iface-in", daddrtype_iif="local")


def test_ipv6_asks_the_address_and_two_types_at_once():
    """match_type6: each of multicast, unicast and unspecified must hold; IPv4 takes one of the types."""
    here = {"family": 6, "daddr": "ff02::1", "daddrtype": "local"}
    assert matches("-m addrtype --dst-type MULTICAST", **here)
    assert not matches("-m addrtype --dst-type UNICAST", **here)
    assert not matches("-m addrtype --dst-type MULTICAST,UNICAST", **here)
    assert matches("-m addrtype --dst-type UNICAST", family=6, daddr="2001:db8::1", daddrtype="local")
    assert matches("-m addrtype --dst-type UNICAST,LOCAL", family=6, daddr="2001:db8::1", daddrtype="local")
    assert not matches(
        "-m addrtype --dst-type UNICAST,LOCAL", family=6, daddr="2001:db8::1", daddrtype="unicast"
    )
    with pytest.raises(ValueError, match="no addresses of type 'broadcast'"):
        program("-m addrtype --dst-type BROADCAST -j DROP", family=6)


def test_types_of_packets():
    assert matches("-m pkttype --pkt-type multicast", pkttype="multicast")
    assert matches("-m pkttype ! --pkt-type unicast", pkttype="broadcast")
    assert not matches("-m pkttype ! --pkt-type unicast", pkttype="host")


def test_marks_with_masks():
    assert matches("-m mark --mark 0x5/0xff", mark=0x5, **{"opaque:mark & 0xff == 0x5": 1})
    assert matches("-m mark --mark 5", mark=5)
    assert matches("-m mark ! --mark 5", mark=6)
    assert matches("-m mark --mark 0xff00/0xff00ffff", mark=0x33FF00)
    assert not matches("-m mark --mark 0x1/0x2", mark=1)


def test_nobody_owns_what_no_socket_sent():
    assert matches("-m owner --uid-owner 0", hook="output", skuid=0)
    assert not matches("-m owner --uid-owner 0", hook="output")
    assert matches("-m owner ! --uid-owner 0", hook="output")
    assert not matches("-m owner ! --uid-owner 0 --gid-owner 5", hook="output")
    assert matches("-m owner --uid-owner 1000-1999 ! --gid-owner 5", hook="output", skuid=1999, skgid=6)
    assert not matches("-m owner --socket-exists", hook="output")
    assert matches("-m owner ! --socket-exists", hook="output")


def test_numbers_of_the_header():
    assert matches("-m ttl --ttl-lt 64", ttl=63)
    assert not matches("-m ttl --ttl-lt 64", ttl=64)
    assert matches("-m ttl --ttl-gt 64", ttl=65)
    assert matches("-m hl ! --hl-eq 64", family=6, ttl=65)
    assert matches("-m dscp --dscp 0x2e", dscp=46)
    assert matches("-m dscp ! --dscp-class AF11", dscp=46)
    assert matches("-m tos --tos 0xb8/0xfc", dscp=46)
    assert matches("-m length --length 100:200", length=200)
    assert matches("-m length ! --length 100:200", length=201)
    assert not matches("-m ttl --ttl-lt 0", ttl=0)


NTP = "-p udp --dport 123 -m u32 {} --u32 0x0>>0x16&0x3c@0x8>>0x18&0x7=0x3:0x4,0x6"


@pytest.mark.parametrize("mode", range(9))
def test_the_mode_of_ntp(mode):
    here = {"l4proto": "udp", "dport": 123, "ntpmode": mode}
    assert matches(NTP.format(""), **here) is (mode in (3, 4, 6))
    assert matches(NTP.format("!"), **here) is (mode not in (3, 4, 6))


def test_members_of_a_set():
    assert matches("-m set --match-set bad src", **{fields.member("bad", "saddr"): 1})
    assert matches("-m set ! --match-set bad dst", **{fields.member("bad", "saddr"): 1})
    assert matches("-m set --match-set bad src,dst", **{fields.opaque("set bad src,dst"): 1})
    assert matches("-m set --match-set bad src ! --update-counters", **{fields.member("bad", "saddr"): 1})


def test_dates():
    rule = "-m time --datestart 2024-01-01T00:00:00 --datestop 2024-12-31"
    assert [matches(rule, time=second) for second in (1704067199, 1704067200, 1735603200, 1735603201)] == [
        *(False, True, True, False)
    ]
    monday = {fields.opaque("time --weekdays Mon"): 1}
    assert matches("-m time --datestop 2024 --weekdays Mon", time=0, **monday)
    assert not matches("-m time --datestop 2024 --weekdays Mon", time=0)
    assert not matches("-m time --datestop 2024 --weekdays Mon", time=1704067201, **monday)


def test_a_rule_with_a_time_ends_in_2038():
    """iptables-extensions(8): without --datestop it is 2038-01-19."""
    assert matches("-m time --datestart 2024-01-01", time=(1 << 31) - 1)
    assert not matches("-m time --datestart 2024-01-01", time=1 << 31)


def test_a_limit_is_one_limiter_for_each_rule():
    limit = "-p {} -m limit --limit 5/sec -j ACCEPT"
    rules = program(limit.format("tcp"), limit.format("udp"), policy="DROP")
    first = fields.limiter("ip filter INPUT: limit --limit 5/sec")
    assert verdict(rules, **{first: 1}) == "accept"
    assert verdict(rules, l4proto="udp", **{first: 1}) == "drop"
    assert verdict(rules, l4proto="udp", **{first + " #2": 1}) == "accept"


@pytest.mark.parametrize(
    ("option", "room"),
    [
        ("connlimit --connlimit-upto 5", 1),
        ("connlimit --connlimit-above 5", 0),
        ("connlimit ! --connlimit-above 5", 1),
        ("hashlimit --hashlimit-name a --hashlimit-above 5/sec", 0),
        ("hashlimit --hashlimit-name a --hashlimit-upto 5/sec", 1),
    ],
)
def test_above_a_limit_is_where_no_room_is_left(option, room):
    rules = program(f"-m {option} -j DROP")
    (rule,) = rules.chains["ip filter INPUT"].rules
    name = next(part for part in repr(rule.guard).split("'") if part.startswith("limit:"))
    assert verdict(rules, **{name: room}) == "drop"
    assert verdict(rules, **{name: 1 - room}) == "accept"


def test_two_rules_that_throw_dice_throw_two():
    rules = program(*["-m statistic --mode random --probability 0.5 -j a"] * 2, "-A a -j DROP", chains="a")
    second = "opaque:ip filter INPUT: statistic --mode random --probability 0.5 #2"
    assert verdict(rules, **{second: 1}) == "drop"


def test_the_unknown_is_opaque_and_equal_to_the_same_text_in_any_order():
    one = program("-m policy --dir in --pol ipsec --mode tunnel -j DROP")
    other = program("-m policy --mode tunnel --pol ipsec --dir in -j DROP")
    negated = program("-m policy --dir in --pol ipsec ! --mode tunnel -j DROP")
    guards = [rules.chains["ip filter INPUT"].rules[0].guard for rules in (one, other, negated)]
    assert guards[0] == guards[1] != guards[2]


def test_a_comment_is_no_condition_and_no_origin():
    (rule,) = (
        program('-m comment --comment "-j ACCEPT, \\"so\\"" -p tcp -j DROP').chains["ip filter INPUT"].rules
    )
    assert rule.origin is None
    assert verdict(program("-m comment --comment --dport -j DROP")) == "drop"


def test_the_rules_of_both_families_in_one_program():
    both = merged([program("-p tcp -j DROP"), program("-p udp -j DROP", family=6)])
    kinds = [
        decide(both, "input", packet(family, l4proto=name))[0].kind
        for family in (4, 6)
        for name in ("tcp", "udp")
    ]
    assert kinds == ["drop", "accept", "accept", "drop"]
    with pytest.raises(ValueError, match="in two of the texts"):
        merged([program(), program()])


def test_every_mask_of_eight_bits():
    for mask in range(256):
        for value in range(0, 256, 7):
            found = masked(8, value, mask)
            assert found is not None
            inside = {number for first, last in found for number in range(first, last + 1)}
            assert inside == {number for number in range(256) if number & mask == value}


def test_a_log_that_uses_up_a_limit_that_decides_is_named():
    limit = "-m hashlimit --hashlimit-upto 5/sec --hashlimit-name {}"
    log = limit.format("a") + " -j LOG"
    named = program(log, limit.format("a") + " -j DROP").unmodelled
    assert [where.text for where in named] == [f"-A INPUT {log}"]
    assert not program(log, limit.format("b") + " -j DROP").unmodelled


def test_rules_that_say_one_name_share_a_hashlimit():
    limit = "-p {} -m hashlimit --hashlimit-upto 5/sec --hashlimit-name a -j ACCEPT"
    rules = program(limit.format("tcp"), limit.format("udp"), policy="DROP")
    field = fields.limiter("ip hashlimit a: hashlimit --hashlimit-name a --hashlimit-upto 5/sec")
    assert {verdict(rules, l4proto=name, **{field: 1}) for name in ("tcp", "udp")} == {"accept"}
    assert {verdict(rules, l4proto=name, **{field: 0}) for name in ("tcp", "udp")} == {"drop"}


HASH = "hashlimit --hashlimit-name a --hashlimit-upto"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("limit --limit 120/minute --limit-burst 7", "rate 120/minute burst 7"),
        ("connlimit ! --connlimit-above 9 --connlimit-mask 32", "count 9 per ipv4 source"),
        ("connlimit --connlimit-upto 9", "count 9 per ipv4 source"),
        ("connlimit --connlimit-upto 9 --connlimit-mask 0", "count 9"),
        ("connlimit --connlimit-upto 9 --connlimit-mask 24", None),
        ("connlimit --connlimit-upto 9 --connlimit-daddr", None),
        (f"{HASH} 9/min --hashlimit-htable-expire 60000", "rate 9/minute burst 5"),
        (f"{HASH} 2/min --hashlimit-htable-expire 60000", None),
        (f"{HASH} 9/sec --hashlimit-mode srcip", "rate 9/second burst 5 per ipv4 source"),
        (f"{HASH} 9/sec --hashlimit-mode srcip,dstip", None),
        (f"{HASH} 9/sec --hashlimit-mode srcip --hashlimit-srcmask 24", None),
        ("hashlimit --hashlimit-above 9/sec --hashlimit-name a", None),
    ],
)
def test_what_a_limiter_lets_through_in_a_policys_words(option, says):
    """A source that is forgotten before its burst is full again gets more than the rate."""
    assert list(program(f"-m {option} -j DROP").limiters.values()) == ([says] if says else [])


NTP6 = "-p udp --dport 123 -m u32 --u32 {} -j DROP"


@pytest.mark.parametrize(
    ("test", "modes"),
    [
        ("4>>8&0xFF=17&&48>>24&0x07=4", {4}),
        ("0x4>>0x8&0xff=0x11&&0x30>>0x18&0x7=0x0:0x3,0x5", {0, 1, 2, 3, 5}),
    ],
)
def test_the_ntp_mode_over_ipv6(test, modes):
    rules = program(NTP6.format(f'"{test}"'), family=6)
    dropped = {m for m in range(9) if verdict(rules, l4proto="udp", dport=123, ntpmode=m) == "drop"}
    assert dropped == modes


@pytest.mark.parametrize("test", ["48>>24&0x07=4", "4>>8&0xFF=6&&48>>24&0x07=4"])
def test_a_mode_read_where_another_header_may_be_is_opaque(test):
    (rule,) = program(NTP6.format(f'"{test}"'), family=6).chains["ip6 filter INPUT"].rules
    assert "opaque:u32" in repr(rule.guard) and "ntpmode" not in repr(rule.guard)


def test_ah_in_ipv6_is_found_by_its_match_only():
    """`-p ah` is AH to iptables-nft, and never is to ip6tables-legacy: who knows which reads these rules?"""
    assert matches("-m ah", family=6, l4proto=51) and not matches("-m ah", family=6)
    assert matches("-p ah", family=4, l4proto=51)
    unsure = {fields.opaque("-p ah"): 1}
    assert [matches("-p ah", family=6, l4proto=51, **more) for more in (unsure, {})] == [True, False]
    assert [matches("! -p ah", family=6, l4proto=51, **more) for more in (unsure, {})] == [False, True]
    assert not matches("-p ah", family=6, **unsure) and matches("! -p ah", family=6, **unsure)
