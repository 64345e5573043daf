"""Which connections a policy denies, flow by flow."""

from __future__ import annotations

import struct

import pytest

from fwpolicy.addresses import collect, parse
from fwpolicy.backends.nft.purged import SILENCE
from fwpolicy.deploy import flows as judging
from fwpolicy.deploy.flows import Scene, judge, losing_clients
from fwpolicy.deploy.purge import denies_anything, flow_text, graves, look
from fwpolicy.host.conntrack import DESTINATION_CHANGED, EXPECTED, OFFLOADED, Flow
from fwpolicy.host.netlink import NESTED, attribute
from fwpolicy.host.operator import Operator
from fwpolicy.host.routes import Link
from fwpolicy.record import replace
from tests.policy.reading import HEAD, read

HERE = collect(map(parse, ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1", "10.0.0.1")))
SCENE = Scene(HERE, collect([parse("192.0.2.255")]), {})
CLOSED = "input: {default: drop}\noutput: {default: drop}\nforward: {default: drop}\n"
MANY = 600  # more than are asked about one by one


class Ways:
    """Routes as a test has them; `kind`: of every interface."""

    def __init__(self, kind="", **names):
        self.names, self.kind = names, kind

    def to(self, wanted):
        return {each: self._link(each) for each in wanted}

    def _link(self, address):
        for name, prefix in self.names.items():
            _, first, last = parse(prefix.replace("_", "/"))
            if first <= address[1] <= last:
                return Link(name, self.kind)
        return None


def flow(source, destination, protocol=6, sport=40000, dport=80, **more):
    family, first, _ = parse(source)
    return Flow(family, protocol, first, parse(destination)[1], sport, dport, **more)


def condemned(text, *flows, scene=SCENE, servers=None):
    return judge(read(HEAD + text), flows, scene, servers).condemned


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("input: {default: drop, allow: [tcp/80]}\n", "output passing"),
        ("output: {default: drop, allow: [tcp/80]}\n", "input passing"),
        ("input: {default: drop}\n", "output passing"),
        ("output: {default: drop}\n", "input passing"),
        ("forward: {default: drop}\n", "input output"),
        ("roles: {ntp: client-only}\n", "input output passing"),
        (CLOSED, ""),
    ],
)
def test_each_hook_judges_its_own(text, kept, many):
    flows = {
        "input": flow("198.51.100.1", "192.0.2.1", dport=81),
        "output": flow("192.0.2.1", "198.51.100.1", dport=81),
        "passing": flow("198.51.100.1", "203.0.113.1", dport=81),
    }
    every = tuple(flows.values()) * (MANY if many else 1)
    gone = set(condemned(text, *every))
    assert {name for name, each in flows.items() if each not in gone} == set(kept.split())


def test_loopback_and_other_zones_are_nobodys_business():
    own = flow("192.0.2.1", "10.0.0.1")
    assert condemned(CLOSED, own, flow("127.0.0.1", "127.0.0.1")) == ()
    assert condemned(CLOSED, flow("198.51.100.1", "192.0.2.1", zone=5)) == ()


def test_what_calls_all_hosts_is_for_this_one_too():
    calls = [flow("192.0.2.9", each, 17) for each in ("192.0.2.255", "255.255.255.255", "224.0.0.251")]
    calls.append(flow("2001:db8::9", "ff02::fb", 17))
    assert condemned("input: {default: drop}\n", *calls) == tuple(calls)
    assert graves(calls[1:]) == {}


def test_a_redirected_flow_is_judged_where_it_goes_to():
    nat = "zones: {wan: eth0}\nnat: {forward: [{in: wan, service: tcp/443, to: 10.0.0.9, port: 8443}]}\n"
    there = parse("10.0.0.9")[1]
    redirected = flow(
        "198.51.100.1", "192.0.2.1", dport=443, end=there, end_port=8443, status=DESTINATION_CHANGED
    )
    direct = flow("198.51.100.1", "10.0.0.9", dport=8443)
    scene = replace(SCENE, routes=Ways(eth0="198.51.100.0/24", eth1="10.0.0.0/24"))
    assert condemned(f"{nat}forward: {{default: drop}}\n", redirected, direct, scene=scene) == (direct,)
    without = "input: {default: accept}\nforward: {default: drop}\n"
    assert condemned(without, redirected, scene=scene) == (redirected,)


def test_icmp_by_its_type():
    echo = flow("198.51.100.1", "192.0.2.1", 1, 0, 0, icmp_type=8)
    assert condemned("input: {default: drop}\n", echo) == (echo,)
    assert condemned("input: {default: drop, allow: [ping]}\n", echo) == ()
    assert graves([echo]) == {}
    assert flow_text(echo) == "icmp 198.51.100.1 -> 192.0.2.1"


def expected(of, **more):
    """A connection that another one expects: FTP's data."""
    ip = attribute(1, struct.pack("!I", of.source)) + attribute(2, struct.pack("!I", of.destination))
    ports = attribute(2, struct.pack("!H", of.sport)) + attribute(3, struct.pack("!H", of.dport))
    tuple_ = attribute(NESTED | 1, ip) + attribute(NESTED | 2, attribute(1, bytes([of.protocol])) + ports)
    return flow(
        "192.0.2.1", "198.51.100.1", sport=20, status=EXPECTED, entry=attribute(NESTED | 14, tuple_), **more
    )


def test_what_belongs_to_another_connection_lives_as_long_as_that():
    master = flow("198.51.100.1", "192.0.2.1", dport=21)
    data = expected(master)
    allowed = "input: {default: drop, allow: [ftp]}\noutput: {default: drop}\n"
    assert condemned(allowed, master, data) == ()
    assert condemned("input: {default: drop}\noutput: {default: drop}\n", master, data) == (master, data)


def test_a_limit_and_a_line_that_has_expired():
    one = flow("198.51.100.1", "192.0.2.1", dport=22)
    limited = "input: {default: drop, allow: [{service: ssh, limit: 1/minute}]}\n"
    assert condemned(limited, one) == ()
    expiring = "input: {default: drop, allow: [{service: ssh, expires: 2027-01-31}]}\n"
    policy = read(HEAD + expiring, now=0)
    until = policy.input.allow[0].expires
    for now, gone in ((until - 1, ()), (until, (one,))):
        assert judge(policy, [one], replace(SCENE, now=now), None).condemned == gone


def test_members_of_a_group_that_is_filled_at_run_time():
    text = "groups: {banned: {dynamic: 1h}}\ninput: {default: accept, block: [{from: banned}]}\n"
    banned, other = (flow(f"198.51.100.{last}", "192.0.2.1") for last in (1, 2))
    scene = replace(SCENE, members={"banned": collect([parse("198.51.100.1")])})
    assert condemned(text, banned, other, scene=scene) == (banned,)
    assert set(condemned(text, *(banned, other) * MANY, scene=scene)) == {banned}


ZONED = "zones: {wan: eth0, lan: eth1}\ninput: {default: drop, allow: [{service: http, in: lan}]}\n"


def test_the_interface_by_the_route_or_not_at_all():
    wan, lan, lost = (flow(f"{net}.1", "192.0.2.1") for net in ("198.51.100", "10.0.0", "203.0.113"))
    other = flow("203.0.113.1", "192.0.2.1", dport=81)
    wan = replace(wan, source=wan.source + 6)
    lan = replace(lan, source=lan.source + 6)
    scene = replace(SCENE, routes=Ways(eth0="198.51.100.0/24", eth1="10.0.0.0/24"))
    found = judge(read(HEAD + ZONED), [wan, lan, lost, other], scene, None)
    assert set(found.condemned) == {wan, other} and found.unsure == (lost,)
    assert judge(read(HEAD + ZONED), [wan, lan], SCENE, None).unsure == (wan, lan)


def test_what_a_bridge_passes_on_is_not_for_the_forward_hook():
    one = flow("10.1.0.2", "10.1.0.3")
    scene = replace(SCENE, bridged=True, routes=Ways("bridge", br0="10.1.0.0/24"))
    found = judge(read(HEAD + CLOSED), [one], scene, None)
    assert found.condemned == () and found.bridged == (one,)
    routed = replace(SCENE, bridged=True, routes=Ways("", eth0="10.1.0.0/24"))
    assert condemned(CLOSED, one, scene=routed) == (one,)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_operator_whoever_spoke_first(backwards):
    theirs = flow("198.51.100.1", "192.0.2.1", dport=22)
    if backwards:
        theirs = flow("192.0.2.1", "198.51.100.1", sport=22, dport=40000)
    other = flow("198.51.100.1", "192.0.2.1", dport=23)
    scene = replace(SCENE, operator=Operator("198.51.100.1", 22))
    found = judge(read(HEAD + CLOSED), [theirs, other], scene, None)
    assert (found.condemned, found.operators) == ((other,), (theirs,))
    assert "your own connection" in look(read(HEAD + CLOSED), scene, None, [theirs]).notes[0]


def test_offloaded_ones_are_named():
    one = flow("198.51.100.1", "203.0.113.1", status=OFFLOADED & -OFFLOADED)
    (note,) = look(read(HEAD + CLOSED), SCENE, None, [one]).notes
    assert note.startswith("1 connection is offloaded") and flow_text(one) in note


# The role ntp


def test_ntp_flows_of_the_host_itself():
    inward = flow("198.51.100.1", "192.0.2.1", 17, 4000, 123)
    answering = flow("192.0.2.1", "198.51.100.1", 17, 123, 4000)
    asking = flow("192.0.2.1", "198.51.100.9", 17, 123, 123)
    through = flow("198.51.100.1", "203.0.113.1", 17, 4000, 123)
    flows = (inward, answering, asking, through)
    assert condemned("roles: {ntp: client-only}\n", *flows) == (inward, answering)
    assert condemned("roles: {ntp: closed}\n", *flows) == (inward, answering, asking)
    server = "roles: {ntp: {mode: server, serve: 198.51.100.0/24}}\n"
    assert condemned(server, *flows) == ()
    stranger = flow("203.0.113.1", "192.0.2.1", 17, 4000, 123)
    assert condemned(server, stranger) == (stranger,)
    policy = read(f"{HEAD}roles: {{ntp: client-only}}\n")
    assert losing_clients(policy, flows, SCENE, None) == ((4, parse("198.51.100.1")[1]),)


def test_in_a_window_the_role_alone():
    asked = flow("198.51.100.1", "192.0.2.1", 17, 4000, 123)
    web = flow("198.51.100.1", "192.0.2.1")
    policy = read(f"{HEAD}roles: {{ntp: client-only}}\ninput: {{default: drop}}\n")
    assert look(policy, SCENE, None, [asked, web]).of_roles.condemned == (asked,)
    everything = look(policy, SCENE, None, [asked, web])
    assert everything.condemned == (asked, web) and everything.guarded == {asked}


def test_nothing_to_look_for():
    assert not denies_anything(read(f"{HEAD}zones: {{wan: eth0}}\nnat: {{masquerade: [{{out: wan}}]}}\n"))
    kept = read(f"{HEAD}{CLOSED}apply: {{conntrack: keep}}\n")
    assert look(kept, SCENE, None, [flow("198.51.100.1", "192.0.2.1")]).condemned == ()


def test_graves_are_dug_both_ways_and_for_what_translation_made():
    end, back = parse("10.0.0.9")[1], parse("10.0.0.1")[1]
    one = flow("198.51.100.1", "192.0.2.1", 17, 4000, 53, end=end, end_port=5353, back=back, back_port=6000)
    source, destination = one.source, one.destination
    found = graves([one])
    there = {
        *((source, 4000, end, 5353), (end, 5353, source, 4000)),
        *((source, 4000, destination, 53), (destination, 53, source, 4000)),
        *((end, 5353, back, 6000), (back, 6000, end, 5353)),
    }
    assert found == {(4, (17, *each)): SILENCE for each in there}


def test_many_flows_ask_few_questions(monkeypatch):
    asked = []
    decide = judging.decide
    monkeypatch.setattr(judging, "decide", lambda *all_: asked.append(1) or decide(*all_))
    lines = ", ".join(f"{{service: tcp/{port}, from: 10.{port}.0.0/16}}" for port in range(200))
    policy = read(f"{HEAD}input: {{default: drop, allow: [{lines}]}}\n".replace("tcp/0,", "tcp/999,"))
    flows = [flow(f"10.{n % 250}.{n // 250}.1", "192.0.2.1", dport=n % 7 + 1) for n in range(20_000)]
    found = judge(policy, flows, SCENE, None).condemned
    assert len(asked) < 2_000
    few = [each for each in flows[::997] if judge(policy, [each], SCENE, None).condemned]
    assert [each for each in flows[::997] if each in set(found)] == few
