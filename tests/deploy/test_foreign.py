"""Chains of other tools, as they really make them: seen, named, and what their words can mean for ours.

What plan says of each after a closer look is in tests/kernel/test_plan.py: there a kernel has them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import foreign
from fwpolicy.deploy.foreign import of_listing, of_program
from fwpolicy.model import iptables
from tests.policy.reading import read

FOLDER = Path(__file__).parent / "foreign"
# Chain, hook, priority, policy, whether it drops, whether it accepts, whose.
CHAINS = {
    "docker": [("ip filter FORWARD", "forward", 0, "drop", True, True, "docker")],
    "fail2ban": [("inet f2b-table f2b-chain", "input", -1, "accept", True, False, "fail2ban")],
    "fail2ban-iptables": [("ip filter INPUT", "input", 0, "accept", True, False, "fail2ban")],
    "firewalld": [
        ("inet firewalld filter_PREROUTING", "prerouting", 10, "accept", True, True, "firewalld"),
        ("inet firewalld filter_INPUT", "input", 10, "accept", True, True, "firewalld"),
        ("inet firewalld filter_FORWARD", "forward", 10, "accept", True, True, "firewalld"),
        ("inet firewalld filter_OUTPUT", "output", 10, "accept", True, True, "firewalld"),
    ],
    "libvirt": [
        ("ip filter INPUT", "input", 0, "accept", False, True, "libvirt"),
        ("ip filter OUTPUT", "output", 0, "accept", False, True, "libvirt"),
        ("ip filter FORWARD", "forward", 0, "accept", True, True, "libvirt"),
    ],
    "ufw": [
        ("ip filter INPUT", "input", 0, "drop", True, True, "ufw"),
        ("ip filter OUTPUT", "output", 0, "accept", False, True, "ufw"),
        ("ip filter FORWARD", "forward", 0, "drop", True, True, "ufw"),
        ("ip6 filter INPUT", "input", 0, "drop", True, True, "ufw"),
        ("ip6 filter OUTPUT", "output", 0, "accept", True, True, "ufw"),
        ("ip6 filter FORWARD", "forward", 0, "drop", True, True, "ufw"),
    ],
}
SITE = "version: 1\ninput: {default: drop, allow: [ssh]}\n"


def listing(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def fields(chain):
    return (
        *(chain.name, chain.hook, chain.priority, chain.policy),
        *(chain.drops, chain.accepts, " ".join(chain.tools)),
    )


def test_every_recorded_listing_is_looked_at():
    assert {path.stem for path in FOLDER.glob("*.json")} == CHAINS.keys()


@pytest.mark.parametrize("name", CHAINS)
def test_chains_that_do_something(name):
    found = of_listing(listing(name))
    assert [fields(chain) for chain in found if not chain.idle] == CHAINS[name]


def test_idle_chains_are_seen_and_not_told():
    found = [chain.name for chain in of_listing(listing("libvirt")) if chain.idle]
    assert found == [
        *("ip mangle POSTROUTING", "ip6 filter INPUT", "ip6 filter OUTPUT", "ip6 filter FORWARD"),
        "ip6 mangle POSTROUTING",
    ]
    entry = {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0}
    (chain,) = of_listing({"nftables": [{"chain": entry | {"policy": "accept"}}]})
    assert chain.idle and foreign.interference(chain, "apart") == ("does nothing",)


def test_iptables_legacy_as_saved():
    text = (FOLDER / "docker-legacy.v4").read_text()
    found = [chain for chain in of_program(iptables.of_text(text, "live-v4", 4)) if not chain.idle]
    assert [fields(chain) for chain in found] == CHAINS["docker"]
    assert all(chain.legacy for chain in found)


@pytest.mark.parametrize(
    ("priority", "order"), [(-20, "before"), (-10, "beside"), (0, "after"), (-200, "before")]
)
def test_who_comes_first(priority, order):
    ruleset = compile_ruleset(read(SITE))
    chain = foreign.ForeignChain("inet a", "in", "input", priority, "accept", True, False, ("ufw",))
    assert foreign.order(chain, ruleset) == order
    assert foreign.title(chain, order).endswith(
        f"(input, priority {priority}, policy accept) of ufw, {order} ours,"
    )
    elsewhere = foreign.ForeignChain("inet a", "fwd", "forward", 0, "accept", True, False)
    assert foreign.order(elsewhere, ruleset) == "apart"
    assert foreign.verdicts(elsewhere, "apart").startswith("decides there without us")
    assert foreign.verdicts(elsewhere, "after").startswith("may drop what this policy lets through")


def test_verdicts_in_maps_and_targets_that_are_only_named():
    def one(*expressions):
        chain = {"family": "ip", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": 0}
        rule = {"family": "ip", "table": "t", "chain": "c", "expr": list(expressions)}
        (found,) = of_listing({"nftables": [{"chain": chain}, {"rule": rule}]})
        return found.drops, found.accepts

    dport = {"payload": {"protocol": "tcp", "field": "dport"}}
    assert one({"vmap": {"key": dport, "data": {"set": [[22, {"accept": None}]]}}}) == (False, True)
    assert one({"vmap": {"key": dport, "data": {"set": [[22, {"drop": None}]]}}}) == (True, False)
    assert one({"vmap": {"key": dport, "data": "@verdicts"}}) == (True, True)
    assert one({"xt": {"type": "target", "name": "REJECT"}}) == (True, False)
    assert one({"xt": {"type": "target", "name": "LOG"}}) == (False, False)
    assert one({"xt": None}) == (True, True)
    assert one({"counter": {"packets": 0, "bytes": 0}}) == (False, False)
