"""plan -o FILE, apply FILE: what was shown, or nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy import savedplan
from fwpolicy.errors import HostError
from tests.kernel.place import CONFIG, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]

WEB = """\
version: 1
name: web
groups: {admin: {file: admin.txt}}
input: {default: drop, allow: [http, {service: ssh, from: admin}]}
"""
BANS = """\
table inet other {
    set s { type ipv4_addr; }
    chain in { type filter hook input priority 5; ip saddr @s drop; }
}
"""


class Here:
    """A policy in a folder, a plan of it, and a namespace to apply it in."""

    def __init__(self, folder, netns, capsys):
        self.folder, self.netns, self.capsys = folder, netns, capsys
        self.policy, self.plan = folder / "web.yaml", folder / "plan.json"
        self.policy.write_text(WEB)
        (folder / "admin.txt").write_text("192.0.2.0/24\n")

    def __call__(self, *arguments, where=True):
        self.capsys.readouterr()
        place = ("--netns", self.netns, "--state-dir", f"{self.folder}/state") if where else ()
        code = main([*arguments[:1], *place, *map(str, arguments[1:])])
        shown = self.capsys.readouterr()
        return code, shown.out + shown.err

    def save(self, *more):
        code, said = self("plan", "-o", self.plan, *more, self.policy)
        assert code == 2, said

    def rules(self):
        command = ["ip", "netns", "exec", self.netns, "nft", "list", "ruleset"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def nft(self, text):
        command = ["ip", "netns", "exec", self.netns, "nft", "-f", "-"]
        subprocess.run(command, check=True, input=text, text=True)

    def refused(self, *arguments):
        code, said = self("apply", self.plan, *arguments)
        assert code == 1 and "inet fwpolicy" not in self.rules(), said
        return said


@pytest.fixture
def here(tmp_path, netns, capsys):
    return Here(tmp_path, netns, capsys)


def test_it_is_applied_as_it_was_shown(here, monkeypatch):
    here.save()
    assert here.plan.stat().st_mode & 0o777 == 0o600
    saved = json.loads(here.plan.read_text())
    assert saved["fwpolicy-plan"] == 1 and saved["policy"] == [str(here.policy)]
    assert set(saved["sources"]) == {str(here.policy), f"{here.folder}/admin.txt"}
    assert saved["shown"]["rules"]["changed"] and "ports" in saved["shown"]
    # From another folder, and without a word of where: the plan knows.
    monkeypatch.chdir("/")
    code, said = here("apply", here.plan, where=False)
    assert code == 0 and "applied web: generation 1" in said
    assert "tcp dport 80" in here.rules()
    code, said = here("apply", here.plan)
    assert code == 1 and "generation 1 is in force, not nothing" in said


def test_a_policy_by_a_relative_name(here, monkeypatch):
    monkeypatch.chdir(here.folder)
    assert here("plan", "-o", "plan.json", "web.yaml")[0] == 2
    monkeypatch.chdir("/")
    assert here("apply", here.plan)[0] == 0


def test_options_are_the_plans(here):
    here.save()
    assert "was not made with --replace" in here.refused("--replace")
    assert "was not made with --force" in here.refused("--force")
    here.save("--no-prove")
    code, said = here("apply", here.plan)
    assert code == 0 and "proved" not in said


@pytest.mark.parametrize("name", ["web.yaml", "admin.txt"])
def test_the_policy_has_moved_on(here, name):
    here.save()
    path = here.folder / name
    path.write_text(path.read_text() + "# the same, said otherwise\n")
    said = here.refused()
    assert "the policy has moved on since this plan was made" in said
    assert said.endswith(f"): {path} was changed; make a new plan\n")


def test_a_policy_that_is_gone_or_includes_more(here):
    here.save()
    here.policy.write_text(WEB + "include: more.yaml\n")
    (here.folder / "more.yaml").write_text("version: 1\noutput: {default: accept}\n")
    said = here.refused()
    assert f"{here.policy} was changed; {here.folder}/more.yaml was not a part of it; make" in said
    here.policy.unlink()
    assert f"{here.policy}: no such file" in here.refused()


def test_the_host_has_moved_on(here):
    here.save()
    here.nft("table inet other { chain in { type filter hook input priority 5; tcp dport 25 drop; }; }")
    said = here.refused()
    assert "the host has moved on since this plan was made" in said
    assert said.endswith("): other tools' chains were changed; make a new plan\n")
    here.nft("table inet other\ndelete table inet other\n")
    assert here("apply", here.plan)[0] == 0
    here.policy.write_text(WEB.replace("http", "https"))
    here.save()
    here.nft("insert rule inet fwpolicy input tcp dport 9 accept")
    code, said = here("apply", here.plan)
    assert code == 1 and "our rules were changed" in said


def test_what_counts_and_comes_and_goes_is_no_difference(here):
    here.nft(BANS)
    here.save()
    here.nft("add element inet other s { 203.0.113.9 }")
    assert here("apply", here.plan)[0] == 0


def test_only_a_saved_plan_is_overwritten(here):
    here.save()
    here.save()
    other = here.folder / "other.json"
    other.write_text("{}\n")
    code, said = here("plan", "-o", other, here.policy)
    assert code == 1 and f"{other} exists and is no saved plan; name another file" in said
    link = here.folder / "link"
    link.symlink_to(here.plan)
    assert here("plan", "-o", link, here.policy)[0] == 1
    assert here("plan", "-o", here.folder / "no/such", here.policy)[0] == 1
    assert other.read_text() == "{}\n" and link.is_symlink()
    assert not [path for path in here.folder.iterdir() if str(os.getpid()) in path.name]


def test_what_is_no_plan_to_apply(here, monkeypatch):
    here.save()
    here.plan.chmod(0o666)
    assert "can be written by others than its owner" in here.refused()
    here.plan.chmod(0o600)
    os.chown(here.plan, 65534, -1)
    assert "belongs to user 65534, and is not carried out" in here.refused()
    os.chown(here.plan, 0, -1)
    assert "it is applied alone" in here.refused(here.policy)
    text = here.plan.read_text()
    here.plan.write_text(text.replace('"tool": "', '"tool": "9'))
    assert "was made by fwpolicy 9" in here.refused()
    here.plan.write_text(text.replace('"fwpolicy-plan": 1', '"fwpolicy-plan": 2'))
    assert "is a plan of format 2, not 1" in here.refused()
    for broken in (
        text[:-9],
        text.replace('"sources": {', '"sources": {"a": 5, '),
        text.replace('"sources": {', '"sources": 5, "else": {'),
        text.replace('"facts": {', '"facts": 5, "else": {'),
        text.replace('"policy": [', '"policy": 5, "else": ['),
        text.replace('"options": {', '"options": [], "else": {'),
        text.replace('"root": "/"', '"root": 5'),
        text.replace('"shown": {', '"shown": 5, "else": {'),
        '{\n "fwpolicy-plan": ' + "[" * 100_000,
        '{\n "fwpolicy-plan": 1}',
    ):
        here.plan.write_text(broken)
        assert "this saved plan is damaged" in here.refused()


def test_a_plan_that_would_be_refused_is_not_saved(here):
    here.policy.write_text("version: 1\nname: web\noutput: {default: accept}\n")
    here.save()
    assert here("apply", here.plan)[0] == 0
    here.policy.write_text("version: 1\nname: other\noutput: {default: accept}\n")
    code, said = here("plan", "-o", here.folder / "new.json", here.policy)
    assert code == 1 and "was not written: the plan would be refused" in said
    assert not (here.folder / "new.json").exists()


def test_standard_input_is_not_saved(here, monkeypatch):
    (here.folder / "admin.txt").write_text("192.0.2.0/24\n")
    monkeypatch.chdir(here.folder)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(WEB.encode())))
    code, said = here("plan", "-o", here.plan, "-")
    assert code == 1 and "standard input cannot be read again: name a file" in said
    assert not here.plan.exists()


def test_daemon_files_boot_and_units_are_part_of_it(place):
    before = savedplan.facts_of(planned(place), place.machine)
    assert f"file {CONFIG}" in before and "file /etc/systemd/system/fwpolicy.service" in before
    assert savedplan.facts_of(planned(place), place.machine) == before

    def differing():
        now = savedplan.facts_of(planned(place), place.machine)
        with pytest.raises(HostError) as caught:
            savedplan.require_same("p", saved, {}, now)
        return str(caught.value)

    saved = savedplan.SavedPlan("then", "1", (), {}, {}, before, {})
    config = place.folder / CONFIG[1:]
    config.write_text(config.read_text() + "# edited\n")
    assert differing() == (
        f"p: the host has moved on since this plan was made (then): {CONFIG} was changed; make a new plan"
    )
    config.write_text("pool deb.example iburst\nallow all\n")
    place.services.stop_and_disable("chrony.service")
    assert "units were started, stopped, enabled or disabled" in differing()
