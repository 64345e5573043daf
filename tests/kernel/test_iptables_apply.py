"""apply, status, rollback, open, remove of iptables' rules, both variants: whole or not at all, and alone.

As in test_apply.py the kernel is real, in a namespace of the test's own, and the service manager in memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from fwpolicy.backends.iptables import reload
from fwpolicy.cli import main
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy import xtrules
from fwpolicy.deploy.apply import Asked
from fwpolicy.deploy.confirm import confirm
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.rollback import plan_back
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import look
from fwpolicy.errors import CheckFailedError, HostError, PolicyError
from fwpolicy.host.files import Files
from fwpolicy.host.netns import entered
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.kernel.place import AFTER, BEFORE, CONFIG, STATE, applied
from tests.kernel.test_iptables_load import COMMANDS
from tests.kernel.xtplace import place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

SITE = """version: 1
name: site
backends: [iptables]
groups: {{many: [{members}], banned: {{dynamic: 1h}}}}
input:
  default: drop
  allow:
    - {{service: ssh, from: many}}
  block: [{{from: banned}}]
output:
  default: accept
  block: [{{service: udp/9, id: discard}}]
"""


SEND = """
import socket
for _ in range(3):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.9", 9))
    except PermissionError:
        pass
"""


def site(place, count=20, **options):
    members = ", ".join(f"10.0.{number * 2}.1" for number in range(count))
    policy = load((("p.yaml", SITE.format(members=members).encode()),), lambda path: b"")
    return make_plan(policy, place.machine, Options(**options))


def ours(place):
    return [line for line in place.text().splitlines() if "FWPOLICY" in line and '"not ' not in line]


def test_apply_then_nothing_to_change_then_remove(place):
    before, rules = place.tree(), place.rules()
    plan = planned(place)
    assert plan.changed and plan.restarts == ("chrony.service",)
    steps = applied(place, plan)
    assert [step.split()[0] for step in steps] == ["proved:", "wrote", "loaded", "restarted", UNIT]
    assert (place.folder / CONFIG[1:]).read_text() == AFTER
    assert any("--u32" in line for line in ours(place))
    assert place.run("nft", "list", "tables", "inet") == ""

    again = planned(place)
    assert not again.changed and not again.restarts and not again.boot
    assert look(place.machine).drifts == () and look(place.machine).generation.backend == "iptables"

    assert remove(place.machine, steps.append)
    assert place.tree() == before
    assert place.rules() == rules
    assert not remove(place.machine, steps.append)


FAILURES = {
    "the daemon refuses its configuration": ("check", HostError, "refuses its configuration"),
    "the daemon does not restart": ("restart", HostError, "restart chrony.service failed"),
    "the first family is refused": ("v4", HostError, "iptables-restore"),
    "the second family is refused": ("v6", HostError, "ip6tables-restore"),
    "the kernel lists other rules": ("readback", CheckFailedError, "proof failed"),
    "the boot unit does not load": ("boot", HostError, "fwpolicy.service failed"),
    "the boot's script loads other rules": ("script", HostError, "other rules"),
    "the state cannot be written": ("state", HostError, "cannot"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("first", [True, False], ids=["first apply", "after another"])
def test_a_failure_leaves_everything_as_it_was(place, monkeypatch, failure, first):
    if not first:
        applied(place, site(place, 30))
        place.run("ipset", "add", "fwp-banned_v4", "198.51.100.9")
    tree, rules, units = place.tree(), place.rules(), dict(place.services.units)
    how, kind, message = FAILURES[failure]
    plan = broken(how, planned(place, replace=True), place, monkeypatch)
    with pytest.raises(kind, match=message):
        applied(place, plan)
    assert place.rules() == rules
    assert place.services.units == units
    assert place.tree() == tree


def broken(how, plan, place, monkeypatch):
    if how == "check":
        return replace(plan, daemons=(replace(plan.daemons[0], check=("/bin/false",)),))
    if how == "restart":
        place.services.fail.add(("restart", "chrony.service"))
        monkeypatch.setattr(applying, "_restart_all", lambda machine, units: None)
    if how == "boot":
        place.services.fail |= {("restart", UNIT), ("enable", UNIT)}
    if how in ("v4", "v6"):
        monkeypatch.setattr(applying, "_rehearse", lambda *_: None)
        return with_text(plan, f"rules.{how}", "COMMIT\n", "-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n")
    if how == "readback":
        monkeypatch.setattr(applying, "_rehearse", lambda *_: None)
        lossy(place, monkeypatch)
    if how == "script":
        text = xtrules.rulesscript.loader(STATE).text.replace('restore iptables "$text4"', ":")
        monkeypatch.setattr(
            xtrules.rulesscript,
            "loader",
            lambda state: replace(plan.artifact, name=f"{STATE}/rules.sh", text=text),
        )
    if how == "state":
        real = Files.replace_symlink

        def refuse(self, path, target):
            if path.endswith("/current"):
                raise HostError(f"cannot link {path}: no space left on the device")
            real(self, path, target)

        monkeypatch.setattr(Files, "replace_symlink", refuse)
    return plan


def test_a_refusal_points_at_the_policys_line(place):
    plan = with_text(planned(place), "rules.v4", "-m u32 --u32", "-m nosuchmatch --u32")
    with pytest.raises(PolicyError) as caught:
        applied(place, plan)
    (problem,) = caught.value.problems
    assert problem.span.file == "policy.yaml" and "nosuchmatch" in problem.hint


def with_text(plan, name, old, new):
    texts = [
        replace(each, text=each.text.replace(old, new)) if each.name == name else each for each in plan.texts
    ]
    return replace(plan, texts=tuple(texts))


def lossy(place, monkeypatch):
    """Loads something else, once for each family."""
    real, left = xtrules.XTables.restore, [2]

    def restore(self, family, text):
        left[0] -= 1
        real(self, family, text.replace("--dport 123", "--dport 124") if left[0] >= 0 else text)

    monkeypatch.setattr(xtrules.XTables, "restore", restore)


# The boot, and whoever is locked out


def boot(place):
    script = place.folder / f"{STATE}/boot.sh"[1:]
    command = ["ip", "netns", "exec", place.name, "env", f"FWPOLICY_ROOT={place.folder}", "sh", str(script)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def flush(place):
    """As a kernel begins, others' rules aside."""
    for command in COMMANDS:
        saved = place.run(f"{command}-{place.variant}-save")
        gone = reload.restore("", saved)
        with entered(place.name):
            subprocess.run([f"{command}-{place.variant}-restore", "-n"], input=gone, text=True, check=True)
    for name in place.run("ipset", "list", "-name").split():
        place.run("ipset", "destroy", name)


def test_the_boot_script_loads_the_current_rules_or_the_ones_before_or_the_fallback(place):
    applied(place, site(place))
    first = ours(place), place.rules()[1]
    applied(place, site(place, 30))
    second = ours(place), place.rules()[1]
    flush(place)
    assert ours(place) == []
    assert boot(place).returncode == 0
    assert (ours(place), place.rules()[1]) == second
    assert boot(place).returncode == 0  # over what is there
    assert (ours(place), place.rules()[1]) == second

    state = place.folder / STATE[1:]
    (state / "current/rules.v6").write_text("*filter\n-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n")
    flush(place)
    done = boot(place)
    assert done.returncode == 1 and "loaded previous/rules.v4 instead" in done.stderr
    assert (ours(place), place.rules()[1]) == first
    (state / "previous/rules.v4").write_text("*filter\n-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n")
    done = boot(place)
    assert done.returncode == 1 and "loaded fallback.v4 instead" in done.stderr
    accepts = [line for line in ours(place) if line.startswith("-A FWPOLICY-INPUT")]
    assert len(accepts) == 10 and sum("--dport 22" in line for line in accepts) == 2


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("lines", [0, 2, -1, -3], ids=["empty", "its head alone", "its end", "more"])
def test_the_boot_falls_back_where_the_rules_are_cut(place, family, lines):
    """awk closes a table that was cut: without its last rules it would let through what they drop."""
    applied(place, site(place))
    path = place.folder / f"{STATE}/current/rules.v{family}"[1:]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    flush(place)
    done = boot(place)
    assert done.returncode == 1 and "cut short" in done.stderr and "loaded fallback.v4" in done.stderr
    assert sum("--dport 22" in line for line in ours(place)) == 2


def test_the_boot_falls_back_where_all_generations_are_lost(place):
    applied(place, site(place))
    shutil.rmtree(place.folder / f"{STATE}/generations"[1:])
    flush(place)
    done = boot(place)
    assert done.returncode == 1 and "loaded fallback.v4" in done.stderr
    assert sum("--dport 22" in line for line in ours(place)) == 2


def test_open_and_closed_again(place, by_command, capsys):
    others = place.rules()
    applied(place, site(place))
    place.run("ipset", "add", "fwp-banned_v4", "198.51.100.9")
    rules = place.rules()
    assert by_command("open", "--for", "1s") == 0
    assert place.rules()[0] == others[0] and "198.51.100.9" in str(place.rules()[1])
    status = look(place.machine)
    assert any("opened by hand" in note for note in status.notes)
    assert "our chains are gone" in status.drifts[0].what
    deadline = time.monotonic() + 30
    while place.rules()[0] != rules[0] or (place.folder / f"{STATE}/opened"[1:]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "198.51.100.9" in str(place.rules()[1])
    script = place.folder / f"{STATE}/open.sh"[1:]
    environment = os.environ | {"FWPOLICY_ROOT": str(place.folder)}
    subprocess.run(["sh", str(script)], check=True, env=environment)
    assert place.rules()[0] == others[0]
    subprocess.run(["sh", str(script), "close"], check=True, env=environment)
    assert place.rules()[0] == rules[0] and look(place.machine).notes == ()


@pytest.fixture
def by_command(place, monkeypatch):
    """Runs a verb about this place."""
    monkeypatch.setattr("fwpolicy.commands.operands.machine_of", lambda options: place.machine)
    monkeypatch.setattr("fwpolicy.commands.who.over_ssh", lambda: None)
    return lambda *words: main(list(words))


# Waiting to be confirmed, and the ways back


def apply_asking(place, seconds, plan):
    return applying.carry_out(
        plan, place.machine, ("t",), "2026-01-01T00:00:00Z", lambda _: None, Asked("me", seconds)
    )


def wait_until_taken_back(place, seconds=20):
    deadline = time.monotonic() + seconds
    state = place.folder / STATE[1:]
    # In the order of the renames.
    while any((state / name).exists() for name in ("journal", "undoing", "undone")):
        assert time.monotonic() < deadline, "nobody takes it back"
        time.sleep(0.02)


def test_what_nobody_confirms_is_taken_back_in_time(place):
    tree, rules = place.tree(), place.rules()
    apply_asking(place, 0.5, site(place))
    assert ours(place) and not (place.folder / f"{STATE}/current"[1:]).exists()
    wait_until_taken_back(place)
    assert place.rules() == rules and (place.folder / CONFIG[1:]).read_text() == BEFORE
    assert {path: entry for path, entry in place.tree().items() if STATE[1:] not in path} == tree


def test_an_earlier_apply_comes_back_with_what_it_had_collected(place):
    applied(place, site(place))
    place.run("ipset", "add", "fwp-banned_v4", "198.51.100.9")
    rules = place.rules()
    apply_asking(place, 0.5, planned(place, "bastion", replace=True))
    assert place.rules()[0] != rules[0]
    wait_until_taken_back(place)
    assert place.rules() == rules
    assert State(place.machine).pointers() == {"running": 1, "current": 1, "previous": None}


def test_once_it_counts_what_only_the_way_back_needed_goes(place):
    applied(place, site(place))
    sets = len(place.run("ipset", "list", "-name").split())
    apply_asking(place, 60, site(place, 30))
    assert len(place.run("ipset", "list", "-name").split()) == sets + 1
    confirm(place.machine, pending(State(place.machine)), lambda _: None)
    assert len(place.run("ipset", "list", "-name").split()) == sets
    applied(place, site(place, 40))
    assert len(place.run("ipset", "list", "-name").split()) == sets
    assert look(place.machine).drifts == ()


def test_rollback_brings_rules_and_sets_back(place):
    applied(place, site(place))
    rules = place.rules()
    applied(place, planned(place, "ntp-closed", replace=True))
    assert place.rules() != rules
    applied(place, plan_back(place.machine, None))
    assert place.rules() == rules
    assert look(place.machine).drifts == () and not site(place).rules_changed


# Status and counters


def test_status_tells_drift_as_rules_and_as_traffic_and_heals(place, by_command, capsys):
    applied(place, planned(place))
    rules = place.rules()
    place.run("iptables", "-I", "FWPOLICY-INPUT", "-p", "udp", "--dport", "123", "-j", "RETURN")
    status = look(place.machine)
    (drift,) = status.drifts
    assert "changed since the apply" in drift.what
    assert any(line.startswith("+-A FWPOLICY-INPUT -p udp") for line in drift.detail)
    assert any("udp/123" in each for change in status.traffic for each in change.classes)
    assert planned(place).rules_changed
    assert by_command("status", "--heal") == 0
    assert place.rules() == rules
    place.run("ip6tables", "-D", "INPUT", "-j", "FWPOLICY-INPUT")
    assert look(place.machine).traffic
    applied(place, planned(place))
    assert place.rules() == rules and look(place.machine).drifts == ()


def test_others_rules_before_ours_are_a_note(place):
    applied(place, planned(place))
    place.run("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "f2b-sshd")
    status = look(place.machine)
    assert status.drifts == () and "f2b-sshd" in status.notes[0]
    assert not planned(place).rules_changed


def test_who_accepts_before_us_is_drift(place):
    applied(place, planned(place))
    place.run("iptables", "-N", "ts-input")
    place.run("iptables", "-A", "ts-input", "-p", "udp", "-j", "ACCEPT")
    place.run("iptables", "-I", "INPUT", "-j", "ts-input")
    (drift,) = look(place.machine).drifts
    assert "come before ours" in drift.what and drift.detail == ("filter: -A INPUT -j ts-input",)
    assert planned(place).rules_changed
    applied(place, planned(place))
    assert look(place.machine).drifts == () and "-A INPUT -j ts-input" in place.text()


def test_a_tampered_set_is_drift(place):
    applied(place, site(place))
    (name,) = [each for each in place.run("ipset", "list", "-name").split() if "many" in each]
    place.run("ipset", "add", name, "0.0.0.0/1")
    status = look(place.machine)
    assert any("0.0.0.0/1" in line for line in status.drifts[0].detail) and status.traffic
    applied(place, site(place))
    assert look(place.machine).drifts == ()


def test_counters_by_the_lines_of_the_policy(place, by_command, capsys):
    applied(place, site(place))
    for command in (
        ["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
        ["link", "set", "d0", "up"],
        ["addr", "add", "192.0.2.5/24", "dev", "d0"],
        ["neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "d0"],
    ):
        place.run("ip", *command)
    place.run("python3", "-c", SEND)
    assert by_command("counters") == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "discard" in line]
    assert line.split()[0] == "3"
    flush(place)
    assert by_command("counters") == 1
    assert "our chains are gone" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_a_dormant_table_under_ours_is_drift_and_refused(place, family):
    applied(place, planned(place))
    where = f"table {family} filter"
    place.nft(f"add {where} {{ flags dormant; }}\n")
    if place.variant == "legacy":
        assert look(place.machine).drifts == (), "it is not where our rules are"
        return
    said = f"{where} is dormant: nothing in it is filtered; wake it: nft add {where}"
    assert [each.what for each in look(place.machine).drifts] == [said]
    assert said in planned(place).refusals
    place.nft(f"add {where}\n")
    assert look(place.machine).drifts == () and not planned(place).refusals
