"""Listening ports and what becomes of them: grouped, worded, loopback left out."""

from __future__ import annotations

from fwpolicy.addresses import of
from fwpolicy.commands import outlooktext
from fwpolicy.deploy.listeners import judged
from fwpolicy.deploy.outlook import Outlook
from fwpolicy.host.processes import Listener
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import Program
from tests.policy.reading import read

SSH = (Listener("tcp", 4, "0.0.0.0", 22, 7, "sshd", "ssh.service"),)
BOTH = (*SSH, Listener("tcp", 6, "::", 22, 7, "sshd", "ssh.service"))
LISTENERS = (
    *BOTH,
    Listener("tcp", 4, "0.0.0.0", 80, 9, "nginx", "nginx.service"),
    Listener("tcp", 4, "0.0.0.0", 443, 9, "nginx", "nginx.service"),
    Listener("tcp", 4, "127.0.0.1", 5432, 10, "postgres", "postgresql.service"),
    Listener("tcp", 6, "::1", 6379, 11, "redis-server"),
    Listener("tcp", 6, "::ffff:127.0.0.1", 6380, 11, "redis-server"),
    Listener("udp", 4, "0.0.0.0", 68, 12, "dhclient"),
    Listener("udp", 4, "0.0.0.0", 40123, 13, "dnsmasq"),
    Listener("udp", 4, "0.0.0.0", 51820, None, ""),
    Listener("tcp", 4, "192.0.2.1", 8080, 14, "java"),
)
POLICY = """\
version: 1
input:
  default: drop
  allow: [{service: ssh, from: 192.0.2.0/24}, {service: tcp/8080}]
"""


def fates(text=POLICY, listeners=LISTENERS, own=("192.0.2.1", "2001:db8::1"), before=None):
    before = Program({}) if before is None else before
    after = of_policy(read(text))
    return judged(listeners, of(*own), ("lo", "eth0"), (32768, 60999), before, after, 0)


def text(found) -> list[str]:
    return outlooktext.as_text(Outlook(found))


def test_said_compactly():
    assert text(fates()) == [
        "listening ports that close:",
        "  tcp/22 sshd (ssh.service): only from 192.0.2.0/24",
        "  tcp/80, tcp/443 nginx (nginx.service)",
        "  udp/40123 dnsmasq: for its own questions, most likely; answers come in",
        "  udp/51820 of no program that we may see",
    ]


def test_the_rest_is_told_to_programs():
    report = outlooktext.as_json(Outlook(fates()))["ports"]
    assert [(each["port"], each["closes"], each["nobody"]) for each in report] == [
        *((22, True, False), (80, True, True), (443, True, True), (8080, False, False)),
        *((40123, True, True), (51820, True, True)),
    ]
    assert report[0] == {
        "protocol": "tcp",
        "port": 22,
        "programs": ["sshd"],
        "units": ["ssh.service"],
        "closes": True,
        "lost": ["IPv6", "from all but 192.0.2.0/24"],
        "kept": ["from 192.0.2.0/24"],
        "nobody": False,
        "passing": False,
    }


def test_a_few_that_are_shut_out_are_named_instead():
    blocking = "version: 1\ninput: {default: accept, block: [{from: 203.0.113.0/24}]}\n"
    assert text(fates(blocking, SSH))[1] == "  tcp/22 sshd (ssh.service): no longer from 203.0.113.0/24"


def test_an_interface_that_is_not_here():
    vpn = "version: 1\nzones: {vpn: [wg0]}\ninput: {default: drop, allow: [{service: ssh, in: vpn}]}\n"
    (fate,) = fates(vpn, SSH)
    assert fate.closed and fate.rest == "only in wg0, which is not here"


def test_what_was_closed_does_not_close():
    shut = of_policy(read("version: 1\ninput: {default: drop}\n"))
    assert not any(each.closes for each in fates(before=shut))


def test_a_host_without_addresses_of_a_family():
    (fate,) = fates(POLICY, BOTH, own=("2001:db8::1",))
    assert fate.closed and fate.lost == ("",)
    assert fates(POLICY, BOTH, own=()) == ()
