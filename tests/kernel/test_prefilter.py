"""What is dropped before connection tracking was for the host; what it passes on is not. Real packets."""

from __future__ import annotations

import socket

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from tests.golden import cases
from tests.lab.street import INSIDE4, INSIDE6, LAN4, LAN6, PATIENCE, WAN4, WAN6, Street

pytestmark = pytest.mark.kernel

MONLIST = b"\x17\x00\x03\x2a" + bytes(4)
OF_BOX, BEHIND = (WAN4, LAN4, WAN6, LAN6), (INSIDE4, INSIDE6)


@pytest.fixture
def street():
    """The box is a client only, by what comes before connection tracking alone."""
    policy = cases.policy("ntp-client")
    with Street() as built:
        built.nft(render(compile_ruleset(policy), policy.name).text)
        built.nft("flush chain inet fwpolicy input\n")
        yield built


def asks(street: Street, address: str, place: str) -> bool:
    """Whether what outside asks gets to port 123 there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.bind((address, 123))
        opened.settimeout(PATIENCE)
        return opened

    def send() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.sendto(MONLIST, (address, 123))

    with street.call(place, listen) as listening:
        street.call("outside", send)
        try:
            return bool(listening.recv(512))
        except TimeoutError:
            return False


def test_the_hosts_own_port_is_shut_and_what_it_passes_on_is_not(street):
    assert [asks(street, address, "inside") for address in BEHIND] == [True] * 2
    assert [asks(street, address, "box") for address in OF_BOX] == [False] * 4
    street.nft("flush chain inet fwpolicy prefilter\n")
    assert [asks(street, address, "box") for address in OF_BOX] == [True] * 4


def test_an_address_that_moves_on_is_passed_on_at_once(street):
    moving = "192.0.2.77"
    street.add("box", moving, dev="wan0")
    assert not asks(street, moving, "box")
    street.run("box", "ip", "address", "delete", f"{moving}/24", "dev", "wan0")
    street.add("inside", moving)
    street.run("box", "ip", "route", "add", moving, "via", INSIDE4)
    street.run("outside", "ip", "route", "replace", moving, "via", WAN4)
    assert asks(street, moving, "inside")
