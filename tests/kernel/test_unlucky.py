"""The unlucky operator: killed, out of space, policies and files that change under him."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.commands.operands import failure_json
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy import journal
from fwpolicy.deploy.machine import Machine, machine
from fwpolicy.deploy.nftrules import NftRules
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.ruledrift import heal
from fwpolicy.deploy.starters import UNIT_PATH
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import look
from fwpolicy.errors import HostError, InterruptedByError, LeftBehindError, PolicyError
from fwpolicy.host.files import Files, Snapshot
from fwpolicy.host.lock import keep_private, locked, whole
from fwpolicy.host.services import NoServices
from fwpolicy.policy.load import load
from tests.golden import cases
from tests.kernel.place import BEFORE, CONFIG, STATE, applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

TWO_ERRORS = r"restart chrony.service failed; and not all could be put back .*no space"
CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_middle_undoes_it_all(place, number, monkeypatch):
    tree = place.tree()
    monkeypatch.setattr(applying, "_purge", lambda *_: os.kill(os.getpid(), number))
    # Tests may run in the background or under nohup(1), where some are ignored.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(InterruptedByError, match=f"interrupted by {number.name}"), whole():
            applied(place, planned(place))
    finally:
        signal.signal(number, before)
    assert place.tree() == tree and place.rules() == ""


def test_what_dies_is_taken_back_by_its_watcher(place, monkeypatch):
    class Killed(BaseException):
        """Stands for SIGKILL: nothing of ours runs after it."""

    def die(*_):
        raise Killed

    tree = place.tree()
    monkeypatch.setattr(applying, "_purge", die)
    monkeypatch.setattr(applying.Undo, "__exit__", lambda *_: None)
    with pytest.raises(Killed):
        applied(place, planned(place))
    deadline = time.monotonic() + 10
    while (place.folder / STATE[1:]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert place.tree() == tree and place.rules() == ""


def test_what_nobody_watched_is_told_and_taken_back_by_the_next_command(place, monkeypatch, capsys):
    class Killed(BaseException):
        """Stands for SIGKILL of all that is ours."""

    def die(*_):
        raise Killed

    tree = place.tree()
    with monkeypatch.context() as patched:
        patched.setattr(applying, "_purge", die)
        patched.setattr(applying.Undo, "__exit__", lambda *_: None)
        patched.setattr(journal, "watch", lambda *_: None)
        with pytest.raises(Killed):
            applied(place, planned(place))
    assert "interrupted" in look(place.machine).drifts[0].what
    monkeypatch.setattr("fwpolicy.commands.operands.machine_of", lambda options: place.machine)
    assert main(["status"]) == 2
    assert capsys.readouterr().out == "an apply was interrupted: any other command takes it back first\n"
    assert main(["remove"]) == 0
    assert "generation 1 of 'ntp-client' was taken back: the apply was interrupted" in capsys.readouterr().out
    assert place.tree() == tree and place.rules() == ""


def test_when_undoing_fails_too_the_first_error_is_told_and_nothing_is_forgotten(place, monkeypatch):
    place.services.fail.add(("restart", "chrony.service"))
    real = Files.restore

    def full(self, snapshot):
        if snapshot.path == CONFIG:
            raise HostError(f"cannot restore {CONFIG}: no space left on the device")
        real(self, snapshot)

    monkeypatch.setattr(Files, "restore", full)
    with pytest.raises(LeftBehindError, match=TWO_ERRORS) as told:
        applied(place, planned(place))
    assert failure_json(told.value, "")["changed"]
    monkeypatch.undo()
    place.services.fail.clear()
    assert remove(place.machine, lambda step: None)
    assert (place.folder / CONFIG[1:]).read_text() == BEFORE


def test_a_remove_that_can_write_nothing_leaves_the_rules(netns, tmp_path):
    """A file system that was remounted read-only after an error."""
    policy, state = tmp_path / "p.yaml", tmp_path / "state"
    policy.write_text("version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n")
    host = ("--netns", netns, "--state-dir", str(state))
    assert main(["apply", *host, "--no-daemon", "--no-persist", str(policy)]) == 0
    rules = ["ip", "netns", "exec", netns, "nft", "list", "ruleset"]
    before = subprocess.run(rules, check=True, capture_output=True).stdout
    script = f'mount --bind {state} {state} && mount -o remount,ro,bind {state} && exec "$@"'
    remove_it = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "fwpolicy", "remove", *host]
    done = subprocess.run(remove_it, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "read-only; remount it read-write first" in done.stderr
    assert subprocess.run(rules, check=True, capture_output=True).stdout == before
    assert main(["status", *host]) == 0 and main(["remove", *host]) == 0


@pytest.mark.parametrize("failing", ["a file", "a service", "the state", "the rules"])
def test_a_remove_that_fails_leaves_the_host_as_it_was(place, monkeypatch, failing):
    applied(place, planned(place))
    tree, rules, units = place.tree(), place.rules(), dict(place.services.units)

    def full(*_):
        raise HostError("no space left on the device")

    with monkeypatch.context() as patched:
        if failing == "a file":
            real, unit = Files.restore, Snapshot(UNIT_PATH, False)
            patched.setattr(Files, "restore", lambda self, each: full() if each == unit else real(self, each))
        elif failing == "a service":
            place.services.fail.add(("restart", "chrony.service"))
        else:
            patched.setattr(*((State, "forget") if failing == "the state" else (NftRules, "take_out")), full)
        with pytest.raises(HostError):
            remove(place.machine, lambda step: None)
        place.services.fail.clear()
    assert (place.rules(), place.services.units) == (rules, units)
    assert place.tree() == tree
    assert remove(place.machine, lambda step: None) and place.rules() == ""


def test_a_service_that_closed_took_off_is_remembered_over_generations(place):
    chrony = place.services.status(("chrony.service",))
    applied(place, planned(place, "ntp-closed"))
    text = "version: 1\nname: ntp-closed\nroles: {ntp: closed}\noutput: {default: accept}\n"
    more = load((("p.yaml", text.encode()),), lambda path: b"")
    applied(place, make_plan(more, place.machine, Options()))
    assert look(place.machine).drifts == ()
    applied(place, planned(place, "ntp-client", replace=True))
    assert place.services.status(("chrony.service",)) == chrony


def test_without_an_init_system_nothing_is_promised_for_the_boot(place):
    bare = Machine(place.machine.files, NoServices(), STATE, live=True)
    plan = make_plan(cases.policy("holes"), bare, Options())
    assert plan.boot == () and any("will not survive a reboot" in note for note in plan.notes)
    applying.carry_out(plan, bare, ("t",), "2026-01-01T00:00:00Z", lambda step: None)
    assert not (place.folder / UNIT_PATH[1:]).exists()
    assert look(bare).drifts == ()
    assert remove(bare, lambda step: None) and place.rules() == ""


def test_an_overlay_does_not_inherit_the_fallback_of_a_full_policy(place):
    applied(place, planned(place, "holes"))
    script = place.folder / f"{STATE}/boot.sh"[1:]
    assert "fallback.nft" in script.read_text()
    applied(place, planned(place, "ntp-client", replace=True))
    assert "fallback.nft" not in script.read_text()


@pytest.mark.parametrize("path", [f"{STATE}/boot.sh", UNIT_PATH, f"{STATE}/current/ruleset.nft"])
def test_status_looks_at_what_boots(place, path):
    applied(place, planned(place))
    (place.folder / path[1:]).write_text("tampered\n")
    assert any(path in drift.what for drift in look(place.machine).drifts)
    (place.folder / path[1:]).unlink()
    assert look(place.machine).drifts


def test_no_persist_leaves_the_boot_as_it_was(place):
    applied(place, planned(place))
    before = (place.folder / f"{STATE}/current/ruleset.nft"[1:]).read_text()
    applied(place, planned(place, "web-server-small", persist=False, replace=True))
    assert (place.folder / f"{STATE}/current/ruleset.nft"[1:]).read_text() == before
    assert "tcp dport" in place.rules()
    assert look(place.machine).generation.policy == "web-server"


def test_nat_that_appears_later_is_drift(place):
    applied(place, planned(place))
    place.nft("table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }")
    assert any("NAT has appeared" in drift.what for drift in look(place.machine).drifts)
    applied(place, planned(place))
    assert look(place.machine).drifts == ()


def test_chains_of_other_families_do_not_stop_us(place):
    place.nft("table arp f { chain input { type filter hook input priority 0; policy drop; }; }")
    plan = planned(place)
    assert plan.refusals == () and plan.survey.foreign == ()


def test_notrack_is_told(place):
    place.nft("table ip r { chain p { type filter hook prerouting priority -300; udp dport 123 notrack; }; }")
    assert any("notrack" in note for note in planned(place).notes)


def test_a_loopback_of_another_name_is_named(place):
    applied(place, planned(place))
    ip = ["ip", "-n", place.name, "link", "set", "lo"]
    subprocess.run([*ip, "down"], check=True)
    subprocess.run([*ip, "name", "lo9"], check=True)
    place.nft("delete table inet fwpolicy\n")
    for bring_back in (lambda: applied(place, planned(place)), lambda: heal(place.machine)):
        with pytest.raises((HostError, PolicyError), match="called lo9 here, not lo: ip link set") as told:
            bring_back()
    words = re.search(r"ip (link set .* lo up)", str(told.value))[1].split()
    subprocess.run(["ip", "-n", place.name, *words], check=True)
    assert heal(place.machine)


def test_a_damaged_state_is_a_message(place):
    applied(place, planned(place))
    for name, text in {"running/manifest.json": '{"format": 1}', "originals.json": "[]"}.items():
        path = place.folder / f"{STATE}/{name}"[1:]
        kept = path.read_text()
        path.write_text(text)
        with pytest.raises(HostError, match="damaged"):
            remove(place.machine, lambda step: None)
        path.write_text(kept)
    (place.folder / f"{STATE}/generations/old"[1:]).mkdir()
    assert remove(place.machine, lambda step: None)


def test_only_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("fwpolicy.host.lock._PATIENCE", 0.2)
    state = str(tmp_path / "not/there/yet")
    with locked(state), pytest.raises(HostError, match="another fwpolicy is at work"), locked(state):
        pytest.fail("two at a time")
    assert list(tmp_path.iterdir()) == []
    with locked(state):
        pass


@pytest.mark.parametrize("inside", ["", "netns", "generations"])
def test_nobody_else_holds_the_lock(netns, tmp_path, inside, capsys):
    state, policy = tmp_path / "state", tmp_path / "p.yaml"
    (state / inside).mkdir(parents=True)
    state.chmod(0o755)
    tmp_path.chmod(0o755)
    policy.write_text("version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n")
    host = ("--netns", netns, "--state-dir", str(state))
    command = ["apply", *host, "--no-daemon", "--no-persist", str(policy)]
    assert main(command) == 0 and "0700 now" in capsys.readouterr().out
    assert state.stat().st_mode & 0o777 == 0o700
    assert main(command) == 0 and "0700" not in capsys.readouterr().out


def test_a_folder_that_is_not_a_states_stays_as_it_is(tmp_path):
    for name, owner in (("shared", 0), ("somebody's", 65534)):
        folder = tmp_path / name
        folder.mkdir(0o755)
        (folder / ("data" if owner == 0 else "generations")).mkdir()
        os.chown(folder, owner, -1)
        assert not keep_private(str(folder)) and folder.stat().st_mode & 0o777 == 0o755
    assert not keep_private(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("wrong", ["relative", "/a b; touch /tmp/x", "/", "/a/'b"])
def test_a_state_directory_that_could_not_stand_in_a_script(wrong):
    with pytest.raises(HostError, match="--state-dir"):
        machine("/", None, wrong)


def test_the_state_of_a_namespace_is_kept_apart():
    assert machine("/", "blue", None).state_dir == "/var/lib/fwpolicy/netns/blue"
    assert machine("/", None, None).state_dir == "/var/lib/fwpolicy"


def test_a_file_here_does_not_shadow_a_shipped_policy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ntp-client").write_text("version: 1\nname: evil\ninput: {default: accept}\n")
    assert main(["check", "ntp-client"]) == 0
    assert capsys.readouterr().out.startswith("ntp-client: ok and proved, role ntp")
    assert main(["check", "./ntp-client"]) == 0
    assert capsys.readouterr().out.startswith("evil: ok")


def test_a_real_hang_up_over_the_command_line(netns, tmp_path):
    """The whole program, killed by SIGHUP while it waits: nothing is left."""
    slow = "\n".join(
        (
            "import sys, time, fwpolicy.deploy.apply as a",
            "from fwpolicy.cli import main",
            "a._purge = lambda *_: (print('waiting', flush=True), time.sleep(20))",
            "sys.exit(main(sys.argv[1:]))",
        )
    )
    state = f"/run/fwpolicy-test-{os.getpid()}"
    words = ("apply", "--netns", netns, "--state-dir", state, "ntp-client")
    command = ["env", "--default-signal=HUP", sys.executable, "-c", slow, *words]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=CHECKOUT, **piped) as process:
        for line in process.stdout:
            if "waiting" in line:
                break
        process.send_signal(signal.SIGHUP)
        assert "interrupted by SIGHUP; everything was put back" in process.stderr.read()
        assert process.wait() == 1
    rules = ["ip", "netns", "exec", netns, "nft", "list", "ruleset"]
    assert subprocess.run(rules, check=True, capture_output=True, text=True).stdout == ""
    assert not Path(state).exists()
