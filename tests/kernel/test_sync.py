"""sync: what is new, signed and judged good comes into force; whatever else comes changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy.machine import machine
from fwpolicy.fleet import pull, syncconfig, syncstate
from fwpolicy.host import mirror
from tests.fleet.conftest import INVENTORY, WEB, fleet, repo
from tests.fleet.signing import allowed, keys, make

pytestmark = pytest.mark.kernel

__all__ = ["fleet", "keys", "make", "repo"]

GATED = WEB.replace("https", "smtp") + "apply: {confirm: 5s, gates: [{run: [GATE]}]}\n"
BOTH = 'namespaces="git,fwpolicy-bundle"'


class Here:
    """A host in a namespace, the repository that it pulls from, and a clone that is worked in."""

    def __init__(self, folder, netns, keys, repo, capsys):
        self.folder, self.netns, self.keys, self.repo, self.capsys = folder, netns, keys, repo, capsys
        self.state, self.origin, self.config = folder / "state", folder / "origin.git", folder / "sync.yaml"
        (keys / "signers").write_text(allowed(keys, "release", BOTH))
        self.git("init", "-q", "--bare", "-b", "main", str(self.origin))
        self.configure("inventory: inventory.yaml")

    def git(self, *words):
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()

    def configure(self, *more, url=None, every="10s"):
        lines = [
            *("version: 1", f"repository: {url or f'file://{self.origin}'}", "branch: main", "host: web-01"),
            *(f"signers: {self.keys}/signers", f"every: {every}", "confirm: 10s", *more),
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def push(self, *, key="release", force=False, **files):
        """A commit, signed with `key` unless that is None, on the branch."""
        self.repo.write(**files)
        if not (self.repo.path / ".git").exists():
            self.repo.git("init", "-q", "-b", "main")
        self.repo.git("add", "-A")
        how = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys / str(key)}"] if key else []
        self.repo.git(*how, "commit", "-q", "--allow-empty", "-m", "a change", *(["-S"] if key else []))
        self.repo.git("push", "-q", *(["--force"] if force else []), str(self.origin), "HEAD:main")
        return self.repo.git("rev-parse", "HEAD")

    def run(self, verb, *words, code=0):
        self.capsys.readouterr()
        found = main([verb, "--netns", self.netns, "--state-dir", str(self.state), *map(str, words)])
        shown = self.capsys.readouterr()
        assert found == code and "Traceback" not in shown.err, shown.out + shown.err
        return shown.out + shown.err

    def sync(self, *words, code=0):
        return self.run("sync", "--config", self.config, *words, code=code)

    def status(self):
        return json.loads(self.run("status", "--json"))

    def rules(self):
        command = ["ip", "netns", "exec", self.netns, "nft", "-s", "list", "ruleset"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def in_force(self):
        """What must be the same where a commit is refused: the rules, and what is remembered of applies."""
        files = [path for path in self.state.rglob("*") if "sync" not in path.parts and path.is_file()]
        return self.rules(), {str(path): path.read_bytes() for path in files}

    def refused(self, *words, code=1):
        before = self.in_force()
        said = self.sync(*words, code=code)
        assert self.in_force() == before
        return said

    def remembered(self):
        return json.loads((self.state / "sync/state.json").read_text())


@pytest.fixture
def here(tmp_path, netns, keys, fleet, capsys):
    return Here(tmp_path, netns, keys, fleet, capsys)


def test_signed_commits(here, fleet):
    commit = here.push()
    assert f"commit {commit[:12]}: applied" in here.sync()
    assert "443" in here.rules()
    found = here.status()["provenance"]
    assert (found["sequence"], found["commit"], found["signer"]) == (1, commit, "release@example.org")
    assert "nothing new" in here.sync("--once") and here.sync("--timed") == ""
    # Another host's policy changes nothing here, and that is remembered.
    newer = here.push(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    report = json.loads(here.sync("--json"))
    assert report == {"changed": False, "outcome": "nothing to change", "commit": newer, "generation": None}
    assert here.status()["provenance"]["sequence"] == 2
    newest = here.push(policies__web=WEB.replace("https", "smtp"))
    report = json.loads(here.sync("--json"))
    assert (report["outcome"], report["commit"], report["generation"]) == ("applied", newest, 2)
    assert "443" not in here.rules()
    assert newest[:12] in here.sync("--status")
    assert json.loads(here.sync("--status", "--json"))["good"] == newest
    folder = here.state / "sync"
    assert {path.stat().st_mode & 0o777 for path in (here.state, folder)} == {0o700}
    assert folder.stat().st_uid == os.geteuid()


def test_a_configuration_in_this_folder(here, monkeypatch):
    here.push()
    monkeypatch.chdir(here.folder)
    assert "applied" in here.run("sync", "--config", "sync.yaml")
    here.config.write_text("version: 2\n")
    assert f"{here.config}:1:10: error" in here.run("sync", "--config", "sync.yaml", code=1)


def test_bundles(here, fleet, make):
    here.configure("bundles: bundles")
    make("web-01", out="../bundles")
    Path("bundles").mkdir()
    Path("bundles/web-01.fwb").write_bytes(Path("../bundles/web-01.fwb").read_bytes())
    here.push(key=None)  # whoever carries a bundle signs nothing
    assert "applied" in here.sync()
    assert here.status()["provenance"]["signer"] == "release@example.org"
    good = Path("bundles/web-01.fwb").read_bytes()
    Path("bundles/web-01.fwb").write_bytes(good[:-1])
    here.push(key=None)
    assert "bundles/web-01.fwb: refused: the signature does not hold" in here.refused()
    Path("bundles/web-01.fwb").unlink()
    here.push(key=None)
    assert "has no bundle bundles/web-01.fwb" in here.refused()
    Path("bundles/web-01.fwb").symlink_to("/etc/passwd")
    here.push(key=None)
    assert "is a link that leads out of the repository" in here.refused()


def test_who_may_sign(here):
    here.push()
    here.sync()
    here.push(key=None, policies__web=WEB.replace("https", "smtp"))
    assert "refused: it is signed by nobody in" in here.refused()
    here.push(key="stranger")
    assert "refused: it is signed by nobody in" in here.refused()
    signers = here.keys / "signers"
    here.push()  # a good one on top vouches for all of it
    signers.write_text(allowed(here.keys, "release"))  # for bundles only
    assert "refused: it is signed by nobody in" in here.refused()
    signers.unlink()
    assert "it has the keys that may sign" in here.refused()
    signers.write_text(allowed(here.keys, "release", BOTH))
    signers.chmod(0o666)
    assert "others than root can change" in here.refused()
    signers.chmod(0o644)
    assert "applied" in here.sync()


def test_only_forward(here, fleet):
    first = here.push()
    here.push(policies__web=WEB.replace("https", "smtp"))
    here.sync()
    fleet.git("reset", "-q", "--hard", first)
    fleet.git("push", "-q", "--force", str(here.origin), "HEAD:main")
    assert "somebody has rewound or rewritten the branch" in here.refused()
    here.push(policies__web=WEB.replace("https", "imaps"))
    assert "somebody has rewound" in here.refused()
    # Nor is another history taken that only looks longer, with a mirror that was lost.
    lose_mirror(here)
    here.push(), here.push()
    assert "somebody has rewound" in here.refused()


def twin(repo, commit):
    """With a header that no signature covers: whoever has no key can make it."""
    made = repo.with_header(commit, "gpgsig-sha256 x")
    assert made != commit
    return made


@pytest.mark.parametrize("root", [True, False])
def test_the_same_commit_under_another_name_stops_nothing(here, fleet, root):
    if not root:
        here.push(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    commit = here.push()
    false = twin(fleet, commit)
    fleet.git("push", "-q", "--force", str(here.origin), f"{false}:refs/heads/main")
    assert f"commit {false[:12]}: applied" in here.sync()
    fleet.git("push", "-q", "--force", str(here.origin), f"{commit}:refs/heads/main")
    assert "nothing new" in here.sync()
    newer = here.push(policies__web=WEB.replace("https", "smtp"))
    assert f"commit {newer[:12]}: applied" in here.sync()
    fleet.git("checkout", "-q", "--orphan", "other")
    here.push(force=True, policies__web=WEB.replace("https", "imaps"))
    assert "somebody has rewound" in here.refused()


def lose_mirror(here):
    subprocess.run(["rm", "-rf", str(here.state / "sync/repository.git")], check=True)


@pytest.mark.parametrize("more", [False, True])
def test_nor_where_the_mirror_was_lost_since(here, fleet, more):
    """What counts here is known by what it says, also where nobody has its name any more."""
    here.push(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    commit = here.push()
    fleet.git("push", "-q", "--force", str(here.origin), f"{twin(fleet, commit)}:refs/heads/main")
    here.sync()
    fleet.git("push", "-q", "--force", str(here.origin), f"{commit}:refs/heads/main")
    lose_mirror(here)
    if more:
        newer = here.push(policies__web=WEB.replace("https", "smtp"))
        assert f"commit {newer[:12]}: applied" in here.sync()
    else:
        assert "nothing new" in here.sync() and here.remembered()["good"] == commit
    # Another history is still another one.
    lose_mirror(here)
    fleet.git("reset", "-q", "--hard", f"{commit}^")
    here.push(force=True, policies__web=WEB.replace("https", "imaps"))
    here.push(), here.push()
    assert "somebody has rewound" in here.refused()


@pytest.mark.parametrize("lost", ["sync/repository.git", "sync"])
def test_nor_where_it_is_judged_anew(here, fleet, lost):
    """By its number, too, it is the one that counted, whatever it was called then; and no other one is."""
    here.push(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    commit = here.push(policies__web=WEB.replace("https", "imaps"))
    false = twin(fleet, commit)
    fleet.git("push", "-q", "--force", str(here.origin), f"{false}:refs/heads/main")
    assert f"commit {false[:12]}: applied" in here.sync()
    fleet.git("push", "-q", "--force", str(here.origin), f"{commit}:refs/heads/main")
    subprocess.run(["rm", "-rf", str(here.state / lost)], check=True)
    here.configure("inventory: inventory.yaml", every="20s")
    assert "nothing to change" in here.sync() and here.remembered()["good"] == commit
    assert "nothing to change" in here.sync("--retry") and "nothing new" in here.sync()
    # Of its number nothing else is taken, and nothing older, also where nobody knows their history.
    fleet.git("reset", "-q", "--hard", f"{commit}^")
    older = fleet.git("rev-parse", "HEAD")
    other = here.push(force=True, policies__web=WEB.replace("https", "smtp"))
    fleet.git("push", "-q", "--force", str(here.origin), f"{twin(fleet, other)}:refs/heads/main")
    subprocess.run(["rm", "-rf", str(here.state / "sync")], check=True)
    assert "number 2, as was another commit" in here.refused()
    fleet.git("push", "-q", "--force", str(here.origin), f"{twin(fleet, older)}:refs/heads/main")
    assert "number 1, older than number 2" in here.refused("--retry")


def test_another_history_by_hand(here, fleet):
    here.push()
    here.sync()
    fleet.git("checkout", "-q", "--orphan", "other")
    here.push(force=True, policies__web=WEB.replace("https", "smtp"))
    assert "(--retry takes another history)" in here.refused()
    assert "number 1, as was another commit" in here.refused("--retry")
    here.push()
    here.refused()
    assert "applied" in here.sync("--retry")


def test_unsigned_commits_stop_no_bundle(here, fleet, make):
    here.configure("bundles: bundles")
    make("web-01", out="../bundles")
    Path("bundles").mkdir()
    bundle = Path("bundles/web-01.fwb")
    bundle.write_bytes(Path("../bundles/web-01.fwb").read_bytes())
    first = here.push(key=None)
    here.sync()
    here.push(key=None)  # somebody's, with nothing in it
    assert "nothing to change" in here.sync()
    fleet.git("reset", "-q", "--hard", first)
    old = bundle.read_bytes()
    fleet.write(policies__web=WEB.replace("https", "smtp"))
    make("web-01", out="../bundles")
    bundle.write_bytes(Path("../bundles/web-01.fwb").read_bytes())
    here.push(key=None, force=True)
    assert "applied" in here.sync()
    bundle.write_bytes(old)
    here.push(key=None)
    assert "older than number" in here.refused()


def test_unreachable(here, monkeypatch):
    here.push()
    here.sync()
    away = here.origin.with_name("away.git")
    here.origin.rename(away)
    now = time.time()
    for failures in (1, 2, 3):
        here.refused()
        state = here.remembered()
        assert state["failures"] == failures
        pause = 10 * 2**failures
        assert 0.7 * pause <= state["due"] - now <= 1.3 * pause + (time.time() - now)
    assert here.sync("--timed") == ""  # not due yet: nobody is asked
    assert "3 rounds in a row failed" in here.sync("--status", code=2)
    away.rename(here.origin)
    here.push(policies__web=WEB.replace("https", "smtp"))
    assert "applied" in here.sync()
    assert here.remembered()["failures"] == 0
    monkeypatch.setattr(mirror, "ENVIRONMENT", mirror.ENVIRONMENT | {"PATH": "/nowhere"})
    assert "git is not installed, and sync fetches with it (Debian: git)" in here.refused()


def test_a_gate_that_does_not_hold_is_not_tried_again(here):
    here.push()
    here.sync()
    before = here.rules()
    bad = here.push(policies__web=GATED.replace("GATE", "/bin/false"))
    said = here.sync(code=3)
    assert "taken back, a gate does not hold: /bin/false ended with status 1" in said
    assert here.rules() == before and here.status()["provenance"]["sequence"] == 1
    # The same commit, and one that says the same to this host, are not tried: no generation is made.
    generations = sorted(path.name for path in (here.state / "generations").iterdir())
    again = here.refused(code=3)
    assert "it is not tried again" not in again
    assert re.search(
        rf"commit {bad[:12]} is still refused \(since \S+Z; --retry tries it again\): taken", again
    )
    assert f"commit {bad[:12]} is still refused" in here.sync("--status", code=2)
    here.push(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    assert f"what was taken back as commit {bad[:12]}" in here.refused(code=3)
    assert generations == sorted(path.name for path in (here.state / "generations").iterdir())
    assert f"commit {bad[:12]} was taken back" in here.sync("--status", code=2)
    assert "taken back, a gate does not hold" in here.sync("--retry", code=3)
    here.push(policies__web=GATED.replace("GATE", "/bin/true"))
    assert "applied" in here.sync() and here.rules() != before


def test_what_the_inventory_says_of_a_host_is_part_of_what_is_tried(here):
    """The same files, and another policy: what was taken back as the one is not known of the other."""
    place = machine("/", None, str(here.state))
    config = syncconfig.load(str(here.config), place.files)
    pulled = pull.mirror_of(config, str(here.folder / "mirror.git"))

    def contents(**files):
        here.push(**files)
        return pull.news(config, pulled, pulled.fetch(), place, int(time.time())).contents

    first = contents()
    beside = INVENTORY.replace("all:\n", "all:\n  vars: {fwpolicy_beside_nat: true}\n")
    assert contents(policies__db="version: 1\n") == first != contents(inventory=beside)


def test_what_is_wrong_is_refused_quickly_the_second_time(here, monkeypatch):
    here.push()
    here.sync()
    here.push(policies__web="version: 1\ninput: {allow: [nonsense]}\n")
    assert "unknown service 'nonsense'" in here.refused()
    monkeypatch.setattr("fwpolicy.fleet.pull.news", lambda *_: pytest.fail("read again"))
    again = here.refused()
    assert "is still refused (since " in again and "unknown service 'nonsense'" in again
    assert again.partition("Z; ")[0] == here.refused().partition("Z; ")[0]
    monkeypatch.undo()
    here.push(policies__web=WEB + "tests: [{deny: https, from: any}]\n")
    assert "test failed: the policy says accept" in here.refused(code=3)
    rules = "all:\n  vars: {fwpolicy_invariants: [rules.yaml]}\n"
    here.push(
        policies__web=WEB,
        inventory=INVENTORY.replace("all:\n", rules),
        rules="version: 1\nnever: [{allow: https, from: any}]\n",
    )
    assert "this must never be let through, and is" in here.refused(code=3)


def test_the_repository_must_answer_afterwards(here, monkeypatch):
    """A policy that shuts the host off from its repository would be its last one."""
    here.push()
    here.sync()
    before = here.rules()
    here.push(policies__web=WEB.replace("https", "smtp") + "apply: {confirm: 5s}\n")
    away = "the repository is not reached: no route"
    monkeypatch.setattr(mirror.Mirror, "answers", lambda *_: away)
    for times in (1, 2):
        assert f"taken back: {away}; it is tried again (this was time {times} of 3)" in here.sync(code=1)
        assert here.rules() == before and here.remembered()["failures"] == times
    assert f"a gate does not hold: {away}" in here.sync(code=3)
    assert here.rules() == before
    monkeypatch.undo()
    assert away in here.refused(code=3)
    assert "applied" in here.sync("--retry")


def test_a_repository_that_was_away_for_a_moment(here, monkeypatch):
    here.push()
    here.sync()
    first = here.push(policies__web=WEB.replace("https", "smtp") + "apply: {confirm: 5s}\n")
    with monkeypatch.context() as patched:
        patched.setattr(mirror.Mirror, "answers", lambda *_: "the repository is not reached: no route")
        here.sync(code=1)
        # What is counted is counted of one policy: another begins anew.
        here.push(policies__web=WEB.replace("https", "imaps") + "apply: {confirm: 5s}\n")
        assert "this was time 1 of 3" in here.sync(code=1)
        assert "this was time 2 of 3" in here.sync(code=1)
    assert here.remembered()["bad"] == ""
    assert "applied" in here.sync()
    assert first != here.remembered()["good"] == here.remembered()["newest"]


def test_another_configuration_is_judged_anew(here, monkeypatch):
    """The commit is the one that counts already, and what is asked of it is not."""
    here.push()
    here.sync()
    signers = here.keys / "signers"
    good = here.config.read_text(), signers.read_text()
    for changed, said in (
        (("host: web-01", "host: web-99"), "has no policies for a host 'web-99'"),
        (("inventory: inventory.yaml", "bundles: bundles"), "has no bundle bundles/web-01.fwb"),
        (("inventory: inventory.yaml", "inventory: nowhere.yaml"), "nowhere.yaml"),
        ((f"signers: {signers}", "signers: /nowhere"), "it has the keys that may sign"),
    ):
        here.config.write_text(good[0].replace(*changed))
        assert said in here.refused() and said in here.refused()
        assert here.remembered()["failures"] == 2 and here.sync("--status", code=2)
        here.config.write_text(good[0])
        assert "nothing new" in here.refused(code=0) and here.sync("--status")
    signers.write_text("")
    assert "signed by nobody" in here.refused()
    signers.write_text(allowed(here.keys, "stranger", BOTH))
    assert "signed by nobody" in here.refused()
    signers.write_text(good[1])
    assert "nothing new" in here.refused(code=0)
    # What makes no difference is looked at once.
    here.configure("inventory: inventory.yaml", every="20s")
    assert "nothing to change" in here.sync()
    monkeypatch.setattr("fwpolicy.fleet.pull.news", lambda *_: pytest.fail("read again"))
    assert "nothing new" in here.sync()
    # A policy for another host is another policy, and comes over this one only where that is said.
    monkeypatch.undo()
    other = good[0].replace("host: web-01", "host: db-01")
    here.config.write_text(other)
    assert "the policy in force here is host web-01's, not db-01's; --replace puts" in here.refused()
    here.config.write_text(f"{other}replace: true\n")
    assert "applied" in here.sync()


def test_what_was_removed_stays_so(here):
    here.push()
    here.sync()
    here.run("remove")
    first = here.rules()
    said = here.sync(code=2)
    assert "removed by hand, and nothing is brought here until fwpolicy sync --retry" in said
    newer = here.push(policies__web=WEB.replace("https", "smtp"))
    report = json.loads(here.sync("--json", code=2))
    assert report == {"changed": False, "outcome": "removed", "commit": newer, "generation": None}
    assert here.rules() == first
    assert "counted here: removed by hand" in here.sync("--status", code=2)
    assert json.loads(here.sync("--status", "--json", code=2))["removed"] is True
    assert "applied" in here.sync("--retry") and here.rules() != first
    assert "nothing new" in here.sync()
    assert json.loads(here.sync("--status", "--json"))["removed"] is False


def test_what_was_rolled_back_stays_so(here):
    """Also where the configuration changes, until the repository has something new."""
    here.push()
    here.sync()
    here.push(policies__web=WEB.replace("https", "smtp"))
    here.sync()
    here.run("rollback", "--no-confirm", "1")
    assert "dport 443" in here.rules()
    assert "nothing new" in here.sync()
    here.configure("inventory: inventory.yaml", every="20s")
    assert "nothing new" in here.refused(code=0)
    assert "applied" in here.sync("--retry") and "dport 443" not in here.rules()


def test_links_and_other_tricks(here, fleet):
    here.push()
    here.sync()
    web = fleet.path / "policies/web.yaml"
    web.unlink()
    web.symlink_to("/etc/hostname")
    here.push()
    assert "cannot read policies/web.yaml: is a link that leads out of the repository" in here.refused()
    web.unlink()
    web.symlink_to("../../../outside.yaml")
    here.push()
    assert "is a link that leads out of the repository" in here.refused()
    # Inside of it a link is as good as a file, as in a work tree.
    web.unlink()
    web.symlink_to("db.yaml")
    here.push()
    assert "applied" in here.sync()
    # A submodule is no reason to fetch anything, a hook none to run it.
    modules = f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {here.folder}/ran\n'
    (fleet.path / ".gitmodules").write_text(modules)
    commit = fleet.git("rev-parse", "HEAD")
    fleet.git("update-index", "--add", "--cacheinfo", f"160000,{commit},x")
    here.push()
    assert "nothing to change" in here.sync()
    assert not (here.folder / "ran").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ext::sh -c 'touch {}'", "'repository' is "),
        ("git@example.org:policies.git", "ssh://git@HOST/PATH"),
        ("/srv/policies.git", "'repository' is '/srv/policies.git'"),
        ("--upload-pack=/bin/true", "'repository' is "),
        ("fd::17", "'repository' is "),
    ],
)
def test_transports_that_are_none(here, url, said):
    here.configure("inventory: inventory.yaml", url=f'"{url.format(here.folder / "ran")}"')
    assert said in here.refused()
    assert not (here.folder / "ran").exists()


def test_two_tries_that_end_without_a_verdict(here, monkeypatch):
    """A reboot in the middle takes an apply back, and says nothing of the policy; two of them do."""
    here.push()
    here.sync()
    here.push(policies__web=WEB.replace("https", "smtp"))
    monkeypatch.setattr("fwpolicy.deploy.apply.carry_out", interrupted)
    for tries in (1, 2):
        with pytest.raises(PowerCutError):
            here.sync()
        assert here.remembered()["tries"] == tries
    monkeypatch.undo()
    assert "twice it ended without a verdict" in here.refused(code=3)
    assert "applied" in here.sync("--retry")


class PowerCutError(BaseException):
    """Nothing that is caught."""


def interrupted(*_):
    raise PowerCutError


def test_a_name_that_is_no_text(here, fleet):
    here.push()
    here.sync()
    (fleet.path / "group_vars").mkdir()
    name = os.fsencode(fleet.path / "group_vars") + b"/\377.yml"
    Path(os.fsdecode(name)).write_text("x: 1\n")
    here.push(policies__web=WEB.replace("https", "smtp"))
    assert "applied" in here.sync()
    Path(os.fsdecode(name)).write_text("fwpolicy_policies: [x]\n")
    newest = here.push()
    assert "group_vars/\\xff.yml:1:1: error: 'fwpolicy_policies' is read from the inventory" in here.refused()
    assert "group_vars/\\xff.yml" in here.sync("--status", code=2)
    state = here.remembered()
    assert (state["failures"], state["newest"]) == (1, newest)


def test_what_nobody_foresaw_is_told_and_counted(here, monkeypatch):
    here.push()
    here.sync()
    newest = here.push(policies__web=WEB.replace("https", "smtp"))
    with monkeypatch.context() as patched:
        patched.setattr("fwpolicy.fleet.pull.open_repository", lambda _: "\udcff".encode())
        for failures in (1, 2):
            assert "the round failed: UnicodeEncodeError: 'utf-8' codec can't encode" in here.refused()
            state = here.remembered()
            assert (state["failures"], state["newest"]) == (failures, newest)
            assert state["good"] != newest and state["due"] > state["last"] + 10
    assert "applied" in here.sync()


def test_locks_that_a_power_cut_left(here):
    here.push()
    here.sync()
    place = here.state / "sync/repository.git"
    inode = place.stat().st_ino
    for name in ("config.lock", f"{mirror.INCOMING}.lock", f"{mirror.GOOD}.lock", "objects/pack/tmp_pack_x"):
        (place / name).write_text("")
    here.push(policies__web=WEB.replace("https", "smtp"))
    assert "applied" in here.sync()
    assert place.stat().st_ino == inode and not list(place.rglob("*.lock")) + list(place.rglob("tmp_*"))


def test_state_that_is_damaged(here):
    here.push()
    here.sync()
    for text in ("", "{}", "[1]", '{"format": 1, "good": 7}'):
        (here.state / "sync/state.json").write_text(text)
        assert "is damaged" in here.refused()
    (here.state / "sync/state.json").unlink()
    assert "nothing to change" in here.sync()


def test_the_pause_grows_and_has_an_end():
    state = syncstate.SyncState()
    dues = []
    for _ in range(30):
        state = syncstate.after(state, 1000, 300, "away", failed=True)
        dues.append(state.due - 1000)
    assert 480 <= dues[0] <= 720 and max(dues) <= 3600 * 1.2 and len(set(dues[4:])) > 5
    assert syncstate.after(state, 1000, 300, "", failed=False).due == 1300
