"""apply FILE.fwb: verified first, applied as any policy, remembered when it counts, refused with no trace."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.fleet import digests, received
from fwpolicy.fleet.bundle import FIRST_LINE, seal
from fwpolicy.fleet.payload import pack, unpack
from fwpolicy.host import sshsig
from fwpolicy.record import replace
from tests.fleet.conftest import BASE, WEB, fleet, repo
from tests.fleet.signing import allowed, keys, make
from tests.fleet.test_bundle import archive_of, named

pytestmark = pytest.mark.kernel

__all__ = ["fleet", "keys", "make", "repo"]


class Here:
    """A namespace to apply in, and who may sign for it."""

    def __init__(self, folder, netns, keys, capsys):
        self.folder, self.netns, self.keys, self.capsys = folder, netns, keys, capsys
        self.state = folder / "state"
        self.signers = ["--signers", str(keys / "signers")]

    def __call__(self, verb, *arguments, code=0):
        """What the verb says."""
        self.capsys.readouterr()
        found = main([verb, "--netns", self.netns, "--state-dir", str(self.state), *map(str, arguments)])
        shown = self.capsys.readouterr()
        assert found == code and "Traceback" not in shown.err, shown.out + shown.err
        return shown.out + shown.err

    def apply(self, *arguments, code=0, host="web-01"):
        return self("apply", *self.signers, "--host", host, *arguments, code=code)

    def rules(self):
        command = ["ip", "netns", "exec", self.netns, "nft", "-s", "list", "ruleset"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def everything(self):
        """What must be the same where something is refused."""
        found = {
            str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())
            for path in sorted(self.state.rglob("*"))
        }
        return self.rules(), found

    def refused(self, *arguments, **how):
        before = self.everything()
        said = self.apply(*arguments, code=1, **how)
        assert self.everything() == before
        return said

    def seen(self):
        path = self.state / "bundle.json"
        return json.loads(path.read_text())["sequence"] if path.exists() else None


@pytest.fixture
def here(tmp_path, netns, keys, capsys):
    return Here(tmp_path, netns, keys, capsys)


def test_it_is_applied_and_says_where_it_comes_from(here, fleet, make):
    make("--all")
    commit = fleet.git("rev-parse", "HEAD")
    assert "tcp dport" not in here.rules()
    assert "new in" not in here("plan", *here.signers, "--host", "web-01", "out/web-01.fwb", code=2)
    assert "applied base: generation 1" in here.apply("out/web-01.fwb")
    assert "table inet fwpolicy" in here.rules()
    wanted = {
        "sequence": 1,
        "commit": commit,
        "author": "Ada Example <ada@example.org>",
        "time": 1767268800,
        "signer": "release@example.org",
        "host": "web-01",
    }
    assert json.loads(here("status", "--json"))["provenance"] == wanted
    (past,) = json.loads(here("history", "--json"))["generations"]
    assert past["provenance"] == wanted and past["sources"] == ["out/web-01.fwb"]
    sentence = (
        f"number 1, commit {commit[:12]} by Ada Example <ada@example.org>; signed by release@example.org"
    )
    assert sentence in here("status") and sentence in here("history")
    lines = json.loads(here("counters", "--json"))["counters"]
    assert ("repository/policies/web.yaml", 2, "input: {allow: [https]}") in [
        (each["file"], each["line"], each["text"]) for each in lines
    ]
    # Once more: nothing to do, and not a file is touched.
    before = here.everything()
    assert here.apply("out/web-01.fwb").startswith("base: nothing to change\n")
    assert here.everything() == before


def test_nothing_but_a_good_one_is_taken(here, fleet, make):
    make("--all", out="out1")
    fleet.write(policies__web=WEB.replace("https", "http"))
    make("--all")
    here.apply("out/web-01.fwb")
    good = Path("out/web-01.fwb").read_bytes()
    start = good.index(sshsig.END) + len(sshsig.END)
    bad = here.folder / "bad.fwb"
    for place in (start, start + 700, len(good) - 1):
        bad.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert "refused: the signature does not hold" in here.refused(bad)
    for length in (len(FIRST_LINE), start, len(good) // 2, len(good) - 1):
        bad.write_bytes(good[:length])
        here.refused(bad)
    bad.write_bytes(seal(good[start:], str(here.keys / "stranger")))
    assert "refused: the signature is of nobody in" in here.refused(bad)
    assert "the bundle is web-02's, and this is web-01" in here.refused("out/web-02.fwb")
    assert "number 1, older than number 2, which was here" in here.refused("out1/web-01.fwb")
    assert "of another version of the program" in here.refused(write(bad, good.replace(b" 1\n", b" 2\n", 1)))
    for data in (b"", good[:5], good[1:]):
        assert "refused: this is no bundle" in here.refused("--bundle", write(bad, data))
    # Who says how to verify it gets no policy that nobody verified.
    assert "refused: this is no bundle" in here.refused(fleet.path / "policies/web.yaml")
    # ... nor who says nothing of it, in a variable that is empty.
    plain = fleet.path / "policies/web.yaml"
    for words in (["--signers", ""], ["--host", ""], ["--older"]):
        before = here.everything()
        assert "refused: " in here("apply", *words, plain, code=1) and here.everything() == before
    assert "the bundle is web-01's, and this is " in here.refused("out/web-01.fwb", host="")
    assert "it is applied alone" in here.refused("out/web-01.fwb", "out/web-02.fwb")
    # On purpose; and what is remembered stays.
    here.apply("--older", "out1/web-01.fwb")
    assert json.loads(here("status", "--json"))["provenance"]["sequence"] == 1 and here.seen() == 2


def write(path, data):
    path.write_bytes(data)
    return path


def test_a_link_out_of_the_repository_gets_into_no_bundle(here, fleet, make):
    (fleet.path / "policies/web.yaml").unlink()
    (here.folder / "elsewhere.yaml").write_text(WEB)
    (fleet.path / "policies/web.yaml").symlink_to(here.folder / "elsewhere.yaml")
    assert make("web-01") == 1
    assert not Path("out").exists()
    # And one that somebody signed all the same is in none that a host takes.
    link = named("repository/policies/web.yaml", tarfile.SYMTYPE, "/etc/shadow")
    bad = write(here.folder / "bad.fwb", seal(archive_of((link, b"")), str(here.keys / "release")))
    assert "which is no plain file" in here.refused(bad)


def test_what_else_it_compiles_to_is_refused(here, fleet, make, monkeypatch):
    make("web-01")
    archive = Path("out/web-01.fwb").read_bytes().split(sshsig.END)[1]
    manifest, files = unpack(archive)
    files["artifacts/ruleset.nft"] = files["artifacts/ruleset.nft"].replace(b"443", b"444")
    wanted = {name: digests.of_bytes(data) for name, data in files.items()}
    contents = {name: (data, 0o644) for name, data in files.items()}
    bad = here.folder / "bad.fwb"
    key = str(here.keys / "release")
    bad.write_bytes(seal(pack(replace(manifest, files=wanted), contents), key))
    assert "its artifacts/ruleset.nft is not what fwpolicy" in here.refused(bad)
    # Another version says that it is one, and compiles by itself.
    bad.write_bytes(seal(pack(replace(manifest, files=wanted, tool="0.0.9"), contents), key))
    said = here.apply(bad)
    assert "note: the bundle was made by fwpolicy 0.0.9, and this is" in said
    assert "443" in here.rules() and "444" not in here.rules()


def test_another_commit_that_says_the_same(here, fleet, make):
    make("web-01")
    here.apply("out/web-01.fwb")
    rules = here.rules()
    fleet.write(policies__db="version: 1\ninput: {allow: [smtp]}\n")
    make("web-01", out="out2")
    assert "base: nothing to change; now number 2, commit" in here.apply("out2/web-01.fwb")
    status = json.loads(here("status", "--json"))
    assert (status["generation"], status["provenance"]["sequence"], here.seen()) == (1, 2, 2)
    assert here.rules() == rules
    assert "older than number 2" in here.refused("out/web-01.fwb")


def test_two_of_one_number_cannot_be_swapped(here, fleet, make):
    words = ["-o", "out1", "--key", str(here.keys / "release"), "--sequence", "7", "--quiet"]
    assert main(["bundle", "web-01", *words]) == 0
    here.apply("out1/web-01.fwb")
    fleet.write(policies__web=WEB.replace("https", "telnet"))
    words[1] = "out2"
    assert main(["bundle", "web-01", *words]) == 0
    assert "number 7, as was another policy" in here.refused("out2/web-01.fwb")
    assert here.apply("out1/web-01.fwb").startswith("base: nothing to change\n")
    here.apply("--older", "out2/web-01.fwb")
    # What is remembered stays the first.
    assert "number 7, as was another policy" in here.refused("out2/web-01.fwb")
    here.apply("out1/web-01.fwb")


def test_another_hosts_policy_is_in_force(here, fleet, make):
    """All hosts of the fleet call theirs alike."""
    make("web-01", out="out1")
    here.apply("out1/web-01.fwb")
    fleet.write(policies__web=WEB + "description: of web servers\n")
    make("--all")
    why = "the policy in force here is host web-01's, not db-01's; --replace puts this one in its place"
    assert why in here.refused("out/db-01.fwb", host="db-01")
    # Also where the other's says the same.
    assert "host web-01's, not web-02's" in here.refused("out/web-02.fwb", host="web-02")
    assert "443" in here.rules() and "5432" not in here.rules()
    here.apply("--replace", "out/db-01.fwb", host="db-01")
    assert "5432" in here.rules()
    assert "host db-01's, not web-01's" in here.refused("--older", "out/web-01.fwb")
    # Who was here before is back after a rollback, as ever.
    here("rollback")
    assert "443" in here.rules()
    here.apply("--older", "out/web-01.fwb")


def test_it_is_remembered_when_it_counts(here, fleet, make):
    make("web-01")
    here.apply("--confirm", "60s", "out/web-01.fwb")
    here("rollback")
    assert here.seen() is None and "inet fwpolicy" not in here.rules()
    here.apply("--confirm", "60s", "out/web-01.fwb")
    here("confirm")
    assert here.seen() == 1
    fleet.write(policies__web=WEB.replace("https", "http"))
    make("web-01", out="out2")
    # Nobody confirms it: whoever waits takes it back, and the number with it.
    here.apply("--confirm", "2s", "out2/web-01.fwb")
    deadline = time.monotonic() + 60
    while here.seen() != 1 or (here.state / "undoing").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "443" in here.rules()
    assert not list(here.state.glob("edited-*"))
    here.apply("out2/web-01.fwb")
    assert here.seen() == 2
    # The way back is the earlier one's again; what is remembered stays.
    here("rollback")
    assert json.loads(here("status", "--json"))["provenance"]["sequence"] == 1 and here.seen() == 2


def test_a_gate_that_does_not_hold(here, fleet, make):
    fleet.write(policies__web=WEB + "apply: {gates: [{run: [/bin/false]}]}\n")
    make("web-01")
    said = here.apply("--confirm", "2s", "out/web-01.fwb", code=3)
    assert "taken back, a gate does not hold: /bin/false ended with status 1" in said
    assert here.seen() is None and "inet fwpolicy" not in here.rules()


def test_remove_takes_the_number_too(here, fleet, make):
    make("web-01")
    here.apply("out/web-01.fwb")
    here("remove")
    assert not here.state.exists()


def test_a_saved_plan_of_one(here, fleet, make):
    make("web-01")
    plan = here.folder / "friday.plan"
    here("plan", "-o", plan, *here.signers, "--host", "web-01", "out/web-01.fwb", code=2)
    good = Path("out/web-01.fwb").read_bytes()
    fleet.write(policies__web=WEB.replace("https", "http"))
    make("web-01")
    before = here.everything()
    assert "the policy has moved on" in here("apply", plan, code=1)
    Path("out/web-01.fwb").write_bytes(good[:-1])
    assert "the signature does not hold" in here("apply", plan, code=1)
    assert here.everything() == before
    Path("out/web-01.fwb").write_bytes(good)
    assert "generation 1" in here("apply", plan)
    assert here.seen() == 1


def test_from_standard_input(here, fleet, make, monkeypatch):
    make("web-01")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(Path("out/web-01.fwb").read_bytes())))
    assert "generation 1" in here.apply("--bundle", "-")


def test_questions_of_bundles(here, fleet, make, keys):
    make("--all")
    fleet.write(
        policies__base=BASE + "groups: {a: [192.0.2.3]}\n", policies__web=WEB + "services: {b: tcp/8080}\n"
    )
    fleet.write(
        policies__web=WEB.replace("[https]", "[https, {service: b, from: a}]") + "services: {b: tcp/8080}\n"
    )
    make("web-01", out="out2")
    said = here("explain", *here.signers, "out2/web-01.fwb", "tcp/8080", "from", "192.0.2.3")
    assert said.startswith("accept: ")
    assert "out2/web-01.fwb:repository/policies/web.yaml:2: input: {allow: [https" in said
    said = here("diff", *here.signers, "out/web-01.fwb", "out2/web-01.fwb", code=2)
    assert "newly allowed" in said and "out2/web-01.fwb:repository/policies/web.yaml:2:" in said
    assert "newly denied" in here("diff", *here.signers, "live", "out2/web-01.fwb", code=2)
    (keys / "signers").write_text(allowed(keys, "stranger"))
    assert "refused: the signature is of nobody" in here(
        "explain", *here.signers, "out/web-01.fwb", "ssh", code=1
    )


def test_who_signs_is_asked_before_anything_else(here, fleet, make, monkeypatch):
    """No policy is read, and nothing of the host looked at, before the signature holds."""
    make("web-01")
    (here.keys / "signers").write_text(allowed(here.keys, "stranger"))
    for name in ("require_newer", "require_as_compiled", "provenance"):
        monkeypatch.setattr(received, name, lambda *_: pytest.fail("asked too early"))
    monkeypatch.setattr("fwpolicy.deploy.confirm.settled", lambda *_: pytest.fail("settled too early"))
    here.refused("out/web-01.fwb")
