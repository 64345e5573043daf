"""apply, status and remove against a real kernel: whole or not at all.

The kernel is real, in a namespace of the test's own; files are below a folder; the service manager
is the one in memory. Real service managers and daemons are in tests/hosts.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.starters import UNIT, UNIT_PATH
from fwpolicy.deploy.status import look
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.host.files import Files
from fwpolicy.host.services import ServiceState
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.golden import cases
from tests.kernel.place import AFTER, BEFORE, CONFIG, STATE, applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here


def test_apply_then_nothing_to_change_then_remove(place):
    before = place.tree()
    plan = planned(place)
    assert plan.changed and plan.restarts == ("chrony.service",)
    steps = applied(place, plan)
    assert [step.split()[0] for step in steps] == ["proved:", "wrote", "loaded", "restarted", UNIT]
    assert (place.folder / CONFIG[1:]).read_text() == AFTER
    assert "@th,64,8 & 0x7 == 0x4" in place.rules()

    again = planned(place)
    assert not again.changed and not again.restarts and not again.boot
    assert look(place.machine).drifts == ()

    assert remove(place.machine, steps.append)
    assert place.tree() == before
    assert place.rules() == ""
    assert not remove(place.machine, steps.append)


def test_what_it_writes_is_roots_alone(place):
    applied(place, planned(place))
    state = place.folder / STATE[1:]
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "boot.sh").stat().st_mode & 0o777 == 0o700
    assert (place.folder / CONFIG[1:]).stat().st_mode & 0o777 == 0o640
    assert not [
        path for path in place.folder.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o002
    ]


def test_the_boot_script_loads_the_current_rules_or_the_ones_before(place):
    applied(place, planned(place))
    applied(place, planned(place, "ntp-closed", replace=True))
    script = place.folder / f"{STATE}/boot.sh"[1:]
    boot = ["ip", "netns", "exec", place.name, "env", f"FWPOLICY_ROOT={place.folder}", "sh", str(script)]

    place.nft("flush ruleset")
    assert subprocess.run(boot, check=False).returncode == 0
    rules = place.rules()
    assert 'udp sport 123 counter name "role_ntp_input_drop" drop' in rules and "== 0x4" not in rules

    current = place.folder / f"{STATE}/current/ruleset.nft"[1:]
    current.write_text("table inet fwpolicy { chain c { no such thing } }")
    place.nft("flush ruleset")
    done = subprocess.run(boot, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "previous/ruleset.nft" in done.stderr
    assert "== 0x4" in place.rules()


def booted(place):
    script = place.folder / f"{STATE}/boot.sh"[1:]
    boot = ["ip", "netns", "exec", place.name, "env", f"FWPOLICY_ROOT={place.folder}", "sh", str(script)]
    return subprocess.run(boot, check=False, capture_output=True, text=True)


def _cut(text):
    return "".join(text.splitlines(keepends=True)[:3])


def _dropped_table(text):
    return "".join(text.splitlines(keepends=True)[:5])


LOST = {
    "empty": lambda state: (state / "current/ruleset.nft").write_text(""),
    "its head alone": lambda state: _edit(state / "current/ruleset.nft", _cut),
    "its table dropped": lambda state: _edit(state / "current/ruleset.nft", _dropped_table),
    "somebody else's": lambda state: (state / "current/ruleset.nft").write_text("flush ruleset\n"),
    "no such file": lambda state: (state / "current/ruleset.nft").unlink(),
    "all generations": lambda state: shutil.rmtree(state / "generations"),
}


def _edit(path, change):
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("loss", LOST)
def test_the_boot_falls_back_where_the_rules_are_lost(place, loss):
    """The fallback of a policy for all, ssh-only: a boot is not open, nor said to be a success."""
    text = b"version: 1\nname: p\ninput: {default: drop, allow: [ssh, http]}\n"
    applied(place, make_plan(load((("p.yaml", text),), lambda path: b""), place.machine, Options()))
    LOST[loss](place.folder / STATE[1:])
    place.nft("flush ruleset")
    done = booted(place)
    assert done.returncode == 1 and "loaded fallback.nft instead" in done.stderr
    assert "tcp dport 22 accept" in place.rules() and "80" not in place.rules()


def test_the_boot_of_a_host_where_nothing_was_applied(place):
    applied(place, planned(place))
    (place.folder / f"{STATE}/current"[1:]).unlink()
    place.nft("flush ruleset")
    assert booted(place).returncode == 0 and not place.rules()


FAILURES = {
    "the daemon refuses its configuration": ("check", HostError, "refuses its configuration"),
    "the daemon does not restart": ("restart", HostError, "restart chrony.service failed"),
    "the kernel refuses a rule": ("kernel", PolicyError, "the kernel refused this"),
    "the kernel lists other rules": ("readback", HostError, "does not hold what was loaded"),
    "the boot unit does not load": ("boot", HostError, "fwpolicy.service failed"),
    "the state cannot be written": ("state", HostError, "cannot"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("first", [True, False], ids=["first apply", "after another"])
def test_a_failure_leaves_everything_as_it_was(place, monkeypatch, failure, first):
    if not first:
        applied(place, planned(place, "ntp-server"))
        (place.folder / CONFIG[1:]).write_text(BEFORE)
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
        # A unit that runs already is not run again, or what it counted would be gone.
        place.services.fail |= {("restart", UNIT), ("enable", UNIT)}
    if how == "kernel":
        # A jump to nowhere passes every check of ours, and no kernel's.
        rule = 'udp dport { 123, 323 } counter name "role_ntp_input_drop"'
        wrong = f"{rule} jump nowhere"
        text = plan.loads[0].artifact.text.replace(f"{rule} drop", wrong)
        way = replace(plan.loads[0], artifact=replace(plan.loads[0].artifact, text=text))
        return replace(plan, loads=(way,))
    if how == "readback":
        return replace(plan, ruleset=cases.ruleset("ntp-closed"))
    if how == "state":
        real = Files.replace_symlink

        def refuse(self, path, target):
            if path.endswith("/current"):
                raise HostError(f"cannot link {path}: no space left on the device")
            real(self, path, target)

        monkeypatch.setattr(Files, "replace_symlink", refuse)
    return plan


def test_the_kernels_refusal_points_at_the_policys_line(place):
    plan = broken("kernel", planned(place), place, None)
    with pytest.raises(PolicyError) as caught:
        applied(place, plan)
    (problem,) = caught.value.problems
    assert problem.span.file == "policy.yaml"
    line = (cases.HERE / "ntp-client/policy.yaml").read_text().splitlines()[problem.span.line - 1]
    assert line.strip().startswith("ntp: client-only")
    assert "jump nowhere" in problem.hint


def test_status_tells_drift(place):
    assert look(place.machine).generation is None
    applied(place, planned(place))
    place.nft("add rule inet fwpolicy input udp dport 123 accept")
    (place.folder / CONFIG[1:]).write_text(AFTER + "allow all\n")
    place.services.units[UNIT] = ServiceState(UNIT, True, False, False)
    drifts = look(place.machine).drifts
    assert [drift.what.split()[0] for drift in drifts] == ["table", CONFIG, UNIT]
    assert any("udp dport 123 accept" in line for line in drifts[0].detail)
    place.nft("delete table inet fwpolicy")
    assert "is gone" in look(place.machine).drifts[0].what


def test_an_edited_file_keeps_its_edits(place):
    applied(place, planned(place))
    path = place.folder / CONFIG[1:]
    path.write_text("# edited\n" + path.read_text())
    applied(place, planned(place, "ntp-server", replace=True))
    assert "# edited" in path.read_text()
    steps: list[str] = []
    assert remove(place.machine, steps.append)
    assert path.read_text() == "# edited\n" + BEFORE
    assert any("the edits stay" in step for step in steps)


def test_a_rewritten_file_is_left_alone_and_so_is_everything_else(place):
    applied(place, planned(place))
    (place.folder / CONFIG[1:]).write_text("server other.example\n")
    rules = place.rules()
    with pytest.raises(HostError, match="was rewritten since the apply"):
        remove(place.machine, lambda step: None)
    assert place.rules() == rules and (place.folder / UNIT_PATH[1:]).exists()


def test_another_policys_name_and_a_lost_section_need_replace(place):
    def named(text):
        return load((("p.yaml", text.encode()),), lambda path: b"")

    whole = named("version: 1\nname: a\ninput: {default: drop, allow: [ssh]}\noutput: {default: accept}\n")
    options = Options()
    applied(place, make_plan(whole, place.machine, options))
    other = make_plan(
        named("version: 1\nname: b\ninput: {default: drop, allow: [ssh]}\n"), place.machine, options
    )
    assert "--replace" in other.refusals[0] and "'a'" in other.refusals[0]
    lost = make_plan(named("version: 1\nname: a\noutput: {default: accept}\n"), place.machine, options)
    assert "'input' has disappeared" in lost.refusals[0]
    with pytest.raises(HostError, match="disappeared"):
        applied(place, lost)
    assert "policy drop" in place.rules()
    forced = make_plan(
        named("version: 1\nname: b\noutput: {default: accept}\n"), place.machine, Options(replace=True)
    )
    assert forced.refusals == ()


def test_foreign_chains_and_nat(place):
    place.nft(
        "table ip nat { chain post { type nat hook postrouting priority srcnat; masquerade; }; }\n"
        "table inet other { chain in { type filter hook input priority 0; policy drop; }; }\n"
        "table inet lists { chain in { type filter hook input priority 5; tcp dport 22 accept; }; }\n"
    )
    plan = planned(place)
    assert plan.facts.nat
    assert [chain.name for table in plan.ruleset.tables for chain in table.chains] == ["input", "output"]
    assert any("NAT" in note for note in plan.notes)
    assert any("table inet other, chain in" in said and "may drop" in said for said in plan.foreign)
    assert any("table inet lists, chain in" in said and "only accepts" in said for said in plan.foreign)
    assert "drops everything" in plan.refusals[0]
    kept = make_plan(keep_foreign(), place.machine, Options())
    assert kept.refusals == ()
    applied(place, kept)
    for table in ("ip nat", "inet other", "inet lists"):
        assert f"table {table}" in place.rules()


def keep_foreign():
    text = "version: 1\nname: k\nroles: {ntp: client-only}\napply: {foreign: keep}\n"
    return load((("k.yaml", text.encode()),), lambda path: b"")


def test_connections_that_the_policy_denies_are_deleted(place):
    place.nft("table inet track { chain c { type filter hook input priority 0; ct state new accept; }; }")
    for command in (["link", "set", "lo", "up"], ["addr", "add", "192.0.2.5/24", "dev", "lo"]):
        subprocess.run(["ip", "-n", place.name, *command], check=True)
    flows = {
        "a stranger asks us": ("203.0.113.9", "192.0.2.5", 4000, 123),
        "we ask a server": ("192.0.2.5", "203.0.113.1", 123, 123),
        "what our own answer began": ("192.0.2.5", "203.0.113.9", 123, 4001),
        "no NTP at all": ("203.0.113.9", "192.0.2.5", 4000, 53),
    }
    for source, destination, sport, dport in flows.values():
        subprocess.run(
            [
                *("ip", "netns", "exec", place.name, "conntrack", "-I", "-p", "udp", "-t", "60"),
                *("-s", source, "-d", destination, "--sport", str(sport), "--dport", str(dport)),
            ],
            check=True,
            capture_output=True,
        )
    plan = planned(place)
    assert plan.losing == ("203.0.113.9",)
    assert {(flow.sport, flow.dport) for flow in plan.purge} == {(4000, 123), (123, 4001)}
    applied(place, plan)
    listed = subprocess.run(
        ["ip", "netns", "exec", place.name, "conntrack", "-L"], check=True, capture_output=True, text=True
    ).stdout
    assert "sport=123 dport=123" in listed and "dport=53" in listed
    assert "sport=4000 dport=123" not in listed and "sport=123 dport=4001" not in listed


def test_text_and_artifact_are_the_same_bytes(place):
    plan = planned(place)
    assert plan.artifact == render(plan.ruleset, plan.policy.name)


def test_what_the_next_policy_does_not_want_is_given_back(place):
    chrony = place.services.status(("chrony.service",))
    applied(place, planned(place))
    applied(place, planned(place, "ntp-closed", replace=True))
    assert not place.services.status(("chrony.service",)).active

    again = planned(place, replace=True)
    assert [state.unit for state in again.revived] == ["chrony.service"]
    applied(place, again)
    assert place.services.status(("chrony.service",)) == chrony
    assert not planned(place).changed

    without_role = make_plan(cases.policy("holes"), place.machine, Options(replace=True))
    assert [change.path for change in without_role.returned] == [CONFIG]
    applied(place, without_role)
    assert (place.folder / CONFIG[1:]).read_text() == BEFORE
    assert not make_plan(cases.policy("holes"), place.machine, Options()).changed
    (place.folder / CONFIG[1:]).write_text("edited since\n")
    remove(place.machine, lambda step: None)
    assert (place.folder / CONFIG[1:]).read_text() == "edited since\n"
