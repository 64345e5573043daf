"""The host's own addresses, remembered for a moment in front of connection tracking, with real packets."""

from __future__ import annotations

import json
import socket
import time

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.passes import ownaddress
from tests.golden import cases
from tests.lab.street import INSIDE4, INSIDE6, LAN4, LAN6, PATIENCE, WAN4, WAN6, Street

pytestmark = pytest.mark.kernel

MONLIST = b"\x17\x00\x03\x2a" + bytes(4)
OF_BOX = (WAN4, LAN4, WAN6, LAN6)


@pytest.fixture
def street():
    with Street() as built:
        yield built


def load(street: Street) -> None:
    """The box is a client only, by what comes before connection tracking alone."""
    policy = cases.policy("ntp-client")
    street.nft(render(compile_ruleset(policy), policy.name).text)
    street.nft("flush chain inet fwpolicy input\n")
    street.nft("delete chain inet fwpolicy input\n")


def test_the_box_is_open_without_it(street):
    load(street)
    street.nft("flush chain inet fwpolicy prefilter\n")
    assert [asks(street, address, "box") for address in OF_BOX] == [True] * 4


def remembered(street: Street) -> list[str]:
    found = []
    for family in (4, 6):
        said = street.run("box", "nft", "-j", "list", "set", "inet", "fwpolicy", f"own_address_v{family}")
        of = next(entry["set"] for entry in json.loads(said)["nftables"] if "set" in entry)
        found += [element["elem"]["val"] for element in of.get("elem", ())]
    return sorted(found)


def asks(street: Street, address: str, place: str = "inside") -> bool:
    """Whether what outside asks gets to port 123 there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def test_only_what_is_the_hosts_own_is_remembered_and_it_is_dropped_each_time(street):
    load(street)
    for _ in range(2):
        assert [asks(street, address) for address in (INSIDE4, INSIDE6)] == [True, True]
        assert [asks(street, address, "box") for address in OF_BOX] == [False] * 4
    assert remembered(street) == sorted(OF_BOX)


def test_an_address_that_moves_on_is_forgotten_in_a_moment(street, monkeypatch):
    monkeypatch.setattr(ownaddress, "REMEMBERED", 1)
    load(street)
    assert not asks(street, WAN4, "box")
    moving = "192.0.2.77"
    street.add("box", moving, dev="wan0")
    assert not asks(street, moving, "box")
    assert moving in remembered(street)
    street.run("box", "ip", "address", "delete", f"{moving}/24", "dev", "wan0")
    street.add("inside", moving)
    street.run("box", "ip", "route", "add", moving, "via", INSIDE4)
    street.run("outside", "ip", "route", "replace", moving, "via", WAN4)
    deadline = time.monotonic() + 10
    while not asks(street, moving):
        assert time.monotonic() < deadline, remembered(street)
    assert moving not in remembered(street)


def test_more_addresses_than_there_is_room_for(street, monkeypatch):
    """Those beyond are asked for each time: an `add` without room ends its own rule, which drops nothing."""
    monkeypatch.setattr(ownaddress, "MOST", 2)
    load(street)
    more = [f"192.0.2.{number}" for number in range(100, 106)]
    street.add("box", *more, dev="wan0")
    for _ in range(2):
        assert [asks(street, address, "box") for address in more] == [False] * 6
    assert len(remembered(street)) <= 2
