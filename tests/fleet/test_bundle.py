"""Bundles: the same bytes every time, and nothing but a good one is taken."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.cli import main
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy.machine import machine
from fwpolicy.deploy.provenance import Seen, last_seen, newest
from fwpolicy.errors import HostError
from fwpolicy.fleet import received
from fwpolicy.fleet.bundle import FIRST_LINE, open_bundle, refuse_replay, seal
from fwpolicy.fleet.payload import Manifest, pack, unpack
from fwpolicy.host import sshsig
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.fleet.conftest import BASE, INVENTORY, WEB
from tests.fleet.signing import allowed, keys, make

__all__ = ["keys", "make"]


@pytest.fixture
def image(tmp_path):
    """A host that is called web-01."""
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text("web-01.example.org\n")
    return root


def receive(path, here, signers):
    return received.receive(path, Path(path).read_bytes(), here, signers)


def remember(bundle, here):
    """As an apply that counts does."""
    change = newest(received.provenance(bundle), here)
    if change:
        here.files.make_directory(here.state_dir, 0o700)
        here.files.write(change.path, change.after, change.mode)


def verify(path, image, keys, *words: str) -> int:
    return main(
        ["bundle", "verify", str(path), "--root", str(image), "--signers", str(keys / "signers"), *words]
    )


def test_a_bundle_is_verified_on_its_host(fleet, make, image, keys, capsys):
    assert make("--all") == 0
    assert sorted(path.name for path in (fleet.path / "out").iterdir()) == [
        *("bundles.json", "db-01.fwb", "db-02.fwb", "web-01.fwb", "web-02.fwb", "web-03.fwb")
    ]
    before = {path: path.stat().st_mtime_ns for path in image.rglob("*")}
    assert verify("out/web-01.fwb", image, keys) == 0
    commit = fleet.git("rev-parse", "HEAD")
    assert capsys.readouterr().out == (
        f"out/web-01.fwb: good: policy base for web-01, number 1, commit {commit[:12]} by Ada Example "
        "<ada@example.org>; signed by release@example.org\n"
    )
    assert {path: path.stat().st_mtime_ns for path in image.rglob("*")} == before
    assert verify("out/web-01.fwb", image, keys, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sequence"], report["commit"], report["signer"]) == (1, commit, "release@example.org")
    assert report["time"] == 1767268800 and report["changed"] is False
    assert {"artifacts/ruleset.nft", "repository/policies/web.yaml"} <= report["files"].keys()


def test_the_policy_in_it_is_the_repositorys(fleet, make, image, keys):
    make("web-01")
    main(["compile", "--all", "-o", "out2", "--quiet"])
    bundle = receive("out/web-01.fwb", machine(str(image), None, None), str(keys / "signers"))
    policy = load(bundle.operands, bundle.read_file)
    text = render(compile_ruleset(policy), policy.name).text
    assert text == (fleet.path / "out2/web-01/ruleset.nft").read_text()
    assert bundle.files["artifacts/ruleset.nft"].decode() == text


def test_a_bundle_as_a_text_of_another_system(fleet, make, image, keys, capsys):
    make("web-01")
    bundle = fleet.path / "out/web-01.fwb"
    bundle.write_bytes(bundle.read_bytes().replace(b"\n", b"\r\n"))
    assert verify(bundle, image, keys) == 1
    assert "the bundle's line ends were made CR LF on the way" in capsys.readouterr().err


def test_a_group_is_no_host(fleet, make, capsys):
    assert make("web") == 1
    said = "inventory.yaml: 'web' is a group: name its hosts, or --all\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("link", ["policies", "policies/base.yaml"])
def test_what_is_behind_a_committed_link_is_as_committed(fleet, make, capsys, link):
    place = fleet.path / link
    place.rename(fleet.path / "real")
    place.symlink_to("../real" if "/" in link else "real")
    assert make("--all") == 0, capsys.readouterr().err
    base = fleet.path / "policies" / "base.yaml"
    base.write_text("# another\n" + BASE)
    assert main(["bundle", "--all", "-o", "out", "--key", "nosuch"]) == 1
    assert "policies/base.yaml is not as commit" in capsys.readouterr().err


def test_scripts_for_hosts_without_python(fleet, make, image, keys, capsys):
    """What compile gives, for each of the policy's backends; where that cannot be, why."""
    fleet.write(
        policies__base=BASE + "backends: [nft, iptables]\nroles: {ntp: client-only}\n",
        inventory=INVENTORY.replace("web-[01:03]:", "web-[01:03]: {fwpolicy_beside_nat: true}"),
    )
    assert make("web-01") == 0, capsys.readouterr().err
    bundle = receive("out/web-01.fwb", machine(str(image), None, None), str(keys / "signers"))
    assert bundle.manifest.without_script == {} and bundle.manifest.beside_nat
    for backend in ("nft", "iptables"):
        words = ["--backend", backend, "--format", "script", "--beside-nat", "--quiet"]
        assert main(["compile", "policies/base.yaml", "policies/web.yaml", *words]) == 0
        assert bundle.files[f"artifacts/apply-{backend}.sh"].decode() == capsys.readouterr().out
    fleet.write(policies__web=WEB.replace("[https]", "[{service: https, limit: 3/day, per: source}]"))
    assert make("web-01", out="out2") == 0, capsys.readouterr().err
    bundle = receive("out2/web-01.fwb", machine(str(image), None, None), str(keys / "signers"))
    assert [name for name in bundle.files if name.endswith("apply-nft.sh")] == ["artifacts/apply-nft.sh"]
    assert "artifacts/apply-iptables.sh" not in bundle.files
    (backend, why), *_ = bundle.manifest.without_script.items()
    assert backend == "iptables" and why.startswith("repository/policies/web.yaml:2:")


def test_the_manifest_says_what_scripts_do_not_do(fleet, make, image, keys):
    fleet.write(policies__web=WEB + "apply: {drift: report, gates: [{run: [/bin/true]}]}\n")
    make("web-01")
    bundle = receive("out/web-01.fwb", machine(str(image), None, None), str(keys / "signers"))
    assert bundle.manifest.script_notes == (
        "the script asks no gates: it waits for its confirm",
        "the script has no timer for `drift: report`: ask its status",
    )
    assert "artifacts/apply-iptables.sh" not in bundle.files and bundle.manifest.without_script == {}


def test_a_host_that_is_gone_takes_its_bundle_along(fleet, make, keys, capsys):
    """And nothing else: what was not written here stays."""
    make("--all")
    out = fleet.path / "out"
    for name in ("db-99.fwb", "notes.txt"):
        (out / name).write_text("mine")
    # Nor what somebody has put in a bundle's place, or on the list.
    index = json.loads((out / "bundles.json").read_text())
    index["files"]["elsewhere"] = ["notes.txt"]
    (out / "bundles.json").write_text(json.dumps(index))
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[01:02]").replace("db-01", "db-09"))
    # Some hosts are not all of them: the others' stay, and are known.
    assert make("db-09") == 0
    assert {"db-01.fwb", "db-09.fwb", "web-03.fwb"} <= {path.name for path in out.iterdir()}
    capsys.readouterr()
    words = ["bundle", "--all", "-o", "out", "--key", str(keys / "release")]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["removed"] == ["db-01", "elsewhere", "web-03"] and report["changed"] is True
    assert sorted(path.name for path in out.iterdir()) == [
        *("bundles.json", "db-02.fwb", "db-09.fwb", "db-99.fwb", "notes.txt", "web-01.fwb", "web-02.fwb")
    ]
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[01:02]"))
    fleet.commit(day=9)
    assert main(words) == 0
    assert ", 1 removed, number 3" in capsys.readouterr().err


@pytest.mark.parametrize("before", [False, True])
def test_a_run_that_was_killed_leaves_nothing_for_ever(fleet, make, monkeypatch, before):
    """Its bundles are known to the next run, also of hosts that are gone by then."""
    if before:
        make("web-01", "db-02")
    with monkeypatch.context() as patched:
        patched.setattr("fwpolicy.host.outputs.FlatOutputs.finish", killed)
        with pytest.raises(KilledError):
            make("--all", commit=not before)
    out = fleet.path / "out"
    assert (out / "web-03.fwb").exists()
    (out / "db-99.fwb").write_bytes((out / "web-03.fwb").read_bytes())  # somebody's, who says so nowhere
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[01:02]"))
    make("--all")
    assert sorted(path.name for path in out.iterdir()) == [
        *("bundles.json", "db-01.fwb", "db-02.fwb", "db-99.fwb", "web-01.fwb", "web-02.fwb")
    ]


class KilledError(BaseException):
    """Nothing that is caught."""


def killed(*_words, **_more):
    raise KilledError


def test_an_index_of_somebody_elses_is_refused(fleet, make, capsys):
    for index in ("{", '{"files": {"a": ["../x"]}}', '{"files": {"a": 7}}'):
        fleet.file("out/bundles.json", index)
        assert make("--all") == 1
        assert "out/bundles.json: " in capsys.readouterr().err
        assert [path.name for path in (fleet.path / "out").iterdir()] == ["bundles.json"]


def test_the_same_bytes_every_time(fleet, make, tmp_path, capsys):
    make("--all", out="out1")
    first = {path.name: path.read_bytes() for path in (fleet.path / "out1").iterdir()}
    make("--all", out="out2", commit=False)
    assert {path.name: path.read_bytes() for path in (fleet.path / "out2").iterdir()} == first
    # ... in another clone, too, looked at from another folder.
    clone = tmp_path / "clone"
    fleet.git("clone", "-q", str(fleet.path), str(clone))
    words = ["--inventory", str(clone), "-o", "out3", "--key", str(tmp_path / "keys/release"), "--json"]
    assert main(["bundle", "web-02", "--no-cache", *words]) == 0
    assert json.loads(capsys.readouterr().out)["bundles"] == [
        {"host": "web-02", "file": "out3/web-02.fwb", "changed": True}
    ]
    assert (fleet.path / "out3/web-02.fwb").read_bytes() == first["web-02.fwb"]
    assert main(["bundle", "web-02", "--no-cache", *words]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    clone_words = ["bundle", "web-02", "--inventory", str(clone), "-o", "out4", *words[4:6]]
    for told in ("1 bundle written, 0 unchanged", "0 bundles written, 1 unchanged"):
        assert main(clone_words) == 0
        assert f"out4: {told}, number 1" in capsys.readouterr().err


def test_tools_of_the_system_open_it(fleet, make, keys, tmp_path):
    """As docs/fleet.md says it: a host needs neither Python nor us."""
    make("web-01")
    script = (
        'sed -n "2,/^-----END/p" "$1" >"$3/sig"; '
        'tail -c +$(($(head -n 1 "$1" | wc -c) + $(wc -c <"$3/sig") + 1)) "$1" >"$3/tar"; '
        'ssh-keygen -Y verify -f "$2" -I release@example.org -n fwpolicy-bundle -s "$3/sig" <"$3/tar" && '
        'tar -xf "$3/tar" -C "$3"'
    )
    place = tmp_path / "plain"
    place.mkdir()
    words = ["sh", "-euc", script, "sh", "out/web-01.fwb", str(keys / "signers"), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert 'Good "fwpolicy-bundle" signature for release@example.org' in done.stdout
    assert "table inet fwpolicy" in (place / "artifacts/ruleset.nft").read_text()
    assert json.loads((place / "manifest.json").read_text())["host"] == "web-01"


def refused(path, image, keys, capsys, *words: str) -> str:
    """Why; and nothing of the host has changed."""
    before = {each: (each.is_file() and each.read_bytes()) for each in image.rglob("*")}
    capsys.readouterr()
    assert verify(path, image, keys, *words) == 1
    assert {each: (each.is_file() and each.read_bytes()) for each in image.rglob("*")} == before
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    return said.err


def test_tampered_and_truncated(fleet, make, image, keys, capsys):
    make("web-01")
    good = (fleet.path / "out/web-01.fwb").read_bytes()
    bad = fleet.path / "bad.fwb"
    start = good.index(sshsig.END) + len(sshsig.END)
    for place in (start, start + 700, len(good) // 2, len(good) - 1):
        bad.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert "the signature does not hold" in refused(bad, image, keys, capsys)
    for length in (start, start + 1, len(good) // 2, len(good) - 512, len(good) - 1):
        bad.write_bytes(good[:length])
        assert "the signature does not hold" in refused(bad, image, keys, capsys)
    bad.write_bytes(good + b"\0")
    assert "the signature does not hold" in refused(bad, image, keys, capsys)
    for data in (b"", good[:5], good[:100], good[len(FIRST_LINE) :], good[start:], b"x" * 70000):
        bad.write_bytes(data)
        assert "this is no bundle, or its beginning is missing" in refused(bad, image, keys, capsys)
    inside = len(FIRST_LINE) + len(sshsig.BEGIN)
    for place in (inside, inside + 40, start - len(sshsig.END) - 5):
        bad.write_bytes(
            good[:place] + (b"A" if good[place : place + 1] != b"A" else b"B") + good[place + 1 :]
        )
        refused(bad, image, keys, capsys)
    assert "No such file" in refused(fleet.path / "nowhere.fwb", image, keys, capsys)
    assert "directory" in refused(fleet.path / "out", image, keys, capsys)


def test_wrong_signers(fleet, make, image, keys, capsys):
    make("web-01")
    archive = (fleet.path / "out/web-01.fwb").read_bytes().split(sshsig.END)[1]
    bad = fleet.path / "bad.fwb"
    bad.write_bytes(seal(archive, str(keys / "stranger")))
    assert "the signature is of nobody in" in refused(bad, image, keys, capsys)
    # A good signer's signature, for something else.
    bad.write_bytes(FIRST_LINE + sshsig.sign(archive, str(keys / "release"), "git") + archive)
    refused(bad, image, keys, capsys)
    (keys / "signers").write_text(allowed(keys, "release", ""))
    refused(bad, image, keys, capsys)
    (keys / "signers").write_text(allowed(keys, "release", 'valid-before="20200101"'))
    refused("out/web-01.fwb", image, keys, capsys)
    (keys / "signers").write_text(allowed(keys, "release", 'namespaces="git"'))
    refused("out/web-01.fwb", image, keys, capsys)
    (keys / "signers").write_text("")
    refused("out/web-01.fwb", image, keys, capsys)
    (keys / "signers").unlink()
    assert "it has the keys that may sign" in refused("out/web-01.fwb", image, keys, capsys)
    assert main(["bundle", "verify", "out/web-01.fwb", "--root", str(image)]) == 1
    assert "/etc/fwpolicy/allowed_signers: No such file" in capsys.readouterr().err


def test_another_hosts(fleet, make, image, keys, capsys):
    make("--all")
    said = refused("out/web-02.fwb", image, keys, capsys)
    assert "the bundle is web-02's, and this is web-01 or web-01.example.org" in said
    assert verify("out/web-02.fwb", image, keys, "--host", "web-02") == 0


def test_replays(fleet, make, image, keys, capsys):
    make("web-01", out="out1")
    fleet.write(policies__web=WEB.replace("https", "http"))
    make("web-01", out="out2")
    here = machine(str(image), None, None)
    signers = str(keys / "signers")
    assert last_seen(here) is None
    remember(receive("out2/web-01.fwb", here, signers), here)
    seen = last_seen(here)
    bundle = receive("out2/web-01.fwb", here, signers)
    assert seen == Seen(2, fleet.git("rev-parse", "HEAD"), bundle.contents)
    assert "number 1, older than number 2, which was here: --older takes it" in refused(
        "out1/web-01.fwb", image, keys, capsys
    )
    assert verify("out1/web-01.fwb", image, keys, "--older") == 0
    assert verify("out2/web-01.fwb", image, keys) == 0  # the same once more
    # Going back on purpose opens the door to nothing else.
    remember(receive("out1/web-01.fwb", here, signers), here)
    assert last_seen(here) == seen
    # Another history of the same length.
    fleet.git("reset", "-q", "--hard", "HEAD~1")
    fleet.write(policies__web=WEB.replace("https", "imaps"))
    make("web-01", out="out3")
    assert "number 2, as was another commit" in refused("out3/web-01.fwb", image, keys, capsys)
    wrong = [json.dumps({"sequence": 2, "commit": "", name: None}) for name in ("contents", "says")]
    for damage in ("", "{", "[]", '{"sequence": "2", "commit": ""}', '{"sequence": 2}', *wrong):
        (image / "var/lib/fwpolicy/bundle.json").write_text(damage)
        assert "is damaged" in refused("out2/web-01.fwb", image, keys, capsys)


def outside_of_git(fleet, keys, out: str, web: str) -> None:
    """A bundle of number 7, of no commit."""
    fleet.write(policies__web=web)
    words = ["-o", out, "--key", str(keys / "release"), "--sequence", "7", "--quiet"]
    assert main(["bundle", "web-01", *words]) == 0


def test_two_of_one_number_cannot_be_swapped(fleet, keys, image, capsys):
    """Where nobody knows a commit what they say tells them apart."""
    outside_of_git(fleet, keys, "out1", WEB)
    outside_of_git(fleet, keys, "out2", WEB.replace("https", "telnet"))
    here = machine(str(image), None, None)
    remember(receive("out1/web-01.fwb", here, str(keys / "signers")), here)
    assert "number 7, as was another policy, which was here: --older takes it" in refused(
        "out2/web-01.fwb", image, keys, capsys
    )
    assert verify("out2/web-01.fwb", image, keys, "--older") == 0
    # Asked for once, it does not become what is remembered.
    remember(receive("out2/web-01.fwb", here, str(keys / "signers")), here)
    refused("out2/web-01.fwb", image, keys, capsys)
    assert verify("out1/web-01.fwb", image, keys) == 0


def test_what_was_remembered_without_its_contents(fleet, keys, image, capsys):
    outside_of_git(fleet, keys, "out1", WEB)
    outside_of_git(fleet, keys, "out2", WEB.replace("https", "telnet"))
    here = machine(str(image), None, None)
    here.files.make_directory(here.state_dir, 0o700)
    here.files.write(f"{here.state_dir}/bundle.json", '{"sequence": 7, "commit": ""}\n', 0o600)
    assert verify("out2/web-01.fwb", image, keys) == 0
    # From the next apply on they are known.
    remember(receive("out1/web-01.fwb", here, str(keys / "signers")), here)
    assert verify("out1/web-01.fwb", image, keys) == 0
    assert "as was another policy" in refused("out2/web-01.fwb", image, keys, capsys)


def test_a_commit_is_known_by_what_it_says(fleet, make, image, keys):
    """One that was signed itself, whichever of its names is remembered; nothing is forgotten for that."""
    make("web-01")
    here = machine(str(image), None, None)
    bundle = receive("out/web-01.fwb", here, str(keys / "signers"))
    name = bundle.manifest.commit
    pulled = replace(bundle, contents="", says="what it says")
    remember(bundle, here)
    for came in (pulled, bundle):
        remember(came, here)
        assert last_seen(here) == Seen(1, name, bundle.contents, "what it says")
    last = Seen(1, "another name", "", "what it says")
    refuse_replay(pulled, last)
    for another in (replace(pulled, says="something else"), replace(pulled, says=""), bundle):
        with pytest.raises(HostError, match="number 1, as was another commit"):
            refuse_replay(another, last)
    with pytest.raises(HostError, match="number 1, as was another commit"):
        refuse_replay(replace(pulled, says=""), replace(last, says=""))
    with pytest.raises(HostError, match="number 1, older than number 2"):
        refuse_replay(pulled, replace(last, sequence=2))


def test_one_commit_and_two_inventories(fleet, make, image, keys, capsys):
    """Both have a host of that name, the number and the commit are the same, and the policies are not."""
    fleet.write(staging=INVENTORY.replace("policies/web.yaml", "policies/db.yaml"))
    make("web-01")
    words = ["web-01", "--inventory", "staging.yaml", "-o", "other", "--key", str(keys / "release")]
    assert main(["bundle", *words, "--quiet"]) == 0
    here = machine(str(image), None, None)
    remember(receive("out/web-01.fwb", here, str(keys / "signers")), here)
    assert "as was another policy" in refused("other/web-01.fwb", image, keys, capsys)


def test_another_version_makes_another_bundle_of_the_same_policy(fleet, make, image, keys, monkeypatch):
    make("web-01")
    here = machine(str(image), None, None)
    first = receive("out/web-01.fwb", here, str(keys / "signers"))
    remember(first, here)
    monkeypatch.setattr("fwpolicy.fleet.making.VERSION", "9.9.9")
    make("web-01", out="out2", commit=False)
    again = receive("out2/web-01.fwb", here, str(keys / "signers"))
    assert again.digest != first.digest and again.contents == first.contents
    assert verify("out2/web-01.fwb", image, keys) == 0


def test_what_is_not_committed_is_not_bundled(fleet, make, keys, capsys):
    words = ["bundle", "--all", "-o", "out", "--key", str(keys / "release")]
    assert main(words) == 1
    assert "is no git repository: say --sequence N" in capsys.readouterr().err
    assert main([*words, "--sequence", "7", "--quiet"]) == 0
    fleet.commit()
    fleet.write(policies__web=WEB.replace("https", "http"))
    assert main(words) == 1
    assert "policies/web.yaml is not as commit" in capsys.readouterr().err
    fleet.git("checkout", "-q", ".")
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[01:02]"))
    assert main(words) == 1
    assert "inventory.yaml is not as commit" in capsys.readouterr().err
    fleet.git("checkout", "-q", ".")
    fleet.file(".gitignore", "policies/more.yaml\n")
    fleet.write(policies__more="services: {a: tcp/1}\n", policies__web=WEB + "include: [more.yaml]\n")
    fleet.commit()
    assert main(words) == 1
    assert "policies/more.yaml is not as commit" in capsys.readouterr().err


def test_a_cut_off_history_has_no_number(fleet, make, keys, tmp_path, capsys):
    make("web-01")
    fleet.write(policies__web=WEB.replace("https", "http"))
    make("web-01")
    clone = tmp_path / "clone"
    fleet.git("clone", "-q", "--depth", "1", f"file://{fleet.path}", str(clone))
    words = ["bundle", "web-01", "--inventory", str(clone), "-o", "out", "--key", str(keys / "release")]
    assert main(words) == 1
    assert "the history is cut off" in capsys.readouterr().err
    assert main([*words, "--sequence", "7"]) == 0
    assert "number 7" in capsys.readouterr().err


def test_where_git_cannot_tell_nothing_is_signed(fleet, make, keys, capsys, monkeypatch):
    """A repository that is another user's, as in containers; no git at all."""
    make("web-01")
    capsys.readouterr()
    fleet.write(policies__web=WEB.replace("https", "http"))
    words = ["bundle", "--all", "-o", "new", "--key", str(keys / "release"), "--sequence", "99"]
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert main(words) == 1
    assert "dubious ownership" in capsys.readouterr().err
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(words) == 1
    assert "git" in capsys.readouterr().err
    assert not (fleet.path / "new").exists()


def test_the_inventory_that_is_said_is_taken(fleet, make, keys, tmp_path, capsys):
    make("web-01")
    capsys.readouterr()
    words = ["bundle", "--all", "-o", str(tmp_path / "out"), "--key", str(keys / "release")]
    assert main([*words, "--inventory", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*words, "--inventory", "inventory.yaml", "."])
    assert ended.value.code == 64


@pytest.mark.parametrize("number", [-1, 10**18])
def test_a_number_that_no_shell_can_compare(number, fleet, keys, capsys):
    words = ["bundle", "--all", "-o", "out", "--key", str(keys / "release"), "--sequence", str(number)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 64
    assert "--sequence is a number from 0 to 999999999999999999" in capsys.readouterr().err


def test_nothing_is_made_where_a_host_is_wrong(fleet, make, capsys):
    fleet.write(policies__db="version: 1\ntests: [{allow: telnet, from: any}]\n")
    assert make("web-01") == 3
    assert not (fleet.path / "out").exists()
    fleet.write(policies__db="version: 1\n")
    assert make("web-09") == 1
    assert "has no policies for a host 'web-09'; did you mean 'web-0" in capsys.readouterr().err


def test_groups_of_a_host_feeds_and_shipped_policies(repo, keys, image, capsys):
    repo.file("sites/a/feeds/drop.txt", "203.0.113.9\n2001:db8:bad::9 # a comment\n")
    repo.file(
        "sites/a/web.yaml",
        "version: 1\ninclude: [../common.yaml]\n"
        "groups: {feed: {file: feeds/drop.txt}, deb: {hosts: [deb.example.org]}}\n"
        "output: {default: drop, allow: [{service: https, to: deb}]}\n"
        "input: {default: drop, allow: [{service: ssh, from: peers, in: wan}], block: [{from: feed}]}\n",
    )
    repo.file("sites/common.yaml", "services: {own: tcp/4711}\n")
    repo.file(
        "sites/a/web.lock", "version: 1\ngroups: {deb: {hosts: [deb.example.org], addresses: [192.0.2.3]}}\n"
    )
    repo.file(
        "sites/a/inventory.yaml",
        "all:\n  hosts:\n    web-01:\n      fwpolicy_policies: [web.yaml, ntp-client]\n"
        '      fwpolicy_groups: {peers: {addresses: [192.0.2.1, "2001:db8::1"], optional: true}}\n'
        '      fwpolicy_zones: {wan: [eth0, "wg*"]}\n',
    )
    repo.commit()
    words = ["bundle", "--all", "sites/a", "-o", "out", "--key", str(keys / "release"), "--quiet"]
    assert main(words) == 0, capsys.readouterr().err
    bundle = receive("out/web-01.fwb", machine(str(image), None, None), str(keys / "signers"))
    assert bundle.manifest.operands == (
        *("repository/sites/a/web.yaml", "shipped/ntp-client.yaml", "host/given.yaml"),
    )
    assert {
        "repository/sites/common.yaml",
        "repository/sites/a/feeds/drop.txt",
        "repository/sites/a/web.lock",
    } <= bundle.files.keys()
    policy = load(bundle.operands, bundle.read_file)
    assert policy.ntp is not None and policy.input.allow[0].match.incoming == ("eth0", "wg*")
    with pytest.raises(FileNotFoundError):
        bundle.read_file("/etc/passwd")


def manifest(**more) -> Manifest:
    given = {"operands": (), "files": {}, "without_script": {}, "script_notes": ()} | more
    return Manifest("web-01", "base", "0", 1, "", "", 0, False, **given)


def archive_of(*entries: tuple[tarfile.TarInfo, bytes], text: bytes | None = None) -> bytes:
    """An archive that pack would not make."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        plain = {name: getattr(manifest(), name) for name in Manifest.__slots__} | {"format": 1}
        data = json.dumps(plain).encode() if text is None else text
        for entry, content in ((named("manifest.json"), data), *entries):
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (archive_of((named("../etc/passwd"), b"x")), "leads out of it"),
        (archive_of((named("/etc/passwd"), b"x")), "leads out of it"),
        (archive_of((named("repository/../../x"), b"x")), "leads out of it"),
        (archive_of((named("repository/a//b"), b"x")), "leads out of it"),
        (archive_of((named("elsewhere/a"), b"x")), "leads out of it"),
        (archive_of((named("repository"), b"x")), "leads out of it"),
        (archive_of((named("repository/a\nb"), b"x")), "leads out of it"),
        (archive_of((named("repository/" + "a" * 251), b"x")), "no plain file"),
        (archive_of((named("repository/link", tarfile.SYMTYPE, "/etc/shadow"), b"")), "no plain file"),
        (archive_of((named("repository/link", tarfile.LNKTYPE, "manifest.json"), b"")), "no plain file"),
        (archive_of((named("repository/device", tarfile.CHRTYPE), b"")), "no plain file"),
        (archive_of((named("repository/folder", tarfile.DIRTYPE), b"")), "no plain file"),
        (
            archive_of((named("repository/a"), b"x")),
            "the bundle's manifest and its files differ: 'repository/a'",
        ),
        (archive_of((named("manifest.json"), b"x")), "has 'manifest.json' twice"),
        (archive_of(text=b"{}"), "no manifest, or a wrong one"),
        (archive_of(text=b"[1]"), "no manifest, or a wrong one"),
        (archive_of(text=b"\xff"), "no manifest, or a wrong one"),
        (archive_of(text=b"[" * 100_000), "no manifest, or a wrong one"),
        (archive_of(text=b'{"format": 2}'), "another version"),
        (pack(manifest(), {}).replace(manifest().contents.encode(), b"0" * 64), "no manifest, or a wrong"),
        (pack(manifest(files={"repository/a": "0" * 64}), {"repository/a": (b"x", 0o644)}), "is not the one"),
        (pack(manifest(files={"repository/a": "0"}), {}), "manifest and its files differ"),
        (pack(manifest(operands=("repository/a",)), {}), "no manifest, or a wrong one"),
        (b"", "holds no archive"),
        (b"x" * 1024, "holds no archive"),
        (zlib.compress(archive_of()), "holds no archive"),
    ],
)
def test_a_signature_is_no_reason_to_be_careless(archive, said, keys):
    with pytest.raises(HostError, match=said):
        open_bundle(seal(archive, str(keys / "release")), str(keys / "signers"), ("web-01",))


def test_what_an_archive_cannot_hold():
    for name in ("../a", "repository/" + "a" * 260, "repository/" + "/".join("b" * 3 for _ in range(70))):
        with pytest.raises(HostError):
            pack(manifest(), {name: (b"", 0o644)})
    assert unpack(pack(manifest(), {}))[0] == manifest()


def test_who_can_sign_is_roots_to_say(fleet, make, image, keys, capsys):
    make("web-01")
    place = image / "etc/fwpolicy/allowed_signers"
    place.parent.mkdir()
    place.write_text(allowed(keys, "release"))
    assert main(["bundle", "verify", "out/web-01.fwb", "--root", str(image)]) == 0
    place.chmod(0o666)
    assert main(["bundle", "verify", "out/web-01.fwb", "--root", str(image)]) == 1
    assert "others than root can change" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["bundle"],
        ["bundle", "a"],
        ["bundle", "--all", "a", "b"],
        ["bundle", "verify"],
        ["bundle", "verify", "a", "b"],
    ],
)
def test_usage(words, fleet):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 64


@pytest.mark.parametrize("verb", ["check", "compile", "test", "lock", "check more.yaml", "plan more.yaml"])
def test_verbs_that_take_no_bundle_say_so(fleet, make, verb, capsys):
    """And which ones do; nothing of the archive gets to a terminal."""
    make("web-01")
    fleet.file("more.yaml", "version: 1\ninput: {allow: [ssh]}\n")
    assert main([*verb.split(), "out/web-01.fwb"]) == 1
    said = capsys.readouterr().err
    if verb.startswith("plan"):
        assert said == "fwpolicy: out/web-01.fwb is a bundle: it is applied alone\n"
        return
    first, hint = said.splitlines()
    assert first == "out/web-01.fwb:1:1: error: this is a signed bundle"
    assert "plan, apply, explain, diff, prove, lint and bundle verify take one" in hint


def test_a_key_that_is_none(fleet, make, keys, capsys):
    fleet.commit()
    assert main(["bundle", "web-01", "-o", "out", "--key", "nowhere"]) == 1
    assert "cannot sign with nowhere" in capsys.readouterr().err
    key = keys / "release"
    key.chmod(0o644)
    assert main(["bundle", "web-01", "-o", "out", "--key", str(key)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert not list((fleet.path / "out").iterdir())
    assert f"cannot sign with {key}: Permissions 0644 for '{key}' are too open; " in said
    assert f'No private key found for "{key}"' in said and "@" not in said
