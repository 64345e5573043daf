"""The evaluation table, packet by packet, for the keys beyond services and peers."""

from __future__ import annotations

import pytest

from fwpolicy.model.decide import decide
from fwpolicy.model.packet import parse_packet
from tests.policy.reading import HEAD, read

ZONES = 'zones: {wan: eth0, lan: [eth1, "wg*"]}\n'


def said(text: str, packet: str) -> str:
    decision = decide(read(HEAD + text), parse_packet(packet))
    return f"{decision.verdict} {decision.step}"


def check(text: str, table: str) -> None:
    for line in table.strip().splitlines():
        packet, _, expected = line.strip().partition(" -> ")
        assert said(text, packet) == expected, packet


def test_interfaces_by_name_and_by_the_beginning_of_one():
    check(
        ZONES + "input: {default: drop, allow: [{service: ssh, in: lan}]}\n"
        "output: {default: drop, allow: [{service: ssh, out: wan}]}\n",
        """
        input ssh from 10.0.0.1 in eth1 -> accept allow
        input ssh from 10.0.0.1 in wg0 -> accept allow
        input ssh from 10.0.0.1 in wg -> accept allow
        input ssh from 10.0.0.1 in eth10 -> drop default
        input ssh from 10.0.0.1 in eth0 -> drop default
        input ssh from 10.0.0.1 -> drop default
        input ssh from 10.0.0.1 in lo -> accept loopback
        output ssh to 10.0.0.1 out eth0 -> accept allow
        output ssh to 10.0.0.1 out eth1 -> drop default
        """,
    )


def test_source_ports_local_addresses_and_families():
    check(
        "input:\n  default: drop\n  allow:\n"
        "    - {service: udp/1024-65535, sport: [161, 1900-1901]}\n"
        "    - {service: https, local: [192.0.2.9, '2001:db8::9']}\n"
        "    - {service: http, family: ipv6}\n"
        "    - {service: smtp, except: {family: ipv4, service: smtp}}\n",
        """
        input udp/40000 from 10.0.0.1:161 -> accept allow
        input udp/40000 from 10.0.0.1:1901 -> accept allow
        input udp/40000 from 10.0.0.1:1902 -> drop default
        input https from 10.0.0.1 to 192.0.2.9 -> accept allow
        input https from 10.0.0.1 to 192.0.2.8 -> drop default
        input https from 2001:db8::1 to 2001:db8::9 -> accept allow
        input http from 10.0.0.1 -> drop default
        input http from 2001:db8::1 -> accept allow
        input smtp from 10.0.0.1 -> drop default
        input smtp from 2001:db8::1 -> accept allow
        """,
    )


def test_exceptions_have_every_key_of_their_section():
    check(
        ZONES + "forward:\n  default: drop\n  allow:\n    - service: tcp/1-65535\n      except:\n"
        "        - {in: wan, service: ssh}\n        - {from: 10.0.0.0/8, out: lan}\n"
        "        - {sport: 25, service: smtp}\n",
        """
        forward ssh from 192.0.2.1 to 192.0.2.2 in eth0 -> drop default
        forward ssh from 192.0.2.1 to 192.0.2.2 in eth1 -> accept allow
        forward http from 192.0.2.1 to 192.0.2.2 in eth0 -> accept allow
        forward http from 10.0.0.1 to 192.0.2.2 out wg7 -> drop default
        forward http from 10.0.0.1 to 192.0.2.2 out eth0 -> accept allow
        forward smtp from 192.0.2.1:25 to 192.0.2.2 -> drop default
        forward smtp from 192.0.2.1:26 to 192.0.2.2 -> accept allow
        """,
    )


def test_forward_knows_neither_loopback_nor_roles_and_few_essentials():
    check(
        ZONES + "roles: {ntp: client-only}\n"
        "forward: {default: reject, allow: [{in: lan, out: wan}], block: [{service: telnet}]}\n",
        """
        forward ntp from 10.0.0.1 to 192.0.2.1 in eth1 out eth0 mode 6 -> accept allow
        forward ntp from 192.0.2.1 to 10.0.0.1 in eth0 out eth1 -> reject default
        forward telnet from 10.0.0.1 to 192.0.2.1 in eth1 out eth0 -> drop block
        forward icmp/3 from 192.0.2.1 to 10.0.0.1 -> accept essential
        forward icmp/8 from 192.0.2.1 to 10.0.0.1 -> reject default
        forward icmpv6/2 from 2001:db8::1 to 2001:db8::2 -> accept essential
        forward icmpv6/135 from 2001:db8::1 to 2001:db8::2 -> reject default
        forward udp/68 from 10.0.0.1:67 to 192.0.2.1 -> reject default
        forward ssh from 192.0.2.1 to 10.0.0.1 state established -> accept established
        forward ssh from 10.0.0.1 to 192.0.2.1 in eth1 out eth0 state invalid -> drop invalid
        forward ssh from 10.0.0.1 to 192.0.2.1 in eth1 out eth0 state untracked -> accept allow
        """,
    )
    assert said("roles: {ntp: closed}\n", "forward ntp from 10.0.0.1 to 10.0.0.2") == "undecided default"


NAT = (
    ZONES + "forward: {default: drop, block: [{from: 203.0.113.0/24}]}\n"
    "nat: {forward: [{in: wan, service: https, to: 192.168.1.10, port: 8443},"
    " {in: wan, service: tcp/6000-6009, to: 192.168.1.11, from: 198.51.100.0/24, hairpin: true}]}\n"
)


def test_a_port_forward_allows_its_own_redirected_flows_only():
    check(
        NAT,
        """
        forward tcp/8443 from 192.0.2.1 to 192.168.1.10 in eth0 published 443 -> accept allow
        forward tcp/8443 from 192.0.2.1 to 192.168.1.10 in eth1 published 443 -> drop default
        forward tcp/8443 from 192.0.2.1 to 192.168.1.10 in eth0 -> drop default
        forward tcp/8443 from 192.0.2.1 to 192.168.1.10 in eth0 published 80 -> drop default
        forward tcp/443 from 192.0.2.1 to 192.168.1.10 in eth0 published 443 -> drop default
        forward tcp/8443 from 192.0.2.1 to 192.168.1.12 in eth0 published 443 -> drop default
        forward udp/8443 from 192.0.2.1 to 192.168.1.10 in eth0 published 443 -> drop default
        forward tcp/8443 from 192.0.2.1 to 192.168.1.10 in eth0 published 443 state untracked -> drop default
        forward tcp/8443 from 203.0.113.5 to 192.168.1.10 in eth0 published 443 -> drop block
        forward tcp/6004 from 198.51.100.1 to 192.168.1.11 in eth1 published 6004 -> accept allow
        forward tcp/6004 from 192.0.2.1 to 192.168.1.11 in eth0 published 6004 -> drop default
        """,
    )


PUBLISHED = (
    "groups: {admin: 10.0.0.0/8}\n"
    "input: {default: drop, allow: [{service: tcp/8080, published: true, from: admin}],"
    " block: [{service: tcp/5432, published: true, except: {from: admin}}]}\n"
)


def test_published_is_the_port_that_a_stranger_asks_for():
    check(
        PUBLISHED + "forward: {default: drop}\n",
        """
        input tcp/8080 from 10.0.0.1 -> accept allow
        input tcp/80 from 10.0.0.1 published 8080 -> accept allow
        input tcp/8080 from 10.0.0.1 published 80 -> drop default
        input tcp/8080 from 10.0.0.1 published 80 state untracked -> accept allow
        forward tcp/80 from 10.0.0.1 to 172.17.0.2 published 8080 -> accept allow
        forward tcp/80 from 192.0.2.1 to 172.17.0.2 published 8080 -> drop default
        forward tcp/8080 from 10.0.0.1 to 172.17.0.2 -> drop default
        forward tcp/5432 from 192.0.2.1 to 172.17.0.2 published 5432 -> drop block
        """,
    )


def test_a_published_line_counts_where_the_policy_has_no_forward():
    check(
        PUBLISHED,
        """
        forward tcp/5432 from 192.0.2.1 to 172.17.0.2 published 5432 -> drop block
        forward tcp/5432 from 10.0.0.1 to 172.17.0.2 published 5432 -> undecided default
        forward tcp/5432 from 192.0.2.1 to 172.17.0.2 published 5432 state established -> undecided default
        forward tcp/5432 from 192.0.2.1 to 172.17.0.2 -> undecided default
        forward tcp/80 from 192.0.2.1 to 172.17.0.2 published 8080 -> undecided default
        """,
    )


def test_time_is_a_field_cut_at_the_dates():
    check(
        "input: {default: accept, block: [{from: 203.0.113.0/24, expires: 2027-01-31}]}\n",
        """
        input ssh from 203.0.113.1 -> drop block
        input ssh from 203.0.113.1 at 2027-01-31 -> drop block
        input ssh from 203.0.113.1 at 2027-02-01 -> accept default
        """,
    )


def test_limits_are_unspent_unless_the_packet_says_so():
    check(
        "input: {default: drop,"
        " allow: [{service: [ssh, http], limit: 3/minute}, http, {service: dns, max: 9}]}\n",
        """
        input ssh from 10.0.0.1 -> accept allow
        input ssh from 10.0.0.1 limits spent -> drop default
        input http from 10.0.0.1 limits spent -> accept allow
        input udp/53 from 10.0.0.1 limits spent -> drop default
        """,
    )


def test_dynamic_groups_have_the_members_that_the_packet_names():
    check(
        "groups: {banned: {dynamic: 1h}, bad: [banned, 192.0.2.1], friend: {dynamic: 0}}\n"
        "input: {default: accept, block: [{from: bad, except: {from: friend}}]}\n"
        "output: {default: accept, block: [{to: banned}]}\n",
        """
        input ssh from 192.0.2.1 -> drop block
        input ssh from 192.0.2.2 -> accept default
        input ssh from 192.0.2.2 source-in banned -> drop block
        input ssh from 192.0.2.2 source-in banned,friend -> accept default
        input ssh from 192.0.2.2 source-in friend -> accept default
        output ssh to 192.0.2.2 -> accept default
        output ssh to 192.0.2.2 destination-in banned -> drop block
        output ssh to 192.0.2.2 destination-in friend -> accept default
        """,
    )


@pytest.mark.parametrize("family", ["10.0.0.1", "2001:db8::1"])
def test_a_dynamic_group_has_both_families(family):
    text = "groups: {banned: {dynamic: 1h}}\ninput: {default: accept, block: [{from: banned}]}\n"
    assert said(text, f"input ssh from {family} source-in banned") == "drop block"
