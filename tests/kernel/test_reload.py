"""A reload ends in exactly what was wanted, and keeps what was counted and collected."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.addresses import merge
from fwpolicy.backends.nft.read import normal_form, read
from fwpolicy.backends.nft.reload import Load, reload
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.deploy.elements import send
from fwpolicy.ir.ruleset import Address, Chain, Drop, Rule, Ruleset, Set, Table
from fwpolicy.policy import model
from fwpolicy.record import replace
from tests.backends.nft.rulesets import tables
from tests.compiler.build import HERE, allow, block, policy, section
from tests.lab import netns
from tests.lab.holder import run
from tests.lab.street import OUTSIDE4, OUTSIDE6, WAN4, WAN6, Street

pytestmark = pytest.mark.kernel


def listed() -> Table:
    found = read(
        json.loads(run("env", "TZ=UTC", "nft", "-n", "-j", "list", "ruleset").stdout), "inet", "fwpolicy"
    )
    assert found is not None
    return found


def put(way: Load) -> None:
    """As an apply does."""
    if way.changes:
        send(way.changes, "")
    if way.artifact:
        run("nft", "-f", "-", input=way.artifact.text)


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), tables())
def test_a_reload_ends_in_what_is_wanted(before, after):
    # Not everything is in every table.
    after = replace(after, chains=tuple(c for c in after.chains if c.rules), sets=after.sets[::-1])

    def inside() -> Table:
        run("nft", "-f", "-", input=render(Ruleset((before,)), "").text)
        put(reload(Ruleset((after,)), listed(), ""))
        return listed()

    assert normal_form(Ruleset((netns.call(inside),))) == normal_form(Ruleset((after,)))


@st.composite
def members(draw, family):
    """Some intervals of a few addresses, so that those of two draws overlap in every way."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 9)), max_size=14))
    base = (10 << 24) if family == 4 else (0x20010DB8 << 96)
    texts = merge(tuple(sorted((base + first, base + first + more) for first, more in pairs)))
    return Set("s", family, texts)


@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from((4, 6)), st.booleans())
def test_elements_come_and_go(data, family, other_rules):
    before, after = data.draw(members(family)), data.draw(members(family))
    chain = Chain("c", (Rule((Address(family, "saddr", (), "s"),), Drop(), "block"),))
    more = (chain, replace(chain, name="d")) if other_rules else (chain,)
    first, second = Table("inet", "fwpolicy", (before,), (chain,)), Table("inet", "fwpolicy", (after,), more)

    def inside() -> Table:
        run("nft", "-f", "-", input=render(Ruleset((first,)), "").text)
        put(reload(Ruleset((second,)), listed(), ""))
        return listed()

    assert normal_form(Ruleset((netns.call(inside),))) == normal_form(Ruleset((second,)))


def apply(street: Street, wanted: model.Policy) -> None:
    ruleset = lower(wanted, Facts())
    street.call("box", lambda: put(reload(ruleset, listed(), "")))
    assert normal_form(Ruleset((street.call("box", listed),))) == normal_form(ruleset)


def counters(street: Street) -> dict[str, int]:
    listing = json.loads(street.run("box", "nft", "-j", "list", "counters"))
    entries = [entry["counter"] for entry in listing["nftables"] if "counter" in entry]
    return {entry["name"]: entry["packets"] for entry in entries}


def test_what_was_counted_and_collected_stays():
    group = model.DynamicGroup("banned", 3600, HERE)
    limit = model.Limit(1, "day", 2, per_source=True)
    web = allow("http", limit=limit, id="web")
    bans = block(source_dynamic=("banned",))
    with Street() as street:
        street.serve("box", 80), street.serve("box", 22)
        first = policy(section("input", "drop", allow("ssh"), web, bans), dynamic=(group,))
        street.nft(render(lower(first, Facts()), "").text)
        street.run("box", "nft", "add", "element", "inet", "fwpolicy", "banned_v6", f"{{ {OUTSIDE6} }}")
        assert street.reaches("outside", WAN4, 80) and street.reaches("outside", WAN4, 80)
        assert not street.reaches("outside", WAN4, 80)
        assert not street.reaches("outside", WAN6, 22)

        lines = (allow("tcp/1-10", id="before"), bans, allow("ssh"), replace(web, log="web"))
        second = policy(section("input", "reject", *lines), section("forward", "drop"), dynamic=(group,))
        before = counters(street)
        apply(street, second)
        assert {name: n for name, n in counters(street).items() if name in before} == before
        assert before["allow_input_web"] == 2 and before["block_input_from_banned"] > 0
        assert not street.reaches("outside", WAN4, 80)  # what a source has used up, too
        assert not street.reaches("outside", WAN6, 22)

        more = replace(web, limit=replace(limit, burst=4, rate=2))
        apply(street, policy(section("input", "drop", more, bans), dynamic=(group,)))
        reached = [street.reaches("outside", WAN4, 80, OUTSIDE4) for _ in range(5)]
        assert reached == [True] * 4 + [False]
        assert not street.reaches("outside", WAN6, 80)
        apply(street, policy(section("input", "drop", web)))
        assert street.reaches("outside", WAN6, 80)


def test_a_limit_object_takes_its_new_rate():
    line = allow("http", limit=model.Limit(1, "day", 1), id="web")
    with Street() as street:
        street.serve("box", 80)
        street.nft(render(lower(policy(section("input", "drop", line)), Facts()), "").text)
        assert [street.reaches("outside", WAN4, 80) for _ in range(2)] == [True, False]
        apply(street, policy(section("input", "drop", line, block("ident"))))
        assert not street.reaches("outside", WAN4, 80)
        more = replace(line, limit=model.Limit(1, "day", 3))
        apply(street, policy(section("input", "drop", more)))
        assert [street.reaches("outside", WAN4, 80) for _ in range(4)] == [True, True, True, False]
