"""The simulated kernel, on what only some packets have: interfaces, a port before NAT, a time, groups."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fwpolicy.addresses import parse
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.ir.ruleset import LimitName, PerSource
from fwpolicy.model.simulate import simulate
from fwpolicy.policy import model
from tests.compiler.build import HERE, allow, block, match, policy, section

GROUP = (model.DynamicGroup("banned", 60, HERE),)
NAT = model.Nat((model.Masquerade(("wan0",), None, (4,), HERE),))


def packet(hook: str = "input", dport: int = 22, **more: object) -> SimpleNamespace:
    given = {
        "family": 4,
        "protocol": 6,
        "source": parse("198.51.100.7")[1],
        "destination": parse("192.0.2.1")[1],
        "sport": 40000,
        "icmp_type": None,
        "state": "new",
        "mode": 3,
        "loopback": False,
    }
    return SimpleNamespace(**(given | {"hook": hook, "dport": dport} | more))


def verdict(wanted: model.Policy, what: SimpleNamespace, **more: object) -> str:
    return simulate(lower(wanted, Facts()), what, **more)[0]


@pytest.mark.parametrize(("name", "passes"), [("wg0", True), ("wg", True), ("eth0", True), ("eth1", False)])
def test_interfaces(name, passes):
    wanted = policy(section("input", "drop", allow("ssh", incoming=("wg*", "eth0"))))
    assert (verdict(wanted, packet(incoming=name)) == "accept") == passes


def test_forward_sees_both_sides_and_no_loopback():
    lines = (allow("ssh", incoming=("lan0",), outgoing=("wan0",)),)
    wanted = policy(section("forward", "reject", *lines), nat=NAT, ntp="client-only")
    assert verdict(wanted, packet("forward", incoming="lan0", outgoing="wan0")) == "accept"
    assert verdict(wanted, packet("forward", incoming="wan0", outgoing="lan0")) == "reject"
    assert verdict(wanted, packet("forward", 123, protocol=17, state="established")) == "accept"


def test_the_port_before_nat():
    only = match(source="198.51.100.9")
    wanted = policy(section("input", "accept", block("tcp/8080", only, published=True)))
    assert verdict(wanted, packet(dport=80, published=8080)) == "drop"
    assert verdict(wanted, packet("forward", 80, published=8080)) == "drop"
    assert verdict(wanted, packet("forward", 80, published=8080, source=parse("198.51.100.9")[1])) == "accept"
    assert verdict(wanted, packet("forward", 8080)) == "accept"
    assert verdict(wanted, packet(dport=8080)) == "drop"
    assert verdict(wanted, packet(dport=8080, state="untracked")) == "drop"
    assert verdict(wanted, packet(dport=80)) == "accept"


def test_time():
    wanted = policy(section("input", "accept", block("ssh", expires=1000)))
    assert [verdict(wanted, packet(time=time)) for time in (999, 1000, None)] == ["drop", "accept", "drop"]


def test_groups_filled_at_run_time():
    wanted = policy(section("input", "accept", block("ssh", source_dynamic=("banned",))), dynamic=GROUP)
    assert verdict(wanted, packet(source_in=("banned",))) == "drop"
    assert verdict(wanted, packet(source_in=("other",))) == "accept"
    assert verdict(wanted, packet()) == "accept"


@pytest.mark.parametrize("per_source", [False, True])
def test_a_limiter_has_room_or_not(per_source):
    limit = model.Limit(1, "second", 1, per_source)
    log = model.Log(True, 1, "hour", "fwp")
    wanted = policy(section("input", "drop", allow("ssh", limit=limit, log="x")), log=log)
    assert verdict(wanted, packet()) == "accept"
    full = PerSource if per_source else LimitName
    assert verdict(wanted, packet(), room=lambda limiter: not isinstance(limiter, full)) == "drop"
