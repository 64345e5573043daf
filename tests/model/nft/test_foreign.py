"""What other programs load, read with nothing skipped: listings as they are found on hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.addresses import parse
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.nft import of_text
from fwpolicy.model.program import NotModelledError
from tests.model.nft.comparing import differences, ends, in_netns, readings

FOLDER = Path(__file__).parent / "fixtures"
# nft prints what iptables-nft made as `xt match "NAME"`, and does not read it.
LISTED_ONLY = ("docker.nft",)
NAMES = sorted(path.name for path in FOLDER.glob("*.nft"))


def program(name):
    return of_text((FOLDER / name).read_text(), name)


def unknown(name):
    """What of the rules is opaque."""
    return sorted(field for field in ends(program(name)) if field.startswith("opaque:"))


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LISTED_ONLY])
def test_as_it_is_in_the_file_and_as_it_is_listed(name, netns):
    in_netns(netns, "ip", "link", "add", "virbr0", "type", "bridge")
    programs = readings(netns, (FOLDER / name).read_text(), name)
    assert not next(differences(programs), None)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_chain_is_understood_or_refused(name):
    """A rule that is made unknown is refused at its line, wherever it stands."""
    lines = (FOLDER / name).read_text().split("\n")
    of_rules = {rule.where.line for chain in program(name).chains.values() for rule in chain.rules}
    assert of_rules
    for number in of_rules:
        broken = [*lines]
        broken[number - 1] = f"\t\tfrobnicate {broken[number - 1].strip()}"
        with pytest.raises(NotModelledError) as caught:
            of_text("\n".join(broken), name)
        assert str(caught.value).startswith(f"{name}:{number}: "), caught.value


def test_what_is_opaque():
    assert unknown("fail2ban.nft") == unknown("libvirt.nft") == []
    assert unknown("firewalld.nft") == ["opaque:fib saddr . mark . iif oif missing"]
    assert unknown("workstation.nft") == ["opaque:ip6 nexthdr 58", "opaque:meta skuid exists"]
    assert unknown("objects.nft") == ["opaque:ether saddr { 00:11:22:33:44:55 }"]
    assert "opaque:ip filter FORWARD #2 xt match conntrack (1)" in unknown("docker.nft")


def test_targets_of_iptables_are_named():
    named = [where.text.rpartition(" xt ")[2] for where in program("docker.nft").unmodelled]
    assert sorted(named) == ['target "DNAT"', 'target "MASQUERADE"', 'target "MASQUERADE"']
    named = [where.text for where in program("objects.nft").unmodelled]
    assert [text for text in named if " map " not in text] == ["tcp dport 80 notrack"]
    assert len(named) == 3, "and two translations by a map"
    for name in ("fail2ban.nft", "firewalld.nft", "libvirt.nft"):
        assert program(name).unmodelled == ()


def packet(source, port, **more):
    said = {"nfproto": 4, "l4proto": 6, "th": 1, "saddr4": parse(source)[1], "dport": port}
    return said | {"iif": fields.interface(more.pop("interface", "eth0"))[0][0]} | more


def test_fail2ban_rejects_who_is_banned():
    found = program("fail2ban.nft")
    assert decide(found, "input", packet("203.0.113.9", 22))[0].kind == "reject:port-unreachable"
    assert decide(found, "input", packet("203.0.113.9", 80))[0].kind == "accept"
    member = fields.member("inet f2b-table addr-set-recidive", "saddr")
    assert decide(found, "input", packet("203.0.113.66", 80, **{member: 1}))[0].kind == "drop"


@pytest.mark.parametrize(
    ("source", "port", "interface", "verdict"),
    [
        ("192.0.2.5", 22, "eth0", "drop"),
        ("203.0.113.5", 22, "eth1", "accept"),
        ("203.0.113.5", 22, "eth0", "reject:port-unreachable"),
        ("8.8.8.8", 22, "eth7", "accept"),
        ("8.8.8.8", 23, "eth7", "reject:icmpx-admin-prohibited"),
    ],
)
def test_firewalld_goes_by_source_then_by_interface(source, port, interface, verdict):
    said = packet(source, port, interface=interface)
    assert decide(program("firewalld.nft"), "input", said)[0].kind == verdict
