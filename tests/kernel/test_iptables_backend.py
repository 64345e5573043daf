"""Which backend an apply goes by, from one to the other, and what else only iptables' hosts meet."""

from __future__ import annotations

import json

import pytest

from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.rollback import plan_back
from fwpolicy.deploy.status import look
from fwpolicy.errors import HostError
from fwpolicy.host.libnftables import Nftables
from fwpolicy.policy.load import load
from tests.kernel.place import applied
from tests.kernel.test_iptables_apply import (
    SITE,
    apply_asking,
    by_command,
    ours,
    site,
    wait_until_taken_back,
)
from tests.kernel.xtplace import place, planned
from tests.kernel.xtprograms import variant_path

pytestmark = pytest.mark.kernel

__all__ = ["by_command", "place"]  # fixtures: pytest finds them by their names here


def test_a_host_that_calls_the_other_variant_iptables_since(place, tmp_path, monkeypatch):
    applied(place, planned(place))
    other = "nft" if place.variant == "legacy" else "legacy"
    with monkeypatch.context() as patched:
        patched.setenv("PATH", variant_path(tmp_path / "other", other))
        drifts = look(place.machine).drifts
        assert any(f"rules of ours are in iptables-{place.variant}" in drift.what for drift in drifts)
        assert f"in iptables-{place.variant}" in planned(place).refusals[0]
        assert remove(place.machine, lambda _: None)
    assert ours(place) == []


# Connections


@pytest.mark.parametrize("remembers", [True, False])
def test_connections_that_the_policy_denies_end(place, monkeypatch, remembers):
    place.run("ip", "addr", "add", "192.0.2.5/24", "dev", "lo")
    flows = {
        "what the policy denies": ("203.0.113.9", "192.0.2.5", 4000, 53),
        "from whom it lets in": ("10.0.0.1", "192.0.2.5", 4000, 22),
        "from whom was banned": ("10.0.2.1", "192.0.2.5", 4000, 22),
    }
    for source, destination, sport, dport in flows.values():
        place.run(
            *("conntrack", "-I", "-p", "tcp", "-t", "600", "--state", "ESTABLISHED", "-u", "ASSURED"),
            *("-s", source, "-d", destination, "--sport", str(sport), "--dport", str(dport)),
        )
    place.run("ipset", "create", "fwp-banned_v4", "hash:ip", "maxelem", "65535", "timeout", "3600")
    place.run("ipset", "add", "fwp-banned_v4", "10.0.2.1")
    if not remembers:
        monkeypatch.setattr("fwpolicy.host.libnftables._binding", refuse)
    steps = applied(place, site(place))
    listed = place.run("conntrack", "-L")
    assert "src=10.0.0.1" in listed and "src=10.0.2.1" not in listed and "src=203.0.113.9" not in listed
    assert any(step.startswith("deleted 2 connection") for step in steps)
    assert any("can come back" in step for step in steps) is not remembers


def refuse(*_, **__):
    raise HostError("no nftables here")


# As commands


def test_a_saved_plan_is_applied_as_it_was_shown(place, by_command, capsys, tmp_path):
    policy, plan = tmp_path / "p.yaml", tmp_path / "p.plan"
    policy.write_text(SITE.format(members="10.0.0.1"))
    words = ("plan", "--no-daemon", "--backend", "iptables", str(policy))
    assert by_command(*words, "-o", str(plan)) == 2
    said = capsys.readouterr().out
    assert "rules: new, " in said and "-I INPUT 1 -j FWPOLICY-INPUT" in said
    assert "of fail2ban" in said and "newly denied" in said
    assert by_command("apply", "--no-confirm", str(plan)) == 0
    assert "applied site: generation 1" in capsys.readouterr().out
    assert by_command(*words) == 0
    assert "rules: unchanged (" in capsys.readouterr().out
    policy.write_text(SITE.format(members="10.0.2.1"))
    assert by_command(*words, "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["rules"]["backend"] == "iptables" and "10.0.2.1" in report["rules"]["text"]
    assert {change["now"] for change in report["traffic"]} == {"allowed", "denied"}
    assert by_command(*words) == 2
    assert "rules: changed, " in capsys.readouterr().out
    place.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP")
    assert by_command("apply", "--no-confirm", str(plan)) == 1
    assert "has moved on" in capsys.readouterr().err


def test_a_policys_line_that_iptables_cannot_say_is_refused(place, by_command, capsys, tmp_path):
    policy = tmp_path / "p.yaml"
    limited = "allow: [{service: ssh, limit: 5/minute}]"
    policy.write_text(f"version: 1\nbackends: [iptables]\ninput:\n  default: drop\n  {limited}\n")
    assert by_command("apply", "--no-confirm", str(policy)) == 1
    said = capsys.readouterr().err
    assert "p.yaml:5:" in said and limited in said and "^" in said


# Which backend


def test_another_backend_needs_replace_and_the_old_rules_go(place):
    others = place.rules()
    applied(place, planned(place, backend="nft"))
    plan = planned(place)
    assert "nft's, not iptables's; --replace" in plan.refusals[0]
    applied(place, planned(place, replace=True))
    assert place.run("nft", "list", "tables", "inet") == "" and ours(place)
    assert look(place.machine).drifts == () and not planned(place).changed
    back = planned(place, backend="nft")
    assert "iptables's, not nft's" in back.refusals[0]
    applied(place, planned(place, backend="nft", replace=True))
    assert "inet fwpolicy" in place.run("nft", "list", "tables", "inet") and place.rules() == others
    assert look(place.machine).drifts == () and look(place.machine).generation.backend == "nft"
    applied(place, plan_back(place.machine, None))
    assert place.run("nft", "list", "tables", "inet") == "" and ours(place)


@pytest.mark.parametrize("way", [("nft", "iptables"), ("iptables", "nft")])
def test_a_change_of_backend_is_taken_back_too(place, way):
    old, new = way
    applied(place, planned(place, backend=old))
    rules, nft = place.rules(), Nftables().text("table inet fwpolicy")
    apply_asking(place, 0.5, planned(place, backend=new, replace=True))
    assert bool(ours(place)) == (new == "iptables")
    wait_until_taken_back(place)
    assert place.rules() == rules and Nftables().text("table inet fwpolicy") == nft
    place.services.fail.add(("restart", "chrony.service"))
    with pytest.raises(HostError):
        applied(place, planned(place, backend=new, replace=True))
    assert place.rules() == rules and Nftables().text("table inet fwpolicy") == nft


def test_auto_takes_what_the_policy_says_the_host_can_and_what_runs(place, monkeypatch):
    text = "version: 1\nname: p\nbackends: [{}]\nroles: {{ntp: client-only}}\n"

    def auto(backends):
        policy = load((("p.yaml", text.format(backends).encode()),), lambda path: b"")
        return make_plan(policy, place.machine, Options())

    assert auto("nft, iptables").rules.name == "nft"
    assert auto("iptables, nft").rules.name == "iptables"
    applied(place, auto("iptables"))
    assert auto("nft, iptables").rules.name == "iptables"
    remove(place.machine, lambda _: None)

    monkeypatch.setattr("fwpolicy.host.libnftables._binding", refuse)
    assert auto("nft, iptables").rules.name == "iptables"
    applied(place, auto("nft, iptables"))
    assert look(place.machine).drifts == ()
    assert remove(place.machine, lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="none of the policy's backends can be used here: nft: no nftables"):
        auto("nft, iptables")
