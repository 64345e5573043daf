"""An apply that waits: confirmed, taken back in time, by hand, by the next command; and the ways back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy.apply import Asked
from fwpolicy.deploy.confirm import confirm, refuse, settled, too_old
from fwpolicy.deploy.history import history
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.rollback import plan_back
from fwpolicy.deploy.starters import UNIT_PATH
from fwpolicy.deploy.state import State, fields
from fwpolicy.deploy.status import look
from fwpolicy.errors import HostError
from fwpolicy.host import boottime
from fwpolicy.record import replace
from tests.kernel.place import AFTER, BEFORE, CONFIG, STATE, applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here


def apply_asking(place, seconds, case="ntp-client", **options):
    plan = planned(place, case, **options)
    return applying.carry_out(
        plan, place.machine, ("t",), "2026-01-01T00:00:00Z", lambda _: None, Asked("me", seconds)
    )


def waits(place):
    return pending(State(place.machine))


def wait_until_taken_back(place, seconds=10):
    deadline = time.monotonic() + seconds
    while waits(place) or (place.folder / f"{STATE}/undone"[1:]).exists():
        assert time.monotonic() < deadline, "nobody takes it back"
        time.sleep(0.02)


@pytest.fixture
def by_command(place, monkeypatch):
    """Runs a verb about this place."""
    monkeypatch.setattr("fwpolicy.commands.operands.machine_of", lambda options: place.machine)
    monkeypatch.setattr("fwpolicy.commands.who.over_ssh", lambda: None)
    return lambda *words: main(list(words))


def test_what_nobody_confirms_is_taken_back_in_time(place):
    tree = place.tree()
    apply_asking(place, 0.5)
    assert place.rules() and (place.folder / CONFIG[1:]).read_text() == AFTER
    assert not (place.folder / f"{STATE}/current"[1:]).exists()  # the next boot is the old one's
    wait_until_taken_back(place)
    assert place.rules() == "" and (place.folder / CONFIG[1:]).read_text() == BEFORE
    (past,) = history(place.machine)
    assert (past.number, past.fate, past.boots) == (1, "undone: not confirmed in time", False)
    assert {path: entry for path, entry in place.tree().items() if STATE[1:] not in path} == tree


def test_an_earlier_apply_comes_back(place):
    applied(place, planned(place, "ntp-server"))
    rules = place.rules()
    apply_asking(place, 0.4, "ntp-closed", replace=True)
    assert place.rules() != rules and not place.services.status(("chrony.service",)).active
    wait_until_taken_back(place)
    assert place.rules() == rules
    pointers = State(place.machine).pointers()
    assert pointers == {"running": 1, "current": 1, "previous": None}


def test_confirmed_it_counts_at_the_next_boot_too(place, by_command, capsys):
    applied(place, planned(place, "ntp-server"))
    apply_asking(place, 60, replace=True)
    assert State(place.machine).pointers() == {"running": 2, "current": 1, "previous": None}
    assert by_command("status") == 2
    assert "waits to be confirmed, 60 s more" in capsys.readouterr().out
    assert by_command("confirm") == 0
    assert capsys.readouterr().out == "confirmed ntp-client: generation 2\n"
    assert State(place.machine).pointers() == {"running": 2, "current": 2, "previous": 1}
    assert waits(place) is None and look(place.machine).drifts == ()
    assert by_command("confirm") == 1
    assert "nothing waits to be confirmed" in capsys.readouterr().err


def test_while_it_waits_nothing_else_is_applied(place, by_command, capsys):
    apply_asking(place, 60)
    assert by_command("apply", "ntp-server", "--replace") == 1
    assert "generation 1 of 'ntp-client' waits to be confirmed" in capsys.readouterr().err
    assert by_command("rollback", "1") == 1
    assert by_command("rollback") == 0
    assert "the host is as before it" in capsys.readouterr().out
    assert place.rules() == "" and waits(place) is None
    assert by_command("history") == 0
    assert "undone: rolled back by" in capsys.readouterr().out


def test_too_late_is_too_late(place, by_command, capsys):
    apply_asking(place, 60)
    entry = waits(place)
    State(place.machine).files.write(
        f"{STATE}/journal/manifest.json", _manifest(replace(entry, deadline=1.0)), 0o600
    )
    assert by_command("confirm") == 1
    said = capsys.readouterr()
    assert "was taken back: not confirmed in time" in said.out and place.rules() == ""


def _manifest(entry):
    return json.dumps(fields(entry) | {"format": 1})


def test_another_boot_takes_it_back(place):
    apply_asking(place, 60)
    entry = replace(waits(place), boot="another")
    State(place.machine).files.write(f"{STATE}/journal/manifest.json", _manifest(entry), 0o600)
    told: list[str] = []
    assert settled(place.machine, told.append) is None
    assert "taken back" in told[0] and (place.folder / CONFIG[1:]).read_text() == BEFORE


def test_an_old_connection_proves_nothing(place):
    apply_asking(place, 60)
    entry = waits(place)
    assert "older than the apply" in too_old(entry, entry.applied - 1)
    assert "cannot be found out" in too_old(entry, None)
    assert too_old(entry, boottime.uptime() + 1) is None
    confirm(place.machine, entry, lambda step: None)


def test_a_timer_that_comes_late_takes_back_nothing_of_the_next_apply(place):
    apply_asking(place, 60)
    script = (place.folder / f"{STATE}/journal/undo.sh"[1:]).read_text()
    confirm(place.machine, waits(place), lambda step: None)
    apply_asking(place, 60, "ntp-closed", replace=True)
    rules = place.rules()
    late = place.folder / "late.sh"
    late.write_text(script)
    environment = os.environ | {"FWPOLICY_ROOT": str(place.folder)}
    subprocess.run(["sh", str(late), "live"], check=True, env=environment)
    assert place.rules() == rules and waits(place).generation == 2
    refuse(place.machine, waits(place), "test")


def test_generations_are_forgotten_in_the_end(place, monkeypatch):
    monkeypatch.setattr("fwpolicy.deploy.history.KEPT", 2)
    for case in ("ntp-client", "ntp-server", "ntp-client", "ntp-server"):
        applied(place, planned(place, case, replace=True))
    assert [past.number for past in history(place.machine)] == [4, 3]


def test_an_image_is_nobodys_to_confirm(tmp_path, capsys):
    assert main(["apply", "ntp-client", "--root", str(tmp_path), "--confirm", "5s"]) == 1
    assert "nobody can confirm what an image has" in capsys.readouterr().err


def test_remove_while_it_waits(place, by_command, capsys):
    tree = place.tree()
    apply_asking(place, 60)
    assert by_command("remove") == 0
    assert "which waited to be confirmed, was taken back" in capsys.readouterr().out
    assert place.rules() == "" and place.tree() == tree


def test_what_is_edited_in_the_window_is_kept_aside(place):
    apply_asking(place, 60)
    path = place.folder / CONFIG[1:]
    path.write_text(AFTER + "# by hand\n")
    refuse(place.machine, waits(place), "test")
    assert path.read_text() == BEFORE
    (kept,) = (place.folder / STATE[1:]).glob("edited-*")
    assert kept.read_text() == AFTER + "# by hand\n"


def test_an_edited_file_that_the_apply_made_is_kept_aside_every_time(place):
    """Of the boot unit, which was not there before."""
    apply_asking(place, 60)
    path = place.folder / UNIT_PATH[1:]
    path.write_text(path.read_text() + "# by hand\n")
    refuse(place.machine, waits(place), "test")
    assert not path.exists()
    (kept,) = (place.folder / STATE[1:]).glob("edited-*")
    assert kept.read_text().endswith("# by hand\n")


def test_what_was_open_before_is_open_again(place, by_command):
    applied(place, planned(place))
    assert by_command("open") == 0
    apply_asking(place, 0.4, "ntp-closed", replace=True)
    assert place.rules()
    wait_until_taken_back(place)
    assert place.rules() == "" and any("opened by hand" in note for note in look(place.machine).notes)


def test_an_opening_after_another_is_not_closed_by_the_first(place, by_command):
    applied(place, planned(place))
    assert by_command("open", "--for", "1s") == 0
    assert by_command("open") == 0
    time.sleep(1.5)
    assert place.rules() == ""


# The way back to an earlier generation


def test_rollback_brings_rules_files_and_services_back(place, by_command, capsys):
    applied(place, planned(place))
    rules = place.rules()
    applied(place, planned(place, "ntp-closed", replace=True))
    assert not place.services.status(("chrony.service",)).active
    assert by_command("rollback") == 0
    assert "ntp-client: generation 3, which is 1 again" in capsys.readouterr().out
    assert sorted(place.rules()) == sorted(rules) and (place.folder / CONFIG[1:]).read_text() == AFTER
    assert place.services.status(("chrony.service",)).active
    assert look(place.machine).drifts == ()
    assert State(place.machine).pointers() == {"running": 3, "current": 3, "previous": 2}
    assert not planned(place).rules_changed
    assert by_command("rollback", "2") == 0
    assert not place.services.status(("chrony.service",)).active and look(place.machine).drifts == ()
    assert [(past.number, past.again) for past in history(place.machine)] == [
        (4, 2),
        (3, 1),
        (2, None),
        (1, None),
    ]


def test_rollback_merges_what_was_edited_since_or_refuses(place, by_command, capsys):
    long = "".join(f"# line {number}\n" for number in range(20)) + BEFORE
    path = place.folder / CONFIG[1:]
    path.write_text(long)
    applied(place, planned(place))
    before = path.read_text()
    holes = planned(place, "holes", replace=True)
    applied(place, holes)
    assert path.read_text() == long
    edited = ("# line 9\n", "# line 9, edited\n")
    path.write_text(long.replace(*edited))
    assert by_command("rollback") == 0
    assert path.read_text() == before.replace(*edited)
    assert by_command("rollback") == 0
    assert path.read_text() == long.replace(*edited)
    path.write_text(long.replace("allow all", "allow 192.0.2.0/24"))
    capsys.readouterr()
    rules = place.rules()
    assert by_command("rollback") == 1
    assert "was edited since where the way back changes it too" in capsys.readouterr().err
    assert place.rules() == rules


def test_rollback_without_a_past(place, by_command, capsys):
    assert by_command("rollback") == 1
    assert "nothing was ever applied" in capsys.readouterr().err
    applied(place, planned(place))
    assert by_command("rollback") == 1
    assert "nothing was applied before this" in capsys.readouterr().err
    assert by_command("rollback", "7") == 1
    assert "no generation 7" in capsys.readouterr().err


def test_a_rollback_that_fails_changes_nothing(place, monkeypatch):
    applied(place, planned(place))
    applied(place, planned(place, "ntp-server", replace=True))
    rules, tree = place.rules(), place.tree()
    place.services.fail.add(("restart", "chrony.service"))
    monkeypatch.setattr(applying, "_restart_all", lambda machine, units: None)
    with pytest.raises(HostError):
        applied(place, plan_back(place.machine, 1))
    assert place.rules() == rules and place.tree() == tree


# Emergency


def test_open_and_closed_again(place, by_command, capsys):
    applied(place, planned(place))
    rules = place.rules()
    assert by_command("open", "--for", "1s") == 0
    assert place.rules() == ""
    status = look(place.machine)
    assert any("opened by hand" in note for note in status.notes) and status.drifts
    deadline = time.monotonic() + 10
    while place.rules() != rules or look(place.machine).notes:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert by_command("open") == 0 and place.rules() == ""
    applied(place, planned(place))
    assert place.rules() == rules and look(place.machine).notes == ()


def test_an_opening_while_an_apply_waits_says_when_it_ends(place, by_command, capsys):
    applied(place, planned(place))
    before = place.rules()
    apply_asking(place, 4, "ntp-closed", replace=True)
    assert by_command("open", "--for", "1h") == 0
    said = capsys.readouterr().out
    assert re.search(r"for [34] s, until what waits to be confirmed is taken back", said), said
    assert by_command("open", "--json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] in (3, 4)
    assert by_command("open", "--for", "1s", "--json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == 1
    run = ["ip", "netns", "exec", place.name, "env", f"FWPOLICY_ROOT={place.folder}", "sh"]
    opener = subprocess.run(
        [*run, str(place.folder / f"{STATE}/open.sh"[1:])], capture_output=True, text=True, check=True
    )
    assert "the rules before it come back" in opener.stderr and place.rules() == ""
    deadline = time.monotonic() + 20
    while place.rules() != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_open_where_nothing_was_applied(place, by_command, capsys):
    assert by_command("open", "--for", "5m") == 1
    assert "nothing was applied here that could come back" in capsys.readouterr().err
    assert by_command("open") == 0
    said = capsys.readouterr().out
    assert "nothing is remembered of an apply here" in said and "open.sh" not in said


# Gates: nobody is there to be asked


def test_gates_confirm_or_take_back(place, by_command, capsys, tmp_path):
    policy = tmp_path / "p.yaml"
    text = "version: 1\nname: p\nroles: {ntp: client-only}\napply: {confirm: 5s, gates: [{run: [PROGRAM]}]}\n"
    policy.write_text(text.replace("PROGRAM", "/bin/true"))
    assert by_command("apply", str(policy)) == 0
    said = capsys.readouterr().out
    assert "confirmed: all gates hold" in said and "unless you confirm" not in said
    assert waits(place) is None and State(place.machine).pointers()["current"] == 1
    rules = place.rules()
    policy.write_text(text.replace("PROGRAM", "/bin/false").replace("client-only", "closed"))
    assert by_command("apply", str(policy)) == 3
    assert "taken back, a gate does not hold" in capsys.readouterr().err
    assert place.rules() == rules and waits(place) is None
    assert history(place.machine)[0].fate.startswith("undone: a gate did not hold")
    assert by_command("apply", "--no-confirm", str(policy)) == 0
    assert place.rules() != rules


def test_the_way_back_ends_what_the_earlier_policy_denied(place, by_command, tmp_path):
    for command in (["link", "set", "lo", "up"], ["addr", "add", "192.0.2.5/24", "dev", "lo"]):
        subprocess.run(["ip", "-n", place.name, *command], check=True)
    policy = tmp_path / "p.yaml"
    text = "version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n"
    policy.write_text(text)
    assert by_command("apply", str(policy)) == 0
    policy.write_text(text.replace("[ssh]", "[ssh, udp/5353]"))
    assert by_command("apply", str(policy)) == 0
    inside = ("ip", "netns", "exec", place.name, "conntrack")
    ends = ("-s", "203.0.113.9", "-d", "192.0.2.5", "--sport", "4000", "--dport", "5353")
    subprocess.run([*inside, "-I", "-p", "udp", "-t", "60", *ends], check=True, capture_output=True)
    policy.unlink()  # its text is kept
    assert by_command("rollback") == 0
    listed = subprocess.run([*inside, "-L"], check=True, capture_output=True, text=True).stdout
    assert "dport=5353" not in listed
    # Of a generation that kept no policy the rules come back all the same.
    (place.folder / f"{STATE}/generations/2/policy.kept"[1:]).unlink()
    assert by_command("rollback", "2") == 0
    assert "udp dport 5353" in place.rules()
