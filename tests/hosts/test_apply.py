"""One policy a host, and refusals that leave everything as it was: booted hosts with a wide-open chronyd."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, outside
from ..lab.daemons import DAEMONS
from .listening import Asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

CHRONY = DAEMONS["chrony"]
WEB = "/root/web.yaml"
WEB_POLICY = """\
version: 1
name: web
input:
  default: drop
  allow: [ssh, tcp/8080]
"""
CLIENT = "version: 1\nname: {name}\nroles: {{ntp: client-only}}\napply: {apply}\n"
TRACKING = """
table inet site {
    chain traffic {
        type filter hook input priority 5; policy accept;
        ct state established accept
        tcp dport 25 drop
    }
}
"""
# Takes everything, whatever we allow.
DEAF = """
table inet deaf { chain ears { type filter hook input priority 20; policy drop; }; }
"""


@pytest.fixture
def host(place: Lab, clock: TimeServer) -> Iterator[Host]:
    with place.host("target", 1, "chrony") as host:
        CHRONY.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        host.start()
        yield host


def look(host: Host) -> guest.Found:
    return guest.look(host, CHRONY.unit)


def assert_untouched(host: Host, before: guest.Found, pid: int) -> None:
    """Files, rules and services are what they were, and the daemon was never restarted."""
    assert guest.differences(before.as_before(), look(host).as_before()) == []
    assert guest.main_pid(host, CHRONY.unit) == pid


# One policy a host


def test_two_policies_merge_into_one(host: Host, clock: TimeServer, attacker: Namespace) -> None:
    host.write(WEB, WEB_POLICY)
    assert "applied web: generation 1" in guest.fwpolicy(host, "apply", WEB, "ntp-client")
    since = time.time()
    rules = guest.rules(host)
    assert rules.count("table ") == 1
    for port in (22, 8080):
        assert re.search(rf"tcp dport {port} counter name \S+ accept", rules)
    assert "@th,64,8 & 0x7 == 0x4" in rules
    # The replies come to random ports, through a default of drop.
    CHRONY.wait_synchronised(host, since)
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    assert guest.fwpolicy(host, "apply", WEB, "ntp-client") == "web: nothing to change\n"


def test_another_name_or_a_section_that_disappeared_needs_replace(host: Host) -> None:
    host.write(WEB, WEB_POLICY)
    guest.fwpolicy(host, "apply", WEB, "ntp-client")
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    for verb in ("plan", "apply"):
        said = guest.fwpolicy(host, verb, "ntp-client", expect=1)
        assert "the policy in force here is 'web', not 'ntp-client'" in said
    host.write("/root/overlay.yaml", CLIENT.format(name="web", apply="{}"))
    said = guest.fwpolicy(host, "apply", "/root/overlay.yaml", expect=1)
    assert "the section 'input' has disappeared" in said
    assert_untouched(host, before, pid)
    guest.fwpolicy(host, "apply", "ntp-client", "--replace")
    assert "tcp dport 8080" not in guest.rules(host)
    assert guest.report(host, "status")["policy"] == "ntp-client"


# The daemon's configuration


def test_verify_refuses_what_leave_lets_be(host: Host, clock: TimeServer, attacker: Namespace) -> None:
    policy = "/root/client.yaml"
    host.write(policy, CLIENT.format(name="client", apply="{daemon-config: verify}"))
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    said = guest.fwpolicy(host, "apply", policy, expect=1)
    assert f"daemon-config: verify: {CHRONY.config} does not say what the role needs" in said
    assert_untouched(host, before, pid)
    host.write(policy, CLIENT.format(name="client", apply="{daemon-config: leave}"))
    guest.fwpolicy(host, "apply", policy)
    after = look(host)
    assert after.tree[CHRONY.config] == before.tree[CHRONY.config]
    assert outside.probe(attacker, host, clock, "--quick").answered == ()  # the filter alone


def test_verify_accepts_what_manage_has_written(host: Host) -> None:
    policy = "/root/client.yaml"
    host.write(policy, CLIENT.format(name="client", apply="{daemon-config: manage}"))
    guest.fwpolicy(host, "apply", policy)
    host.write(policy, CLIENT.format(name="client", apply="{daemon-config: verify}"))
    assert guest.fwpolicy(host, "apply", policy) == "client: nothing to change\n"


# What plan tells


def test_plan_names_losing_clients_and_foreign_chains(host: Host, attacker: Namespace) -> None:
    host.run("nft", "-f", "-", input=TRACKING)
    asking = Asking(attacker, host)
    asking.once()
    asking.close()
    before = look(host)
    said = guest.fwpolicy(host, "plan", "ntp-client", expect=2)
    assert f"clients that lose their time server: {attacker.ipv4}, {attacker.ipv6}\n" in said
    assert "connections to delete: 2\n" in said
    assert "chain traffic (input, priority 5, policy accept), after ours, may drop" in said
    plan = guest.report(host, "plan", "ntp-client", expect=2)
    assert plan["losing_clients"] == [attacker.ipv4, attacker.ipv6]
    (foreign,) = plan["foreign"]
    assert (foreign["table"], foreign["chain"], foreign["order"]) == ("inet site", "traffic", "after")
    assert guest.differences(before, look(host)) == []
    done = guest.report(host, "apply", "ntp-client")
    assert len(done["connections"]) == 2
    assert guest.report(host, "plan", "ntp-client")["losing_clients"] == []


def test_a_foreign_chain_that_drops_all_we_need_is_refused(host: Host) -> None:
    host.run("nft", "-f", "-", input=DEAF)
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    for verb in ("plan", "apply"):
        said = guest.fwpolicy(host, verb, "ntp-client", expect=1)
        assert "table inet deaf, chain ears (input, priority 20, policy drop) drops everything" in said
    assert_untouched(host, before, pid)


def test_nat_on_the_host_means_no_drop_before_it(host: Host, clock: TimeServer, attacker: Namespace) -> None:
    nat = "table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }"
    host.run("nft", "-f", "-", input=nat)
    plan = guest.report(host, "plan", "ntp-client", expect=2)
    assert plan["nat"]
    assert any(note.startswith("NAT on this host") for note in plan["notes"])
    guest.fwpolicy(host, "apply", "ntp-client")
    since = time.time()
    assert "prefilter" not in guest.rules(host)
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    CHRONY.wait_synchronised(host, since)


# Refusals


def test_a_configuration_that_the_daemon_refuses(host: Host) -> None:
    """It runs on what it read at its start; the edit since would keep it from starting again."""
    host.write(CHRONY.config, host.read(CHRONY.config) + "no such directive\n")
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    said = guest.fwpolicy(host, "apply", "ntp-client", expect=1)
    assert "chronyd refuses its configuration" in said
    assert_untouched(host, before, pid)
    assert host.run("chronyc", "-n", "tracking").stdout


def test_a_kernel_that_refuses_the_rules(host: Host) -> None:
    """No hook takes more than 1024 chains (MAX_HOOK_COUNT in net/netfilter/core.c), and it is our third."""
    chains = "\n".join(f"chain c{n} {{ type filter hook output priority {n}; }}" for n in range(1024))
    host.run("nft", "-f", "-", input=f"table ip6 full {{\n{chains}\n}}")
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    said = guest.fwpolicy(host, "apply", "ntp-client", expect=1)
    assert "Argument list too long" in said
    assert_untouched(host, before, pid)
    assert "/var/lib/fwpolicy" not in before.tree


def test_a_disk_that_is_full(host: Host) -> None:
    host.run("mkdir", "-p", "/var/lib/fwpolicy")
    host.run("mount", "-t", "tmpfs", "-o", "size=24k,mode=0700", "tmpfs", "/var/lib/fwpolicy")
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    said = guest.fwpolicy(host, "apply", "ntp-client", expect=1)
    assert "no space left on the device" in said
    assert_untouched(host, before, pid)
    host.run("umount", "/var/lib/fwpolicy")
    guest.fwpolicy(host, "apply", "ntp-client")


def test_an_etc_that_is_read_only(host: Host) -> None:
    host.run("mount", "--bind", "/etc", "/etc")
    host.run("mount", "-o", "remount,bind,ro", "/etc")
    pid, before = guest.main_pid(host, CHRONY.unit), look(host)
    said = guest.fwpolicy(host, "apply", "ntp-client", expect=1)
    assert "the file system is read-only; remount it read-write first" in said
    assert_untouched(host, before, pid)
    host.run("umount", "/etc")
    guest.fwpolicy(host, "apply", "ntp-client")


# Beside the distribution's own firewall service, whose file begins with `flush ruleset`


def test_nftables_restarted_or_reloaded_keeps_our_rules(host: Host) -> None:
    assert "flush ruleset" in host.read("/etc/nftables.conf")
    host.run("systemctl", "enable", "--now", "nftables")
    guest.fwpolicy(host, "apply", "ntp-client")
    rules, loaded = guest.own_rules(host), guest.rules(host)
    for verb in ("restart", "reload"):
        host.run("systemctl", verb, "nftables")
        assert guest.own_rules(host) == rules  # at once
        guest.wait_settled(host)
        assert guest.own_rules(host) == rules
        assert guest.rules(host) != loaded  # by its handles: it did flush everything
        assert guest.report(host, "status")["drift"] == []
        loaded = guest.rules(host)


def test_nftables_stopped_takes_our_rules_along_and_status_says_so(host: Host) -> None:
    host.run("systemctl", "enable", "--now", "nftables")
    guest.fwpolicy(host, "apply", "ntp-client")
    applied = guest.own_rules(host)
    host.run("systemctl", "stop", "nftables")
    guest.wait_settled(host)
    assert guest.rules(host) == ""
    (drift,) = guest.report(host, "status", expect=2)["drift"]
    assert drift["what"] == "table inet fwpolicy is gone: the host is as open as without it"
    assert guest.report(host, "plan", "ntp-client", expect=2)["rules"]["changed"]
    guest.fwpolicy(host, "apply", "ntp-client")
    assert guest.own_rules(host) == applied
    assert guest.report(host, "status")["drift"] == []


@pytest.mark.parametrize("before", ["stopped since", "never started"])
def test_nftables_started_brings_our_rules_back(host: Host, before: str) -> None:
    """Its start is a `flush ruleset`, too."""
    if before == "stopped since":
        host.run("systemctl", "start", "nftables")
    guest.fwpolicy(host, "apply", "ntp-client")
    applied = guest.own_rules(host)
    if before == "stopped since":
        host.run("systemctl", "stop", "nftables")
        guest.wait_settled(host)
    host.run("systemctl", "start", "nftables")
    assert guest.own_rules(host) == applied
    assert "chain forward" in guest.rules(host)  # of its own file, which it did load
