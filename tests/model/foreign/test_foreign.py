"""Rulesets in the shape of other programs': each is read whole, and says what it leaves open."""

from __future__ import annotations

import re
import time

import pytest

from fwpolicy.model import fields
from fwpolicy.model.iptables import merged, of_text
from fwpolicy.model.program import Program

from ..iptables.said import verdict
from . import kubernetes
from .reading import FILES, conditions, read, text

# (line, condition): free to hold or not.
FREE = {
    "docker.v4": [
        (29, "opaque:policy --dir in --pol none"),
        (29, "opaque:u32 0x0>>0x16&0x3c@0xc&0xffffff00=0x100100"),
    ],
    "docker.v6": [],
    "fail2ban.v4": [
        (14, "member:f2b-apache:saddr"),
        (16, "opaque:ip filter INPUT: recent --hitcount 4 --name SSH --seconds 60 --update"),
        (17, 'opaque:string --algo bm --string "GET /w00tw00t" --to 70'),
    ],
    "ferm.v6": [
        (12, "limit:ip6 filter INPUT: limit --limit 10/sec"),
        (15, "opaque:frag --fragmore"),
    ],
    "firewalld.v4": [
        (85, "member:blocked4:saddr"),
        (97, "limit:ip filter IN_public_allow: limit --limit 10/min"),
    ],
    "libvirt.v4": [(25, "opaque:physdev --physdev-is-bridged")],
    "shorewall.v4": [
        (19, "opaque:mark & 0xff == 0x0"),
        (20, "opaque:mark & 0xff == 0x0"),
        (55, "opaque:physdev --physdev-in eth2 --physdev-is-bridged --physdev-out eth3"),
        (79, "opaque:mac --mac-source 02:00:5e:10:00:01"),
        (81, "opaque:time --timestart 22:00:00 --timestop 06:00:00 --weekdays Mon,Tue,Wed,Thu,Fri"),
        (82, "limit:ip filter loc-net: connlimit --connlimit-above 3"),
        (83, "opaque:policy --dir out --mode tunnel --pol ipsec"),
        (92, "limit:ip filter net-fw: limit --limit 1/sec --limit-burst 4"),
        (93, "opaque:ctmark & 0xff == 0x2"),
    ],
    "ufw.v4": [
        (53, "limit:ip filter ufw-logging-deny: limit --limit 3/min --limit-burst 10"),
        (58, "limit:ip filter ufw-not-local: limit --limit 3/min --limit-burst 10"),
        (65, "opaque:ip filter ufw-user-input: recent --hitcount 6 --seconds 30 --update"),
    ],
    "ufw.v6": [(13, "opaque:rt --rt-type 0"), (26, "opaque:rt --rt-type 0")],
}
# (line, target): what it does to the packet, no condition sees.
UNMODELLED = {
    "docker.v4": [(15, "MARK")],
    "firewalld.v4": [(17, "MARK"), (31, "CT")],
    "shorewall.v4": [
        *((5, "CT"), (6, "CT"), (7, "CT"), (18, "CONNMARK"), (21, "MARK"), (24, "MARK"), (25, "CONNMARK")),
        (26, "CLASSIFY"),
    ],
}
DECIDES_NOTHING = re.compile(r"-j (?:LOG|NFLOG|CHECKSUM|TCPMSS)\b")


def unmodelled(program: Program) -> list[tuple[int, str]]:
    return [(where.line, where.text.partition(" -j ")[2].split()[0]) for where in program.unmodelled]


@pytest.mark.parametrize("name", FILES)
def test_what_is_left_open_is_named(name):
    program = read(name)
    assert conditions(program) == FREE[name]
    assert unmodelled(program) == UNMODELLED.get(name, [])


@pytest.mark.parametrize("name", FILES)
def test_no_rule_is_skipped(name):
    program = read(name)
    rules = {rule.where.line for chain in program.chains.values() for rule in chain.rules}
    kept = rules | {where.line for where in program.unmodelled}
    for number, line in enumerate(text(name).splitlines(), 1):
        added = re.match(r"(?:\[\d+:\d+\] )?-A ", line)
        if added and number not in kept:
            assert DECIDES_NOTHING.search(line) or not re.search(r" (?:-[jg]|--jump) ", line), line


@pytest.mark.parametrize("name", [name for name in FILES if name != "ferm.v6"])
def test_the_family_is_seen_by_its_first_line(name):
    assert of_text(text(name), name) == read(name)


def test_both_families_of_docker_in_one_program():
    program = merged([read("docker.v4"), read("docker.v6")])
    assert [chain.name for chain in program.bases("forward")] == [
        *("ip mangle FORWARD", "ip filter FORWARD", "ip6 filter FORWARD")
    ]


def test_docker_publishes_what_it_publishes():
    program = read("docker.v4")
    to = {"hook": "forward", "iif": "eth0", "oif": "docker0", "daddr": "172.17.0.2", "ctstate": "new"}
    there = {"daddrtype": "unicast", "origdaddr": "203.0.113.9"}
    # The raw table stops what was sent to the container's own address; DNAT comes after it, so the hooks see
    # one address there and another in FORWARD, and only the chain itself can be asked.
    assert verdict(program, **to, **there, dport=80) == "drop"
    program = Program({name: chain for name, chain in program.chains.items() if " raw " not in name})
    assert verdict(program, **to, **there, dport=80) == "accept"
    assert verdict(program, **to, **there, dport=81) == "drop"
    assert verdict(program, **to, **there, dport=80, origport=8080, ctdir=0) == "drop"
    assert verdict(program, **(to | {"iif": "br-5f1c2a77d9e0"}), **there, dport=80) == "drop"


def test_ufw_lets_in_what_its_user_said():
    program = read("ufw.v4")
    new = {"ctstate": "new"}
    assert verdict(program, **new, dport=443) == "accept"
    assert verdict(program, **new, dport=8080) == "reject:port-unreachable"
    assert verdict(program, **new, dport=139) == "drop"
    assert verdict(program, **new, l4proto="udp", dport=60500, saddr="10.20.0.1") == "accept"
    assert verdict(program, ctstate="invalid", dport=443) == "drop"
    assert verdict(program, **new, dport=443, daddrtype="unicast") == "drop"
    often = {FREE["ufw.v4"][2][1]: 1}
    assert [verdict(program, **new, dport=22, **more) for more in ({}, often)] == [
        *("accept", "reject:port-unreachable")
    ]


def test_firewalld_ends_in_the_zone_that_it_went_to():
    program = read("firewalld.v4")
    new = {"ctstate": "new"}
    assert verdict(program, **new, dport=22) == "accept"
    assert verdict(program, **new, dport=23) == "reject:host-prohibited"
    assert verdict(program, **new, dport=22, saddr="203.0.113.5") == "drop"
    assert verdict(program, **new, dport=22, **{fields.member("blocked4", "saddr"): 1}) == "drop"
    assert verdict(program, **new, dport=23, dnat=1) == "accept"
    assert verdict(program, **new, dport=8050, mark=0x64) == "accept"


def test_shorewall_and_ferm_to_the_end():
    program = read("shorewall.v4")
    assert verdict(program, ctstate="new", dport=1, tcpflags=0x29, iif="eth1") == "drop"
    assert verdict(program, ctstate="new", dport=22, iif="eth1", saddr="192.168.1.50") == "accept"
    assert verdict(program, ctstate="new", dport=22, iif="eth1", saddr="192.168.1.51") == "reject:tcp-reset"
    assert verdict(program, ctstate="new", dport=1, iif="eth7") == "reject:tcp-reset"
    program = read("ferm.v6")
    assert verdict(program, ctstate="new", dport=22, saddr="2001:db8:10::1") == "accept"
    assert verdict(program, ctstate="new", dport=22, saddr="2001:db8:11::1") == "reject:tcp-reset"
    assert verdict(program, ctstate="new", l4proto="udp", dport=22) == "reject:admin-prohibited"


def test_five_thousand_rules_of_kubernetes():
    saved = kubernetes.text(455)
    assert sum(line.startswith("-A ") for line in saved.splitlines()) > 5000
    begin = time.process_time()
    program = of_text(saved, "kubernetes.v4")
    assert time.process_time() - begin < 1
    dice = [field for _, field in conditions(program) if " statistic " in field]
    assert len(dice) == len(set(dice)) == 455 * 2
    marked = "opaque:mark & 0x4000 == 0x4000"
    assert {field for _, field in conditions(program)} - set(dice) == {
        *(marked, "opaque:ip filter KUBE-FORWARD: nfacct --nfacct-name ct_state_invalid")
    }
    assert [target for _, target in unmodelled(program)] == ["MARK", "MARK"]
    assert verdict(program, daddr="127.0.0.1", saddr="10.0.0.1", ctstate="new") == "drop"
    to_idle = {"hook": "forward", "oif": "eth1", "daddr": "10.96.9.9", "dport": 80, "ctstate": "new"}
    assert verdict(program, **to_idle) == "reject:port-unreachable"
    assert verdict(program, **to_idle, **{marked: 1}) == "accept"
