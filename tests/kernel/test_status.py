"""status: cheap where nothing differs, exact where something does, as rules and traffic; drift healed."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.commands import status as command
from fwpolicy.deploy import ruledrift
from fwpolicy.deploy.drift import SERVICE, TIMER, drift_files
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.rollback import plan_back
from fwpolicy.deploy.ruledrift import heal
from fwpolicy.deploy.starters import BOOT_FOLDER
from fwpolicy.deploy.status import Memory, look
from fwpolicy.errors import HostError
from fwpolicy.host.events import RulesetEvents
from fwpolicy.host.files import Files
from fwpolicy.host.services import ServiceState
from fwpolicy.policy.load import load
from tests.kernel.place import STATE, applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

PROGRAM = str(Path(sys.executable).with_name("fwpolicy"))
POLICY = """\
version: 1
name: p
groups: {banned: {dynamic: 1h}}
input:
  default: drop
  allow: [{service: ssh, id: ssh}, {service: https, id: web}]
  block: [{from: banned}]
"""
OPENED = 'insert rule inet fwpolicy input tcp dport 8080 accept comment "mine"\n'


def policy(drift: str = "ignore"):
    text = f"{POLICY}apply: {{drift: {drift}}}\n"
    return load((("p.yaml", text.encode()),), lambda path: b"")


def apply(place, drift="ignore", **options):
    plan = make_plan(policy(drift), place.machine, Options(**options))
    applied(place, plan)
    return plan


def not_looked_at(monkeypatch):
    def refuse(*_):
        raise AssertionError("the rules were listed")

    monkeypatch.setattr(ruledrift, "compare", refuse)


def test_nothing_is_listed_as_long_as_nobody_changed_anything(place, monkeypatch):
    apply(place)
    with monkeypatch.context() as patch:
        not_looked_at(patch)
        assert look(place.machine).drifts == ()
    place.nft("table ip other\n")
    assert look(place.machine).drifts == ()
    not_looked_at(monkeypatch)
    assert look(place.machine).drifts == (), "what was found right is right at that moment"
    place.nft("delete table ip other\n")
    with pytest.raises(AssertionError, match="listed"):
        look(place.machine)


def test_a_moment_says_nothing_of_files_and_of_another_generation(place):
    applied(place, planned(place))
    assert look(place.machine).drifts == ()
    config = place.folder / "etc/chrony/chrony.conf"
    config.write_text("")
    assert [drift.what for drift in look(place.machine).drifts] == [
        "/etc/chrony/chrony.conf was edited since the apply"
    ]
    seen = place.folder / STATE[1:] / "generations/1/seen"
    seen.write_text("somewhere else 1\n")
    place.nft("delete table inet fwpolicy\n")
    assert "is gone" in look(place.machine).drifts[0].what


def test_what_was_wrong_is_looked_at_each_time(place):
    apply(place)
    place.nft(OPENED)
    for _ in range(2):
        assert look(place.machine).drifts
    place.nft("delete table inet fwpolicy\n")
    assert "gone" in look(place.machine).drifts[0].what


def test_who_looks_again_and_again_compares_once(place, monkeypatch):
    apply(place)
    place.nft(OPENED)
    memory = Memory()
    found = look(place.machine, memory)
    with monkeypatch.context() as patch:
        not_looked_at(patch)
        assert look(place.machine, memory) == found and found.drifts
        place.nft("table ip other\n")
        with pytest.raises(AssertionError, match="listed"):
            look(place.machine, memory)
    place.nft("delete table inet fwpolicy\n")
    assert "gone" in look(place.machine, memory).drifts[0].what


def test_drift_as_rules_and_as_traffic(place, capsys):
    apply(place)
    place.nft(OPENED)
    found = look(place.machine)
    assert "was changed" in found.drifts[0].what
    assert any("tcp dport 8080 accept" in line for line in found.drifts[0].detail)
    assert {(change.what, change.hook) for change in found.traffic} == {("allowed", "input")}
    text = command._as_text(found)
    assert "newly allowed" in text and "input tcp/8080" in text
    (change, *_) = command._as_json(found)["traffic"]
    assert (change["now"], change["new"]["verdict"]) == ("allowed", "accept")
    assert "8080" in change["packet"]


def test_other_rules_that_do_the_same(place):
    apply(place)
    place.nft("add rule inet fwpolicy input tcp dport 8080 accept\n")  # after the default
    found = look(place.machine)
    assert found.drifts and found.traffic == ()
    assert "no packet meets another end" in command._as_text(found)


def test_what_the_model_does_not_know_is_said(place):
    apply(place)
    place.nft("insert rule inet fwpolicy input numgen random mod 3 vmap { 0 : accept }\n")
    found = look(place.machine)
    assert "never writes" in found.drifts[0].what
    assert found.traffic is not None or "traffic was not compared" in found.notes[0]


def test_a_state_that_cannot_be_written_is_no_error(place, monkeypatch):
    apply(place)
    place.nft("table ip other\n")

    def refuse(*_):
        raise HostError("/var/lib/fwpolicy: Read-only file system")

    monkeypatch.setattr(Files, "write", refuse)
    assert look(place.machine).drifts == ()


# Back


def test_healed_over_our_own_table_what_goes_on_goes_on(place):
    apply(place)
    assert not heal(place.machine)
    place.nft("add element inet fwpolicy banned_v4 { 198.51.100.7 }\n")
    before = place.rules()
    place.nft(f"{OPENED}table ip other\n")
    assert heal(place.machine)
    assert look(place.machine).drifts == ()
    after = place.rules()
    assert "198.51.100.7" in after and "table ip other" in after
    assert after.replace("table ip other {\n}\n", "") == before


@pytest.mark.parametrize(
    "change",
    ["delete table inet fwpolicy\n", "insert rule inet fwpolicy input numgen random mod 3 == 0 accept\n"],
)
def test_healed_from_the_stored_text(place, change):
    apply(place)
    before = place.rules()
    place.nft(change)
    assert heal(place.machine)
    assert place.rules() == before and look(place.machine).drifts == ()


def test_nothing_to_heal_where_nothing_was_applied(place):
    assert not heal(place.machine)


# Whoever watches


def test_the_kernel_tells_who(place):
    with RulesetEvents() as events:
        assert events.wait(0.05) == ()
        place.nft("table ip other\n")
        (who,) = events.wait(2)
        assert who.startswith("nft (")


class Watching:
    """`fwpolicy status --watch --json`, line by line."""

    def __init__(self, *options: str) -> None:
        heard = ("env", "--default-signal=INT")
        command = [*heard, PROGRAM, "status", "--watch", "--json", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._left = b""

    def says(self) -> dict:
        deadline = time.monotonic() + 20
        while b"\n" not in self._left:
            assert select.select([self._process.stdout], [], [], deadline - time.monotonic())[0], (
                "nothing said"
            )
            found = os.read(self._process.stdout.fileno(), 1 << 16)
            assert found, "it ended"
            self._left += found
        line, self._left = self._left.split(b"\n", 1)
        return json.loads(line)

    def complains(self) -> str:
        assert select.select([self._process.stderr], [], [], 20)[0], "nothing said"
        return os.read(self._process.stderr.fileno(), 1 << 16).decode()

    def ends(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(10)


def test_what_watches_for_months_collects_its_garbage(netns, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RulesetEvents, "wait", interrupt)
    gc.disable()
    main(["status", "--watch", "--quiet", "--netns", netns, "--state-dir", str(tmp_path)])
    assert gc.isenabled()


def test_watch(netns, tmp_path):
    (tmp_path / "p.yaml").write_text(POLICY)
    host = ("--netns", netns, "--state-dir", str(tmp_path / "state"))
    run = [PROGRAM, "apply", "--quiet", "--no-daemon", "--no-persist", *host, str(tmp_path / "p.yaml")]
    subprocess.run(run, check=True)
    inside = ["ip", "netns", "exec", netns, "nft"]
    watching = Watching(*host)
    try:
        assert watching.says()["drift"] == []
        subprocess.run([*inside, *OPENED.strip().replace(' comment "mine"', "").split()], check=True)
        told = watching.says()
        assert told["drift"] and told["traffic"] and told["by"][0].startswith("nft (")
        healed = subprocess.run(
            [PROGRAM, "status", "--heal", *host], capture_output=True, text=True, check=False
        )
        assert healed.returncode == 0 and "the rules were put back" in healed.stdout
        told = watching.says()
        assert told["drift"] == [] and told["by"]
        subprocess.run([*inside, "flush", "ruleset"], check=True)
        assert "gone" in watching.says()["drift"][0]["what"]
        manifest = tmp_path / "state/running/manifest.json"
        whole = manifest.read_text()
        manifest.write_text("{")
        assert "damaged" in watching.complains()
        manifest.write_text(whole)
        assert "gone" in watching.says()["drift"][0]["what"], "it goes on"
    finally:
        code = watching.ends()
    assert code == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_watches_what_nobody_reads(netns, tmp_path, unbuffered):
    (tmp_path / "p.yaml").write_text(POLICY)
    host = ("--netns", netns, "--state-dir", str(tmp_path / "state"))
    run = [PROGRAM, "apply", "--quiet", "--no-daemon", "--no-persist", *host, str(tmp_path / "p.yaml")]
    subprocess.run(run, check=True)
    watch = ["timeout", "30", PROGRAM, "status", "--watch", *host]
    given = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(watch, stdout=subprocess.PIPE, env=given) as process:
        while b"what was applied" not in process.stdout.readline():
            pass
        process.stdout.close()
        subprocess.run(["ip", "netns", "exec", netns, "nft", "flush", "ruleset"], check=True)
        assert process.wait() == 2


def test_what_the_journal_hears(netns, tmp_path):
    (tmp_path / "p.yaml").write_text(POLICY)
    host = ("--netns", netns, "--state-dir", str(tmp_path / "state"))
    run = [PROGRAM, "apply", "--quiet", "--no-daemon", "--no-persist", *host, str(tmp_path / "p.yaml")]
    subprocess.run(run, check=True)

    def journal(*options):
        command = [PROGRAM, "status", "--journal", *options, *host]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    assert journal() == (0, [])
    subprocess.run(["ip", "netns", "exec", netns, "nft", "flush", "ruleset"], check=True)
    code, lines = journal()
    assert code == 2 and lines[0].startswith("<4>table inet fwpolicy is gone") and len(lines) <= 31
    code, lines = journal("--heal")
    assert code == 0 and lines[-1] == "<5>the rules were put back" and lines[0].startswith("<4>")
    assert journal("--heal") == (0, [])
    subprocess.run(["ip", "netns", "exec", netns, "nft", "flush", "ruleset"], check=True)
    for changed in (True, False):
        heal_it = [PROGRAM, "status", "--heal", "--json", *host]
        done = subprocess.run(heal_it, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["changed"] is changed


# The timer


def test_the_timer_comes_and_goes_with_the_policy(place):
    place.services.units[TIMER] = ServiceState(TIMER, active=False, enabled=False, masked=False)
    before = place.tree()
    service = place.folder / f"{BOOT_FOLDER}{SERVICE}"[1:]
    apply(place)
    assert not service.exists() and not place.services.units[TIMER].enabled
    assert apply(place, "report").changed
    assert "--journal --state-dir /var/lib/fwpolicy" in service.read_text()
    assert place.services.units[TIMER] == ServiceState(TIMER, active=True, enabled=True, masked=False)
    assert not make_plan(policy("report"), place.machine, Options()).changed
    apply(place, "heal")
    assert "--journal --heal" in service.read_text()
    assert look(place.machine).drifts == ()
    assert make_plan(policy(), place.machine, Options()).changed
    apply(place)
    assert place.services.units[TIMER] == ServiceState(TIMER, active=False, enabled=False, masked=False)
    apply(place, "heal")
    remove(place.machine, lambda _: None)
    assert place.tree() == before and not place.services.units[TIMER].active


def refused(place, drift="report"):
    """Why it is; nothing has changed."""
    before = place.tree()
    plan = make_plan(policy(drift), place.machine, Options())
    with pytest.raises(HostError) as error:
        applied(place, plan)
    assert plan.refusals == (str(error.value),)
    assert place.tree() == before
    return str(error.value)


def test_a_program_of_somebody_elses_is_never_what_the_timer_runs(place):
    """As a user's own virtual environment, linked to where root looks."""
    theirs = place.folder / "home/fwpolicy"
    theirs.parent.mkdir()
    theirs.write_text("#!/usr/bin/python3\n")
    theirs.chmod(0o755)
    os.chown(theirs.parent, 65534, 65534)
    (place.folder / "usr/local/bin").mkdir(parents=True)
    link = place.folder / "usr/local/bin/fwpolicy"
    link.symlink_to("/home/fwpolicy")
    assert refused(place) == (
        "apply: {drift: report}: it would run /usr/local/bin/fwpolicy, and others than root can change "
        "/home; install fwpolicy as root, by the Debian package or into /opt (docs/installing.md)"
    )
    apply(place)
    link.unlink()
    apply(place, "report")
    service = (place.folder / f"{BOOT_FOLDER}{SERVICE}"[1:]).read_text()
    assert "\nExecStart=/usr/bin/fwpolicy status --journal --state-dir /var/lib/fwpolicy\n" in service
    assert "\nConditionFileIsExecutable=/usr/bin/fwpolicy\n" in service


def test_no_way_back_to_a_timer_whose_program_is_somebody_elses_by_now(place):
    apply(place, "report")
    apply(place)
    os.chown(place.folder / "usr/bin/fwpolicy", 65534, 65534)
    (refusal,) = plan_back(place.machine, 1).refusals
    assert "others than root can change /usr/bin/fwpolicy;" in refusal
    os.chown(place.folder / "usr/bin/fwpolicy", 0, 0)
    assert plan_back(place.machine, 1).refusals == ()


def test_without_a_program_there_is_no_timer(place):
    (place.folder / "usr/bin/fwpolicy").unlink()
    assert "there is no fwpolicy in /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin; " in refused(place)
    assert "install fwpolicy as root" in refused(place, "heal")
    apply(place)


def test_a_state_directory_of_somebody_elses_is_refused(place):
    """The boot unit runs what lies there."""
    os.chown(place.folder / "var/lib", 65534, 65534)
    assert refused(place, "ignore") == (
        "root runs scripts in the state directory /var/lib/fwpolicy, and others than root can change /var/lib"
    )


def test_systemd_understands_the_units(tmp_path):
    paths = []
    for artifact in drift_files("heal", "/var/lib/fwpolicy", f"{tmp_path}/", "/usr/bin/env"):
        Path(artifact.name).write_text(artifact.text)
        paths.append(artifact.name)
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("needs systemd-analyze")
    assert done.returncode == 0 and not done.stderr, done.stderr
