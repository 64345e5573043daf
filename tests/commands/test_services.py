"""The built-in table, by name and by port."""

from __future__ import annotations

import json

import pytest

from fwpolicy.cli import main
from fwpolicy.policy.services import BUILT_IN, parse
from fwpolicy.reference.known import covers


def test_all(capsys):
    assert main(["services"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(BUILT_IN)
    assert [line.split() for line in lines if line.startswith("dns ")] == [["dns", "udp/53,", "tcp/53"]]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ssh", {"ssh": ["tcp/22"]}),
        ("tcp/443", {"https": ["tcp/443"]}),
        ("udp/443", {"http3": ["udp/443"], "quic": ["udp/443"]}),
        ("icmp/8", {"ping": ["icmp/8", "icmpv6/128"]}),
        ("udp/60001-60002", {"mosh": ["udp/60000-61000"]}),
        ("ip/112", {"vrrp": ["ip/112"]}),
    ],
)
def test_one(name, found, capsys):
    assert main(["services", "--json", name]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": False, "services": found}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sssh", "unknown service 'sssh'; did you mean 'ssh'?"),
        ("22", "port 22 without a protocol; write tcp/22, "),
        ("tcp/7", "no built-in service has tcp/7"),
        ("tcp/70000", "the port 70000 is out of range: 1 to 65535"),
    ],
)
def test_none(name, said, capsys):
    assert main(["services", name]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and said in shown.err


def test_covers():
    assert covers(parse("ip/6"), parse("tcp/22"))
    assert not covers(parse("tcp/22"), parse("ip/6"))
    assert not covers(parse("icmp/8"), parse("ip/1"))
    assert covers(parse("tcp/20-30"), parse("tcp/22"))
    assert not covers(parse("tcp/22"), parse("tcp/20-30"))
