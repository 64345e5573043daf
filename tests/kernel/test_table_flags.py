"""Tables with flags, anybody's: libnftables 1.0.6 makes its JSON of them from memory that it has freed."""

from __future__ import annotations

import subprocess

import pytest

from fwpolicy.deploy.foreign import of_listing
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.ruledrift import heal
from fwpolicy.deploy.status import look
from fwpolicy.deploy.subject import live
from fwpolicy.errors import HostError
from fwpolicy.host.libnftables import Nftables
from fwpolicy.policy.load import load
from tests.kernel.place import applied, place

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

POLICY = "version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n"
DORMANT = """\
table inet evil%d {
	flags dormant
	chain i {
		type filter hook input priority 0; policy drop;
	}
}
"""
SLEEPS = "add table inet fwpolicy { flags dormant; }\n"


def plan():
    return load((("p.yaml", POLICY.encode()),), lambda path: b"")


def planned(place):
    return make_plan(plan(), place.machine, Options())


@pytest.mark.parametrize("many", [1, 30])
def test_a_dormant_table_of_somebody_elses_filters_nothing_and_stops_nobody(place, many):
    place.nft("".join(DORMANT % each for each in range(many)))
    place.nft("add table inet awake\nadd chain inet awake i { type filter hook input priority 5; }\n")
    before = planned(place)
    assert [chain.table for chain in before.survey.foreign] == ["inet awake"]
    applied(place, before)
    assert look(place.machine).drifts == ()
    assert not planned(place).rules_changed
    assert not any(name.startswith("inet evil") for name in live().chains)


def test_our_own_table_dormant_is_drift_and_comes_back(place):
    applied(place, planned(place))
    place.nft(SLEEPS)
    found = look(place.machine)
    assert [each.what for each in found.drifts] == ["table inet fwpolicy is dormant: nothing is filtered"]
    assert found.traffic, "what was denied is let through"
    assert heal(place.machine)
    assert look(place.machine).drifts == ()
    place.nft(SLEEPS)
    again = planned(place)
    assert "table inet fwpolicy is dormant: nothing is filtered; the table is replaced whole" in again.notes
    applied(place, again)
    assert look(place.machine).drifts == ()
    assert "dormant" not in place.rules()


OWNED = """\
add table inet owned { flags owner; }
add chain inet owned i { type filter hook input priority 0; policy accept; }
add set inet owned s { type ipv4_addr; elements = { 192.0.2.1 }; }
add rule inet owned i ip saddr @s drop
"""


@pytest.fixture
def owned(place):
    """A table lives as long as the process that owns it."""
    command = ["ip", "netns", "exec", place.name, "nft", "-i"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        owner.stdin.write(f"{OWNED}list chain inet owned i\n")
        owner.stdin.flush()
        while "drop" not in owner.stdout.readline():
            pass
        yield
        owner.communicate()


@pytest.mark.usefixtures("owned")
def test_a_table_that_a_process_owns_filters_and_is_read(place):
    listing = Nftables().listing()
    (chain,) = of_listing(listing)
    assert (chain.table, chain.chain, chain.drops) == ("inet owned", "i", True)
    (found,) = (each["set"] for each in listing["nftables"] if "set" in each)
    assert found["elem"] == ["192.0.2.1"]
    applied(place, planned(place))
    assert look(place.machine).drifts == ()
    assert not live().unmodelled


def test_what_is_no_json_is_an_error_of_the_host(place, monkeypatch):
    monkeypatch.setattr(Nftables, "_run", lambda *_: (0, '{"nftables": [', ""))
    with pytest.raises(HostError, match="printed no JSON"):
        Nftables().listing()
