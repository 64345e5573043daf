"""What the Ansible collection runs on a host without fwpolicy (deploy/ansible), under old hosts' shells."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from fwpolicy.fleet import bundle
from fwpolicy.fleet.payload import Manifest, pack
from tests.fleet.signing import keys
from tests.golden import cases
from tests.lab.holder import run
from tests.test_ansible_collection import HOST_SCRIPT

from .oldhost import SHELLS, script, tools

pytestmark = pytest.mark.kernel

__all__ = ["keys"]

# Folders of its own in the place of the machine's, for this process alone.
PLACE = """\
mount --bind "$1/var" /var/lib && mount --bind "$1/run" /run || exit 9
path="$2"
shift 2
exec env -i PATH="$path" sh "$@"
"""
CLIENT, SERVER = cases.policy("ntp-client"), cases.policy("ntp-server")
OWN_PATH = 'PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
APPLIED = "fwpolicy-push: changed 1"


class PushedTo:
    """A host's shell, in a network namespace and with folders of its own."""

    patience = 20

    def __init__(self, netns: str, folder, shell: str, signers: str) -> None:
        self.netns, self.folder = netns, folder
        for name in ("var", "run"):
            (folder / name).mkdir(mode=0o755)
        (folder / "var/signers").write_text(signers)
        self.path = tools(folder / "tools", shell, "nft")

    def ask(self, verb: str, *options: str, data: bytes = b"", ok: bool = True) -> str:
        """What it says; `ok`: does it succeed?"""
        given = ("way=script", "signers=/var/lib/signers", "extra=--no-persist --no-daemon", *options)
        return self.run("-c", self.script(), "fwpolicy-push", verb, *given, data=data, ok=ok)

    def script(self) -> str:
        """With only the tools of this host, and as much patience."""
        text = HOST_SCRIPT.read_text()
        assert OWN_PATH in text and "patience=120" in text
        return text.replace(OWN_PATH, f'PATH="{self.path}"').replace(
            "patience=120", f"patience={self.patience}"
        )

    def run(self, *words: str, data: bytes = b"", ok: bool = True) -> str:
        """What its sh says."""
        with TemporaryFile() as sent:
            sent.write(data)
            sent.seek(0)
            done = run(*self.command(*words), stdin=sent, check=False)
        assert (done.returncode == 0) is ok, f"{done.stdout}{done.stderr}"
        return done.stdout

    def command(self, *words: str) -> tuple[str, ...]:
        place = ("unshare", "--mount", "sh", "-c", PLACE, "sh", str(self.folder), self.path)
        return ("ip", "netns", "exec", self.netns, *place, *words)

    def push(self, verb: str, data: bytes, *options: str, ok: bool = True) -> str:
        return self.ask(verb, "host=pbx", f"size={len(data)}", *options, data=data, ok=ok)

    def rules(self) -> str:
        return run("ip", "netns", "exec", self.netns, "nft", "-s", "list", "ruleset").stdout

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "var").iterdir())


@pytest.fixture(params=SHELLS[:2])
def host(netns, tmp_path, keys, request):
    return PushedTo(netns, tmp_path, request.param, (keys / "signers").read_text())


@pytest.fixture
def one(netns, tmp_path, keys):
    return PushedTo(netns, tmp_path, "busybox", (keys / "signers").read_text())


def made(keys, policy, number: int, key: str = "release", **fields) -> bytes:
    """A bundle of the policy's script."""
    text = script(policy, "nft").encode()
    name = "artifacts/apply-nft.sh"
    plain = {"host": "pbx", "policy": policy.name, "tool": "", "sequence": number, "commit": f"c{number}"}
    plain |= {"author": "", "time": 0, "operands": (), "files": {name: hashlib.sha256(text).hexdigest()}}
    plain |= {"without_script": {}, "script_notes": (), "beside_nat": False}
    archive = pack(Manifest(**(plain | fields)), {name: (text, 0o700)})
    return bundle.seal(archive, str(keys / key))


def test_pushed_once_and_taken_back(host, keys):
    first, second = made(keys, CLIENT, 1), made(keys, SERVER, 2)
    assert APPLIED in host.push("plan", first)
    assert (host.left(), host.rules()) == (["signers"], "")
    said = host.push("apply", first, "seconds=0")
    assert "fwpolicy-push: verified host\nfwpolicy-push: signer release@example.org\n" in said
    once = host.rules()
    assert "table inet fwpolicy" in once
    assert "fwpolicy-push: changed 0" in host.push("apply", first, "seconds=0")
    host.push("apply", second, "seconds=600")
    assert "waits 1" in host.ask("look")
    assert "changed 1" in host.ask("rollback")
    assert host.rules() == once
    host.push("apply", second, "seconds=600")
    host.ask("confirm")
    assert "waits 0" in host.ask("confirm")
    assert "older than number 2" in host.push("plan", first, ok=False)
    assert APPLIED in host.push("plan", first, "older=1")
    assert "changed 0" in host.ask("rollback", "generation=1")
    assert "changed 1" in host.ask("rollback", "generation=2")
    assert host.rules() == once
    assert "changed 1" in host.ask("rollback", "generation=1")
    assert (host.left(), host.rules()) == (["signers"], "")


def test_what_is_confirmed_by_hand_counts_and_what_is_taken_back_does_not(one, keys):
    one.push("apply", made(keys, CLIENT, 1), "seconds=600")
    one.run("/var/lib/fwpolicy-script/tool/tool.sh", "confirm")
    assert '"sequence": 1, "commit": "c1"' in one.ask("status")
    one.push("apply", made(keys, SERVER, 2), "seconds=600")
    one.run("/var/lib/fwpolicy-script/tool/tool.sh", "rollback")
    assert '"sequence": 1, "commit": "c1"' in one.ask("status")


def test_a_full_disk_forgets_nothing(host, keys):
    host.push("apply", made(keys, CLIENT, 1), "seconds=0")
    known = host.folder / "var/fwpolicy/bundle.json"
    before = known.read_text()
    new = known.with_name("bundle.json.new")
    new.symlink_to("/dev/full")
    said = host.push("apply", made(keys, SERVER, 2), "seconds=0", ok=False)
    assert "cannot write to /var/lib/fwpolicy" in said
    assert not known.is_symlink() and known.read_text() == before
    new.unlink()
    assert '"sequence": 2, "commit": "c2"' in host.ask("status")
    assert "older than number 2" in host.push("plan", made(keys, CLIENT, 1), ok=False)


def test_another_of_the_same_number(one, keys):
    """Of no commit, as outside of git: what they are made of tells them apart."""
    none = {"commit": ""}
    first, other = made(keys, CLIENT, 7, **none), made(keys, SERVER, 7, **none, beside_nat=True)
    one.push("apply", first, "seconds=0")
    assert "number 7, as was another policy" in one.push("apply", other, "seconds=0", ok=False)
    assert "changed 0" in one.push("apply", first, "seconds=0")
    assert APPLIED in one.push("plan", other, "older=1")
    commit = made(keys, SERVER, 7, commit="c7", beside_nat=True)
    assert "number 7, as was another commit ()" in one.push("plan", commit, ok=False)
    for number in (10**18, 10**30):
        assert "none that a shell can compare" in one.push("plan", made(keys, SERVER, number), ok=False)


def test_another_hosts_policy_is_in_force(one, keys):
    one.push("apply", made(keys, CLIENT, 1), "seconds=0")
    other = made(keys, SERVER, 2, host="pby")
    assert "host pbx's, not pby's: replace: true" in one.push("apply", other, "host=pby", ok=False)
    one.push("apply", other, "host=pby", "seconds=0", "replace=1")
    assert "host pby's, not pbx's" in one.push("plan", made(keys, CLIENT, 3), ok=False)
    # With its domain it is the same host, as for fwpolicy.
    longer = made(keys, CLIENT, 3, host="pby.example.org")
    assert APPLIED in one.push("plan", longer, "host=pby.example.org")
    alike = made(keys, SERVER, 3, host="pbyz.example.org")
    assert "host pby's, not pbyz.example.org's" in one.push("plan", alike, "host=pbyz.example.org", ok=False)
    # What is there no more keeps nobody out.
    one.run("/var/lib/fwpolicy-script/tool/tool.sh", "undo")
    assert APPLIED in one.push("plan", made(keys, CLIENT, 3))


def test_one_push_at_a_time(one, keys):
    first, second = made(keys, CLIENT, 1), made(keys, SERVER, 2)
    one.patience = 1
    turn, waits = one.folder / "run/fwpolicy-push.turn", one.folder / "var/fwpolicy-push/waits"
    waits.mkdir(parents=True)
    with subprocess.Popen(["sh", "-c", "sleep 600; :", "fwpolicy-push"], start_new_session=True) as other:
        try:
            turn.symlink_to(f"pid:{other.pid}")
            said = one.push("apply", first, "seconds=0", ok=False)
            assert f"process {other.pid} pushes here and does not end" in said
            # What the other has written until now is there for it; who only looks does not wait.
            assert "applied 0" in one.ask("status") and APPLIED in one.push("plan", first)
            assert waits.exists() and str(turn.readlink()) == f"pid:{other.pid}"
        finally:
            os.killpg(other.pid, signal.SIGKILL)
    assert APPLIED in one.push("apply", first, "seconds=0")
    # Its number is another's now.
    turn.symlink_to(f"pid:{os.getpid()}")
    assert APPLIED in one.push("apply", second, "seconds=600")
    assert not list((one.folder / "run").glob("fwpolicy-push*"))


def test_of_many_that_wait_for_a_dead_one_one_goes_at_a_time(host, keys):
    first = made(keys, CLIENT, 1)
    (host.folder / "run/fwpolicy-push.turn").symlink_to("pid:999999")
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: host.push("apply", first, "seconds=0"), range(6)))
    assert sorted("changed 1" in each for each in said) == [False] * 5 + [True]
    assert not list((host.folder / "run").glob("fwpolicy-push*"))


def test_who_was_killed_when_it_took_over_holds_nobody_up(host, keys):
    host.patience = 1
    turn = host.folder / "run/fwpolicy-push.turn"
    for number, policy in enumerate((CLIENT, SERVER), 1):
        # `pid:N` is in the name of what this script made before it was mended.
        for name in ("turn", "turn.after", "turn.after.after", "turn.after.pid:999999"):
            link = turn.with_name(f"fwpolicy-push.{name}")
            link.unlink(missing_ok=True)
            link.symlink_to("pid:999999")
        assert APPLIED in host.push("apply", made(keys, policy, number), "seconds=0")
        assert not [link for link in turn.parent.glob("fwpolicy-push*") if "pid" not in link.name]


def test_who_does_not_get_the_takeover_waits(one, keys):
    """And does not count its tries away in a moment."""
    first = made(keys, CLIENT, 1)
    turn = one.folder / "run/fwpolicy-push.turn"
    turn.symlink_to("pid:999999")
    with subprocess.Popen(["sh", "-c", "sleep 3; :", "fwpolicy-push"]) as other:
        for name in ("after", "after.pid:999999"):
            turn.with_name(f"{turn.name}.{name}").symlink_to(f"pid:{other.pid}")
        with ThreadPoolExecutor() as pool:
            pushed = pool.submit(one.push, "apply", first, "seconds=0")
            other.wait()
            turn.with_name(f"{turn.name}.after.pid:999999").unlink()
            assert APPLIED in pushed.result()


def test_who_listens_holds_nobody_up(one, keys):
    """A connection that died without a word keeps `status` waiting for its end."""
    one.push("apply", made(keys, CLIENT, 1), "seconds=600")
    one.patience = 2
    reading, writing = os.pipe()
    with os.fdopen(reading) as nothing, os.fdopen(writing, "wb"):
        words = one.command("-c", one.script(), "fwpolicy-push", "status", "way=script")
        with subprocess.Popen(words, stdin=nothing, stdout=subprocess.DEVNULL) as silent:
            try:
                while "cat" not in children(silent.pid):
                    assert silent.poll() is None
                assert "waits 1" in one.ask("confirm")
            finally:
                silent.kill()


def children(pid: int) -> list[str]:
    """The names of its processes that are there while one looks."""
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            found.append(Path(f"/proc/{each}/comm").read_text().strip())
    return found


def test_nothing_but_a_good_one(one, keys):
    good = made(keys, CLIENT, 1)
    wrong = {
        "the signature does not hold": good.replace(b"table inet", b"table INET", 1),
        "this is no bundle": b"#!/bin/sh\n",
        "the bundle is pby's": made(keys, CLIENT, 1, host="pby"),
        "is of nobody": made(keys, CLIENT, 1, "stranger"),
    }
    for why, data in wrong.items():
        assert why in one.push("apply", data, "seconds=0", ok=False)
    assert "did not arrive whole" in one.push("apply", good[:-1], f"size={len(good)}", ok=False)
    assert "no script for iptables" in one.push("apply", good, "backend=iptables", ok=False)
    assert "signers is a path from / on" in one.push("apply", good, "signers=signers", ok=False)
    remembered = one.folder / "var/fwpolicy/bundle.json"
    remembered.parent.mkdir()
    for damage in ("", "{", '{"sequence": "2"}', f'{{"sequence": {"9" * 30}}}'):
        remembered.write_text(damage)
        assert "bundle.json is damaged" in one.push("apply", good, "seconds=0", ok=False)
    remembered.unlink()
    remembered.parent.rmdir()
    (one.folder / "var/signers").chmod(0o666)
    assert "others than root can change it" in one.push("apply", good, ok=False)
    # Nor where fwpolicy itself is there, which believes whatever file it is told.
    (one.folder / "tools/fwpolicy").write_text("#!/bin/sh\necho asked\n")
    (one.folder / "tools/fwpolicy").chmod(0o755)
    said = one.push("apply", good, "way=fwpolicy", ok=False)
    assert "others than root can change it" in said and "asked" not in said
    (one.folder / "var/signers").chmod(0o644)
    assert "asked" in one.push("apply", good, "way=fwpolicy")
    assert (one.left(), one.rules()) == (["signers"], "")
