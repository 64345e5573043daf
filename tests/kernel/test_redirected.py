"""Services of several protocols that are redirected: applied, read back, and asked for by real packets."""

from __future__ import annotations

import socket

import pytest

from fwpolicy.deploy import apply as applying
from fwpolicy.deploy.plan import Options, make_plan
from tests.kernel.place import Place
from tests.lab.street import INSIDE4, LAN4, PATIENCE, WAN4, Street
from tests.property.strategies import loaded

pytestmark = pytest.mark.kernel

CONTAINERS = f"""
table ip containers {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local meta l4proto {{ tcp, udp }} th dport {{ 5300, 30053 }} dnat to {INSIDE4}:53
	}}
}}
"""


@pytest.fixture
def street():
    with Street() as built:
        built.serve("inside", 53)
        yield built


def apply(street, tmp_path, text):
    """Apply `text` in the box; it is read back and proved there."""
    place = Place("the box", tmp_path / "root")

    def inside():
        plan = make_plan(loaded(f"version: 1\n{text}"), place.machine, Options(daemon=False))
        applying.carry_out(plan, place.machine, ("test",), "2026-01-01T00:00:00Z", lambda _: None)

    street.call("box", inside)


def arrives(street, place, address, port):
    """Whether a datagram comes to the server inside."""

    def listening():
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((INSIDE4, 53))
        opened.settimeout(PATIENCE)
        return opened

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.sendto(b"?", (address, port))

    with street.call("inside", listening) as server:
        street.call(place, send)
        try:
            return server.recv(16) == b"?"
        except TimeoutError:
            return False


def reached(street, place, address, port):
    """(by TCP, by UDP)."""
    return street.reaches(place, address, port), arrives(street, place, address, port)


@pytest.mark.parametrize("what", ["[tcp/5300, udp/5300]", "[udp/5000-6000, tcp/5000-6000]"])
def test_a_published_service_of_two_protocols_is_let_through(street, tmp_path, what):
    street.nft(CONTAINERS)
    line = f"{{service: {what}, published: true}}"
    apply(street, tmp_path, f"input: {{default: drop, allow: [{line}]}}\nforward: {{default: drop}}\n")
    assert reached(street, "outside", WAN4, 5300) == (True, True)
    assert reached(street, "outside", WAN4, 30053) == (False, False)


@pytest.mark.parametrize("action", ["drop", "reject"])
def test_a_published_service_of_two_protocols_is_blocked(street, tmp_path, action):
    street.nft(CONTAINERS)
    what = "[tcp/30000-32767, udp/30000-32767]"
    line = f"{{service: {what}, published: true, action: {action}}}"
    apply(street, tmp_path, f"input: {{default: accept, block: [{line}]}}\n")
    assert reached(street, "outside", WAN4, 30053) == (False, False)
    assert reached(street, "outside", WAN4, 5300) == (True, True)


@pytest.mark.parametrize("hairpin", ["", ", hairpin: true"])
def test_a_port_forward_of_two_protocols(street, tmp_path, hairpin):
    line = f"{{in: wan, service: dns, to: {INSIDE4}{hairpin}}}"
    apply(street, tmp_path, f"zones: {{wan: wan0}}\nforward: {{default: drop}}\nnat: {{forward: [{line}]}}\n")
    assert reached(street, "outside", WAN4, 53) == (True, True)
    assert reached(street, "outside", INSIDE4, 53) == (False, False)
    assert reached(street, "inside", WAN4, 53) == (bool(hairpin), bool(hairpin))
    assert not arrives(street, "inside", LAN4, 53)
