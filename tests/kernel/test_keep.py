"""An apply over our own table keeps what was counted and collected, and loads no more than it must."""

from __future__ import annotations

import json
import subprocess

import pytest

from fwpolicy.addresses import of
from fwpolicy.backends.nft.elements import DELETE_ELEMENTS, NEW_ELEMENTS, Message
from fwpolicy.backends.nft.reload import Load
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.status import look
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.nfnetlink import Netfilter
from fwpolicy.host.services import ServiceState
from fwpolicy.ir.ruleset import Ruleset
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.kernel.place import applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

POLICY = """\
version: 1
name: p
groups:
  banned: {dynamic: 1h}
  known: [198.51.100.1, 198.51.100.3, 198.51.100.5, 198.51.100.7]
  wide: [10.1.0.0/16, 10.3.0.0/16, 10.5.0.1, 10.6.0.0/24]
output:
  default: accept
  allow:
    - {service: udp/9, id: discard}
    - {service: udp/7, id: echo}
    - {service: udp/11, to: known}
    - {service: udp/11, to: wide}
  block:
    - {to: banned}
"""


def policy(*changes: tuple[str, str]):
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load((("p.yaml", text.encode()),), lambda path: b"")


def plan(place, *changes, **options):
    return make_plan(policy(*changes), place.machine, Options(**options))


def listed(place, what="ruleset"):
    return subprocess.run(
        ["ip", "netns", "exec", place.name, "nft", "-j", "list", *what.split()],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def counted(place) -> dict[str, int]:
    entries = json.loads(listed(place, "counters"))["nftables"]
    return {e["counter"]["name"]: e["counter"]["packets"] for e in entries if "counter" in e}


def members(place, name="banned_v4") -> list[dict[str, object]]:
    entries = json.loads(listed(place, f"set inet fwpolicy {name}"))["nftables"]
    return next(e["set"] for e in entries if "set" in e).get("elem", [])


def send(place, count, port=9):
    """Loopback passes before every line, so the packets go out by a cable with nobody at its end."""
    script = "\n".join(
        (
            "import socket",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            f"for _ in range({count}): s.sendto(b'x', ('192.0.2.9', {port}))",
        )
    )
    subprocess.run(["ip", "netns", "exec", place.name, "python3", "-c", script], check=True)


@pytest.fixture
def wired(place):
    for command in (
        ["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
        ["link", "set", "d0", "up"],
        ["link", "set", "d1", "up"],
        ["addr", "add", "192.0.2.5/24", "dev", "d0"],
        ["neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "d0"],
    ):
        subprocess.run(["ip", "-n", place.name, *command], check=True)
    return place


def ban(place):
    place.nft("add element inet fwpolicy banned_v4 { 203.0.113.7 timeout 30m }")


def test_counters_and_members_stay_over_a_changed_line(wired):
    applied(wired, plan(wired))
    send(wired, 3), send(wired, 2, 7), ban(wired)
    assert not plan(wired).changed and look(wired.machine).drifts == ()
    before = counted(wired)
    assert before["allow_output_discard"] == 3 and before["allow_output_echo"] == 2

    changed = plan(wired, ("udp/11, to: known", "udp/12, to: known"))
    assert changed.rules_changed
    applied(wired, changed)
    after = counted(wired)
    moved = set(before) - set(after)
    assert len(moved) == 1 and before.items() - after.items() == {(name, 0) for name in moved}
    assert after["allow_output_discard"] == 3
    (banned,) = members(wired)
    assert banned["elem"]["timeout"] == 1800 and banned["elem"]["expires"] <= 1800
    assert not plan(wired, ("udp/11, to: known", "udp/12, to: known")).changed
    assert look(wired.machine).drifts == ()
    assert "packets" not in changed.artifact.text and "delete table" in changed.artifact.text


def test_to_another_policy_and_back(wired):
    applied(wired, planned(wired))
    for case in ("web-server", "ntp-client", "ntp-server", "ntp-closed", "ntp-client"):
        there = planned(wired, case, replace=True)
        assert "delete table" not in there.loads[0].artifact.text
        applied(wired, there)
        assert look(wired.machine).drifts == ()
        assert not planned(wired, case).rules_changed


def test_another_hook_priority_and_type_of_set(wired):
    applied(wired, plan(wired))
    ban(wired)
    wired.nft(
        "flush table inet fwpolicy\ndelete chain inet fwpolicy output\n"
        "delete set inet fwpolicy known_v4\n"
        "table inet fwpolicy { set known_v4 { type ipv6_addr; }; "
        "chain output { type filter hook input priority 5; policy accept; }; "
        "chain more { type filter hook forward priority 5; policy drop; }; }"
    )
    again = plan(wired)
    assert again.rules_changed and again.survey.ours
    applied(wired, again)
    assert look(wired.machine).drifts == () and len(members(wired)) == 1
    assert "chain more" not in wired.rules()


def watched(monkeypatch) -> list[Message]:
    """Every message that goes to the kernel in a batch; and nothing may go to it as text."""
    sent: list[Message] = []
    real = Netfilter.commit

    def commit(self, batch, generation):
        sent.extend(batch)
        real(self, batch, generation)

    monkeypatch.setattr(Netfilter, "commit", commit)
    monkeypatch.setattr(Nftables, "load", lambda *_: pytest.fail("loaded a text"))
    return sent


def test_only_the_elements_that_changed_are_sent(wired, monkeypatch):
    applied(wired, plan(wired))
    send(wired, 1)
    before = counted(wired)
    changed = plan(
        wired,
        ("198.51.100.3, ", "198.51.100.9, "),
        ("10.3.0.0/16, 10.5.0.1", "10.3.128.0/17, 10.5.0.0/24"),
    )
    sent = watched(monkeypatch)
    applied(wired, changed)
    assert [(each.kind, each.about.name, each.elements) for each in sent] == [
        (DELETE_ELEMENTS, "known_v4", of("198.51.100.3").v4),
        (DELETE_ELEMENTS, "wide_v4", of("10.3.0.0/16", "10.5.0.1").v4),
        (NEW_ELEMENTS, "known_v4", of("198.51.100.9").v4),
        (NEW_ELEMENTS, "wide_v4", of("10.3.128.0/17", "10.5.0.0/24").v4),
    ]
    assert counted(wired) == before and look(wired.machine).drifts == ()


def test_neighbours_that_somebody_added_are_replaced_whole(wired):
    """A listing is read as intervals, and the kernel deletes only what was added as one."""
    applied(wired, plan(wired))
    wired.nft("add element inet fwpolicy wide_v4 { 10.6.1.0/24, 10.7.0.0/24 }")
    send(wired, 1), ban(wired)
    before = counted(wired)
    applied(wired, plan(wired))
    assert counted(wired) == before and len(members(wired)) == 1
    assert look(wired.machine).drifts == ()


@pytest.mark.parametrize("failure", ["load", "restart", "readback"])
def test_a_failure_keeps_what_was_counted_and_collected(wired, monkeypatch, failure):
    applied(wired, plan(wired))
    send(wired, 1), ban(wired)
    before, rules = counted(wired), wired.rules()
    changed = plan(wired, ("- {to: banned}", "- {to: 203.0.113.0/24}"), ("  banned: {dynamic: 1h}\n", ""))
    if failure == "load":
        artifact = changed.loads[0].artifact
        broken = replace(artifact, text=artifact.text + "add rule inet fwpolicy no drop\n")
        changed = replace(changed, loads=(Load(broken),))
    elif failure == "readback":
        changed = replace(changed, ruleset=Ruleset(()))
    else:
        wired.services.fail.add(("enable", UNIT))
    with pytest.raises(Exception, match=r"does not hold|refused|enable"):
        applied(wired, changed)
    assert counted(wired) == before
    # What went and came back is listed last.
    assert sorted(wired.rules().splitlines()) == sorted(rules.splitlines())
    assert len(members(wired)) == 1 and members(wired)[0]["elem"]["timeout"] == 1800


def test_a_boot_unit_that_must_start_gives_back_what_it_reset(wired, monkeypatch):
    applied(wired, plan(wired))
    send(wired, 1), ban(wired)
    before = counted(wired)
    wired.services.units[UNIT] = ServiceState(UNIT, False, False, False)
    boot = render(plan(wired).ruleset, "p").text
    monkeypatch.setattr(wired.services, "restart", lambda unit: wired.nft(boot))
    applied(wired, plan(wired))
    assert counted(wired) == before and len(members(wired)) == 1


def test_a_boot_text_that_the_kernel_would_not_take(wired):
    applied(wired, plan(wired))
    rules = wired.rules()
    changed = plan(wired, ("udp/9", "udp/8"))
    wrong = replace(changed.artifact, text=changed.artifact.text + "add rule inet fwpolicy no drop\n")
    with pytest.raises(Exception, match="refused"):
        applied(wired, replace(changed, texts=(wrong,)))
    assert wired.rules() == rules
