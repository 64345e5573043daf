"""Sets of addresses over netlink: what is sent, what the kernel then holds, and what it refuses."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import BITS, merge
from fwpolicy.backends.nft import elements
from fwpolicy.backends.nft.elements import Change
from fwpolicy.backends.nft.read import read
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy import elements as deploying
from fwpolicy.deploy import journal, rules
from fwpolicy.deploy.confirm import settled
from fwpolicy.deploy.elements import send
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.proof import prove_listed
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.status import look
from fwpolicy.errors import CheckFailedError, HostError, PolicyError
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.nfnetlink import Netfilter, StaleError
from fwpolicy.ir.ruleset import Ruleset, Set, Table
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.kernel.place import applied, place
from tests.lab import netns as namespaces

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

WHERE = elements.name_of_set("fwpolicy", "s")


def held(kernel: Netfilter, family: int, interval: bool, name: str = "s"):
    """What the kernel dumps of a set, as we read it."""
    return elements.held(kernel.elements(elements.name_of_set("fwpolicy", name)), family, interval)


def listed(name: str = "s"):
    """What libnftables reads of it."""
    table = read(Nftables().listing("ruleset"), "inet", "fwpolicy")
    return next(each.intervals for each in table.sets if each.name == name)


def made(family, interval, intervals) -> Change:
    return Change("s", family, interval, (), intervals, made=True)


@st.composite
def intervals(draw, family, single):
    """Some near each other, some at either end of the world."""
    highest = (1 << BITS[family]) - 1
    near = st.integers(0, 60) | st.integers(highest - 60, highest) | st.integers(10 << 24, (10 << 24) + 60)
    firsts = draw(st.lists(near, max_size=12, unique=True))
    if single:
        return tuple((first, first) for first in sorted(firsts))
    return merge((first, min(highest, first + draw(st.integers(0, 9)))) for first in firsts)


@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from((4, 6)), st.booleans())
def test_the_kernel_holds_what_was_sent_and_nft_lists_it(data, family, interval):
    first, second = (data.draw(intervals(family, not interval)) for _ in range(2))
    gone = tuple(each for each in first if each not in second)
    new = tuple(each for each in second if each not in first)

    def inside():
        seen = []
        with Netfilter() as kernel:
            now = send((made(family, interval, first),), kernel.moment(), new_table=True)
            seen.append((now == kernel.moment(), held(kernel, family, interval), listed()))
            now = send((Change("s", family, interval, gone, new),), now) if gone or new else now
            seen.append((now == kernel.moment(), held(kernel, family, interval), listed()))
        return seen

    assert namespaces.call(inside) == [(True, first, merge(first)), (True, second, merge(second))]


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from((4, 6)), st.booleans())
def test_what_nft_loaded_is_read_and_a_set_of_ours_is_the_same_as_nfts(data, family, single):
    wanted = Set("s", family, data.draw(intervals(family, single)))

    def inside():
        Nftables().load(render(Ruleset((Table("inet", "fwpolicy", (wanted,), ()),)), "").text)
        with Netfilter() as kernel:
            kind = kernel.set_kind(WHERE)
            found = held(kernel, family, wanted.has_ranges)
        Nftables().delete_table("inet", "fwpolicy")
        send((made(family, wanted.has_ranges, wanted.intervals),), "", new_table=True)
        with Netfilter() as kernel:
            return found, replace(kind, count=None), replace(kernel.set_kind(WHERE), count=None)

    found, nfts, ours = namespaces.call(inside)
    assert found == wanted.intervals
    assert nfts == ours and ours.plain


@pytest.mark.parametrize("what", ["timeout 1h", 'comment "x"', "counter"])
def test_elements_unlike_ours_are_left_to_libnftables(what):
    more = {"timeout 1h": " flags timeout;", "counter": " counter;"}.get(what, "")
    said = "" if what == "counter" else what

    def inside():
        Nftables().load(
            f"table inet fwpolicy {{ set s {{ type ipv4_addr;{more} elements = {{ 10.0.0.1 {said} }}; }}; }}"
        )
        found, when = deploying.listing(Nftables(), None)
        with Netfilter() as kernel:
            return (
                held(kernel, 4, interval=False),
                [e["set"]["elem"] for e in found["nftables"] if "set" in e],
                when,
            )

    none, ((member,),), when = namespaces.call(inside)
    assert (none, when) == (None, "") and "10.0.0.1" in json.dumps(member)


def test_the_batch_is_refused_where_the_ruleset_changed_meanwhile():
    def inside():
        with Netfilter() as kernel:
            before = send((made(4, True, ((1, 2),)),), "", new_table=True) or kernel.moment()
            Nftables().load("table ip other { }")
            with pytest.raises(StaleError, match="changed the ruleset meanwhile"):
                send((Change("s", 4, True, ((1, 2),), ((7, 9),)),), before)
            return held(kernel, 4, interval=True)

    assert namespaces.call(inside) == ((1, 2),)


@pytest.mark.parametrize("family", [4, 6])
def test_a_refused_element_is_named_and_nothing_changes(family):
    """Number 5,000 of 9,000, which are several messages; it is there already."""
    new = tuple((number, number + 1) for number in range(100, 9_000 * 4, 4))
    there = (new[5_000], (7, 9))
    text = {4: "0.0.78.132/31", 6: "::4e84/127"}[family]

    def inside():
        send((made(family, True, tuple(sorted(there))),), "", new_table=True)
        with pytest.raises(HostError, match=f"the kernel refused {text} of set s: File exists"):
            send((Change("s", family, True, ((7, 9),), new),), "")
        with pytest.raises(HostError, match=r"refused .* of set s: No such file"):
            send((Change("s", family, True, ((7, 8),), new[:9]),), "")
        with Netfilter() as kernel:
            return held(kernel, family, interval=True)

    assert namespaces.call(inside) == tuple(sorted(there))


def test_addresses_are_never_sent_to_a_set_of_another_kind():
    def inside():
        send((made(4, True, ((1, 2),)),), "", new_table=True)
        with pytest.raises(HostError, match="not of the kind"):
            send((Change("s", 4, False, (), ((9, 9),)),), "")
        with pytest.raises(HostError, match="not of the kind"):
            send((Change("s", 6, True, (), ((9, 9),)),), "")
        with Netfilter() as kernel:
            return held(kernel, 4, interval=True)

    assert namespaces.call(inside) == ((1, 2),)


@pytest.mark.parametrize(("family", "interval"), [(4, True), (4, False), (6, True), (6, False)])
def test_a_hundred_thousand_over_many_messages(family, interval):
    last = (1 << BITS[family]) - 1
    wanted = tuple((first, first + 2 * interval) for first in range(10 << 24, (10 << 24) + 400_000, 4))
    wanted = (*wanted, (last - 1, last)) if interval else wanted

    def inside():
        change = made(family, interval, wanted)
        assert len(elements.messages("fwpolicy", (change,))) > 20
        with Netfilter() as kernel:
            now = send((change,), kernel.moment(), new_table=True)
            count = kernel.set_kind(WHERE).count
        (entry,) = (e for e in deploying.listing(Nftables(), None)[0]["nftables"] if "set" in e)
        return elements.from_text(family, entry["set"]["elem"]) == wanted, count is None or bool(now)

    assert namespaces.call(inside) == (True, True)


def test_a_set_that_is_not_what_was_sent_has_not_arrived():
    """Above 2,000 by the kernel's own count and a sample, below one by one."""

    def inside():
        few = tuple((number, number) for number in range(0, 30, 3))
        many = tuple((number, number + 1) for number in range(0, 30_000, 3))
        with Netfilter() as kernel:
            send((made(4, False, few),), "", new_table=True)
            send((replace(made(4, True, many), name="t"),), "")
            asked = []
            large = replace(made(4, True, many), name="t")
            for change, other in ((made(4, False, few), (1, 1)), (large, (2, 2))):
                more = replace(change, new=(*change.new, (999_999, 999_999)))
                moved = replace(change, new=(*change.new[:1], other, *change.new[2:]))
                asked.append([deploying._has_arrived(kernel, each) for each in (change, more, moved)])
            return asked

    few, many = namespaces.call(inside)
    assert few == [True, False, False]
    assert many[:2] == [True, False]


# Through a whole apply

POLICY = """\
version: 1
name: p
groups:
  banned: {dynamic: 1h}
  wide: [WIDE]
output:
  default: accept
  allow: [{service: udp/9, id: discard}]
  block:
    - {to: banned}
    - {to: wide}
"""
WIDE = tuple(f"10.{number // 250}.{number % 250}.0/{24 + number % 6}" for number in range(0, 1800, 3))


def plan(place, wide, **options):
    text = POLICY.replace("WIDE", ", ".join(wide))
    policy = load((("p.yaml", text.encode()),), lambda path: b"")
    # Without proofs, which load and list for themselves: what is sent is looked at here.
    return make_plan(policy, place.machine, Options(**{"prove": False, **options}))


def state(place):
    """Counters, members and rules, handles and what has expired of a time-out left out."""
    command = ["ip", "netns", "exec", place.name, "nft", "-j", "list", "ruleset"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["nftables"]
    for entry in found:
        for body in entry.values():
            body.pop("handle", None)
            for member in body.get("elem", ()):
                if isinstance(member, dict) and "elem" in member:
                    member["elem"].pop("expires", None)
    return sorted(json.dumps(entry, sort_keys=True) for entry in found)


def test_a_new_set_is_filled_before_a_rule_knows_it(place, monkeypatch):
    texts = []
    real = Nftables.load

    def load(self, text, dry_run=False):
        texts.append(text)
        real(self, text, dry_run)

    monkeypatch.setattr(Nftables, "load", load)
    first = plan(place, WIDE)
    assert first.loads[0].new_table and len(first.loads[0].changes[0].new) == 600
    applied(place, first)
    assert "10.0.3.0" not in texts[0] and "drop" in texts[0]
    assert look(place.machine).drifts == () and not plan(place, WIDE).changed
    live = {each.name: each for each in plan(place, WIDE).survey.ours.sets}
    assert live == {each.name: each for each in first.ruleset.tables[0].sets}


def test_rules_and_a_hundred_sets_of_the_same_addresses_read_back_without_a_dump(place, monkeypatch):
    applied(place, plan(place, WIDE))
    monkeypatch.setattr(Netfilter, "elements", lambda *_: pytest.fail("dumped a set that is known"))
    assert look(place.machine).drifts == () and not plan(place, WIDE).changed
    changed = plan(place, (*WIDE[1:], "192.0.2.0/26"))
    assert changed.loads[0].artifact is None
    applied(place, changed)
    assert look(place.machine).drifts == ()
    assert "192.0.2.0/26" in place.rules() and WIDE[0] not in place.rules()


def test_after_somebody_elses_change_everything_is_looked_at_again(place):
    applied(place, plan(place, WIDE))
    place.nft("table ip other { }")
    assert look(place.machine).drifts == ()
    place.nft("add element inet fwpolicy wide_v4 { 192.0.2.7 }")
    (drift,) = look(place.machine).drifts
    assert "changed since the apply" in drift.what and any("192.0.2.7" in line for line in drift.detail)
    place.nft("delete element inet fwpolicy wide_v4 { 192.0.2.7 }")
    assert look(place.machine).drifts == ()


def test_a_change_between_plan_and_apply_is_not_overwritten_blindly(place):
    applied(place, plan(place, WIDE))
    changed = plan(place, WIDE[1:])
    place.nft("table ip other { }\nadd element inet fwpolicy wide_v4 { 192.0.2.7 }")
    applied(place, changed)
    assert "table ip other" in place.rules() and "192.0.2.7" not in place.rules()
    assert look(place.machine).drifts == () and not plan(place, WIDE[1:]).changed


def test_a_second_namespace_is_not_taken_for_the_first(place):
    """Its generation may have the same number."""
    applied(place, plan(place, WIDE))
    known = look(place.machine).generation.moment

    def inside():
        with Netfilter() as kernel:
            for number in range(kernel.generation(), int(known.rpartition(" ")[2])):
                Nftables().load(f"table ip other{number} {{ }}")
            return kernel.moment()

    other = namespaces.call(inside)
    assert other.rpartition(" ")[2] == known.rpartition(" ")[2] and other != known


@pytest.mark.parametrize("failure", ["enable", "readback"])
def test_a_failure_takes_the_elements_back_and_leaves_the_rest(place, monkeypatch, failure):
    applied(place, plan(place, WIDE))
    place.nft("add element inet fwpolicy banned_v4 { 203.0.113.7 timeout 30m }")
    before = state(place)
    changed = plan(place, (*WIDE[2:], "192.0.2.0/26"))
    assert changed.loads[0].artifact is None
    if failure == "enable":
        place.services.fail.add(("enable", UNIT))
    else:
        changed = replace(changed, ruleset=Ruleset((replace(changed.ruleset.tables[0], chains=()),)))
    monkeypatch.setattr(Nftables, "load", lambda *_: pytest.fail("loaded a text"))
    with pytest.raises(HostError, match=r"enable|does not hold"):
        applied(place, changed)
    assert state(place) == before


@pytest.mark.parametrize("first", [True, False], ids=["first apply", "after another"])
def test_rules_that_are_refused_take_the_filled_sets_with_them(place, first):
    if not first:
        applied(place, plan(place, ("192.0.2.1",)))
    before, tree = state(place), place.tree()
    changed = plan(place, WIDE)
    artifact = changed.loads[0].artifact
    if first:
        assert changed.loads[0].changes
    wrong = replace(artifact, text=artifact.text + "add rule inet fwpolicy no drop\n")
    with pytest.raises(PolicyError, match="refused"):
        applied(place, replace(changed, loads=(replace(changed.loads[0], artifact=wrong),)))
    assert state(place) == before and place.tree() == tree


def test_a_kill_between_the_sets_and_the_rules(place, monkeypatch):
    class Killed(BaseException):
        """Stands for SIGKILL: nothing runs after it."""

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(applying.Undo, "__exit__", lambda *_: None)
        patched.setattr(Nftables, "load", die)
        patched.setattr(journal, "watch", lambda *_: None)
        with pytest.raises(Killed):
            applied(place, plan(place, WIDE))
    assert "set wide_v4" in place.rules() and "chain" not in place.rules()
    assert "interrupted" in look(place.machine).drifts[0].what
    settled(place.machine, lambda step: None)
    assert place.rules() == ""
    applied(place, plan(place, WIDE))
    assert look(place.machine).drifts == ()
    assert remove(place.machine, lambda step: None) and place.rules() == ""


def test_where_netlink_is_refused_the_text_does_it(place, monkeypatch):
    applied(place, plan(place, WIDE))

    def refuse(*_):
        raise HostError("no netfilter socket: Operation not permitted")

    monkeypatch.setattr(Netfilter, "commit", refuse)
    applied(place, plan(place, WIDE[1:]))
    monkeypatch.undo()
    assert look(place.machine).drifts == () and WIDE[0] not in place.rules()


def test_without_a_socket_everything_is_listed_as_before(place, monkeypatch):
    def refuse(*_):
        raise HostError("no netfilter socket: Address family not supported by protocol")

    monkeypatch.setattr(Netfilter, "__init__", refuse)
    for wide in (WIDE, WIDE[1:], (*WIDE[1:], "192.0.2.0/26")):
        applied(place, plan(place, wide))
        assert look(place.machine).drifts == () and look(place.machine).generation.moment == ""


def test_a_damaged_listing_is_not_believed(place):
    applied(place, plan(place, WIDE))
    path = place.folder / "var/lib/fwpolicy/running/listing.json"
    path.write_text(path.read_text().replace('"elem":"C', '"elem":"D'))
    with pytest.raises(HostError, match=r"listing\.json is damaged"):
        look(place.machine)
    assert plan(place, WIDE).changed and not plan(place, WIDE).rules_changed


def test_a_listing_of_an_earlier_version_is_understood(place):
    """nft's own JSON of a set, and no moment."""
    applied(place, plan(place, WIDE))
    folder = place.folder / "var/lib/fwpolicy/running"
    listing = json.loads((folder / "listing.json").read_text())
    full = Nftables().listing("ruleset")["nftables"]
    elems = {e["set"]["name"]: e["set"].get("elem") for e in full if "set" in e}
    for entry in listing["nftables"]:
        if "set" in entry and "size" not in entry["set"]:
            entry["set"]["elem"] = elems[entry["set"]["name"]]
    (folder / "listing.json").write_text(json.dumps(listing))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["moment"], manifest["listing"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert look(place.machine).drifts == () and not plan(place, WIDE).changed
    assert rules.read_back(plan(place, WIDE), place.machine).moment


def test_large_new_sets_and_changes_of_them_are_proved_element_by_element(place, monkeypatch):
    """What the kernel is said to hold is dumped for a proof, not sampled; and a proof sees one address."""
    first = plan(place, WIDE, prove=True)
    steps = applied(place, first)
    assert any("proved them" in step for step in steps)
    calls = []
    dumped = deploying._set_elements
    monkeypatch.setattr(deploying, "_set_elements", lambda *of: calls.append(1) or dumped(*of))
    other = plan(place, (*WIDE[1:], "192.0.2.0/26"), prove=True)
    steps = applied(place, other)
    assert any("proved them" in step for step in steps) and not calls
    listing = json.loads(look(place.machine).generation.listing)
    for entry in listing["nftables"]:
        body = entry.get("set", {})
        if isinstance(body.get("elem"), str):
            family = 4 if body["type"] == "ipv4_addr" else 6
            body["elem"] = elements.to_text(family, elements.from_text(family, body["elem"])[1:])
            break
    with pytest.raises(CheckFailedError, match="packet: "):
        prove_listed(other.emitted, listing, "live")
