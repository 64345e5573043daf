"""The operator's own connection as a new one: refused where he could not come back."""

from __future__ import annotations

import pytest

from fwpolicy.deploy.lockout import judged
from fwpolicy.host.operator import Operator
from fwpolicy.model.of_policy import of_policy
from tests.policy.reading import read

NOW = 1_790_000_000
WE4, WE6, NEAR = (
    Operator("192.0.2.7", 22, "192.0.2.1"),
    Operator("2001:db8::7", 22, "2001:db8::1"),
    Operator("fe80::7", 22, "fe80::1"),
)
FORGETS = "input: {default: drop, allow: [http]}\n"
LAN = "zones: {lan: [eth1]}\ninput: {default: drop, allow: [{service: ssh, in: lan}]}\n"
SENT_ON = (
    "zones: {wan: [eth0], lan: [eth1]}\nnat: {forward: [{service: ssh, in: wan, to: 10.0.0.7}]}\n"
    "input: {default: drop, allow: [ssh]}\nforward: {default: drop}\n"
)
DYNAMIC = "groups: {friends: {dynamic: 1h}}\ninput: {default: drop, allow: [{service: ssh, from: friends}]}\n"
BLOCKED = "input: {default: accept, block: [{from: 192.0.2.0/24}]}\n"
EXPIRED = "input: {default: reject, allow: [{service: ssh, expires: 2020-01-01}]}\n"


def out(text: str, operator: Operator = WE4, interface: str | None = "eth0"):
    program = of_policy(read(f"version: 1\n{text}"))
    return judged(program, operator, interface, NOW, lambda span: f"{span.file}:{span.line}")


@pytest.mark.parametrize("who", [WE4, WE6, NEAR])
def test_a_policy_that_forgets_ssh(who):
    assert str(out(FORGETS, who)) == (
        f"your SSH connection from {who.address} (eth0) to port 22 could not be opened again: "
        "a.yaml:2 (no line names it: default drop)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "input: {default: drop, allow: [ssh]}\n",
        "input: {default: drop, allow: [{service: ssh, from: [192.0.2.7, '2001:db8::7', 'fe80::/10']}]}\n",
        "input: {default: drop, allow: [{service: ssh, limit: 1/minute}]}\n",
        "output: {default: drop}\n",
        "roles: {ntp: client-only}\n",
    ],
)
@pytest.mark.parametrize("who", [WE4, WE6, NEAR])
def test_a_policy_that_lets_him_back(text, who):
    assert out(text, who) is None


def test_the_port_that_he_came_to():
    other = Operator("192.0.2.7", 2222, "192.0.2.1")
    assert out("input: {default: drop, allow: [ssh]}\n", other)
    assert out("input: {default: drop, allow: [tcp/2222]}\n", other) is None


def test_the_line_that_decides():
    assert str(out(BLOCKED)).endswith(": a.yaml:2 (this line blocks it)") and out(BLOCKED, WE6) is None
    assert str(out(EXPIRED)).endswith(": a.yaml:2 (no line names it: default reject)")


def test_his_interface_counts():
    assert out(LAN) and out(LAN, interface="eth1") is None
    assert "could not be opened again, unless in eth1: a.yaml:3" in str(out(LAN, NEAR, None))


def test_a_port_forward_takes_his_connection():
    assert str(out(SENT_ON)).endswith("a.yaml:3 (it is sent on: dnat to 10.0.0.7)")
    assert out(SENT_ON, interface="eth1") is None


def test_a_group_that_is_filled_at_run_time_is_not_relied_on():
    assert ", unless from a member of friends" in str(out(DYNAMIC))
