"""sync under a real systemd, from a repository on another host: the timer's service, shut in as it is."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ..fleet.conftest import Repo
from ..fleet.signing import allowed, make_keys
from ..lab import guest
from ..lab.daemons import DAEMONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..lab.holder import Process
    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

SERVICE, TIMER = "fwpolicy-sync.service", "fwpolicy-sync.timer"
INVENTORY = "all: {hosts: {pulled: {fwpolicy_policies: [web.yaml]}}}\n"
GATE = "/usr/local/sbin/fit"
WEB = """\
version: 1
name: web
input: {default: drop, allow: [ssh, {service: PORT, id: web}]}
"""


class Forge:
    """The repository, served by git's own daemon, and a clone that is worked in."""

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self.folder, self.namespace = folder, namespace
        for name in ("keys", "work"):
            (folder / name).mkdir()
        make_keys(folder / "keys")
        self.repo = Repo(folder / "work")
        self.repo.git("init", "-q", "--bare", "-b", "main", str(folder / "origin.git"))
        self.repo.git("init", "-q", "-b", "main")
        self.daemon: Process | None = None
        self.serve()

    def serve(self) -> None:
        words = ("--reuseaddr", "--export-all", f"--base-path={self.folder}", str(self.folder))
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.daemon = self.namespace.popen("git", "daemon", *words, **quiet)

    def away(self) -> None:
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(10)

    def push(self, text: str, key: str | None = "release") -> str:
        """A commit with this policy on the branch, signed with `key`."""
        self.repo.write(inventory=INVENTORY, web=text)
        return self.commit(key)

    def commit(self, key: str | None = "release") -> str:
        self.repo.git("add", "-A")
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.folder}/keys/{key}"] if key else []
        self.repo.git(*signing, "commit", "-q", "--allow-empty", "-m", "a change", *(["-S"] if key else []))
        self.repo.git("push", "-q", "--force", f"{self.folder}/origin.git", "HEAD:main")
        return self.repo.git("rev-parse", "HEAD")


@pytest.fixture(scope="module")
def forge(place: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with place.namespace("forge", 90) as namespace:
        found = Forge(tmp_path_factory.mktemp("forge"), namespace)
        yield found
        found.away()


@pytest.fixture(scope="module")
def host(place: Lab, forge: Forge) -> Iterator[Host]:
    with place.host("pulled", 30, "git") as host:
        host.install_fwpolicy()
        signers = allowed(forge.folder / "keys", "release", 'namespaces="git"')
        host.write("/etc/fwpolicy/allowed_signers", signers)
        host.write(
            "/etc/fwpolicy/sync.yaml",
            f"version: 1\nrepository: git://{forge.namespace.ipv4}/origin.git\nbranch: main\n"
            "inventory: inventory.yaml\nevery: 1h\ntimeout: 10s\nconfirm: 10s\n"
            "replace: true\n",
        )
        host.write(GATE, "#!/bin/sh\ntest -e /var/lib/fit\n", 0o755)
        place.boot(host)
        yield host


def pulled(host: Host, *, well: bool) -> str:
    """What the journal hears of one run of the timer's service, now."""
    cursor = host.run("journalctl", "--no-pager", "--lines=0", "--show-cursor").stdout.split("cursor: ")[1]
    _due(host)
    host.run("systemctl", "reset-failed", SERVICE, check=False)
    done = host.run("systemctl", "start", SERVICE, check=False)
    host.run("journalctl", "--sync")
    words = (f"--after-cursor={cursor.strip()}", f"--unit={SERVICE}", "--output=cat", "--no-pager")
    said = host.run("journalctl", *words).stdout
    assert (done.returncode == 0) == well, said
    return said


def _due(host: Host) -> None:
    path = "/var/lib/fwpolicy/sync/state.json"
    if host.run("test", "-e", path, check=False).returncode:
        return
    state = json.loads(host.read(path))
    host.write(path, json.dumps(state | {"due": 0}), 0o600)


def unmoved(host: Host) -> tuple[str, str]:
    return guest.own_rules(host), host.run("ls", "-1", "/var/lib/fwpolicy/generations").stdout


def refused(host: Host) -> str:
    before = unmoved(host)
    said = pulled(host, well=False)
    assert unmoved(host) == before
    return said


def test_the_timer_pulls(host: Host, forge: Forge) -> None:
    commit = forge.push(WEB.replace("PORT", "https"))
    assert "looks every 3600 s" in guest.fwpolicy(host, "sync", "--enable")
    assert "ActiveState=active" in guest.unit_state(host, TIMER)
    assert "already" in guest.fwpolicy(host, "sync", "--enable")
    host.run("systemctl", "stop", TIMER)  # each round from here on is the test's
    said = pulled(host, well=True)
    assert f"commit {commit[:12]}: applied" in said and "not tried in a namespace" not in said
    assert "in a scratch namespace the kernel does" in said, said
    assert "443" in guest.own_rules(host)
    assert guest.report(host, "status")["provenance"]["commit"] == commit
    assert "loaded at boot" in guest.fwpolicy(host, "history")
    assert pulled(host, well=True).count("commit") == 0
    exposure = host.run("systemd-analyze", "security", SERVICE, "--no-pager").stdout.splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 4.0, exposure


def test_what_is_refused(host: Host, forge: Forge) -> None:
    first = forge.repo.git("rev-parse", "HEAD")
    forge.push(WEB.replace("PORT", "smtp"), key=None)
    assert "it is signed by nobody in" in refused(host)
    forge.push(WEB.replace("PORT", "imaps"), key="stranger")
    assert "it is signed by nobody in" in refused(host)
    (forge.repo.path / "web.yaml").unlink()
    (forge.repo.path / "web.yaml").symlink_to("/etc/hostname")
    forge.commit()
    assert "is a link that leads out of the repository" in refused(host)
    (forge.repo.path / "web.yaml").unlink()
    forge.repo.git("checkout", "-q", "--orphan", "other", first)
    forge.push(WEB.replace("PORT", "smtp"))
    assert "somebody has rewound or rewritten the branch" in refused(host)
    forge.away()
    assert f"git://{forge.namespace.ipv4}/origin.git: " in refused(host)
    assert guest.report(host, "sync", "--status", expect=2)["failures"] == 5
    forge.serve()
    forge.repo.git("checkout", "-q", "-f", "main")
    forge.repo.git("reset", "-q", "--hard", first)
    forge.commit()
    time.sleep(0.2)
    assert "nothing to change" in pulled(host, well=True)


def test_shut_off_from_its_repository(host: Host, forge: Forge) -> None:
    before = guest.own_rules(host)
    shut = WEB.replace("PORT", "https") + "output: {default: drop, allow: [ntp]}\napply: {confirm: 5s}\n"
    forge.push(shut)
    said = pulled(host, well=False)
    assert "taken back: the repository is not reached" in said and "time 1 of 3" in said
    assert guest.own_rules(host) == before
    forge.push(WEB.replace("PORT", "imaps"))
    assert "applied" in pulled(host, well=True)
    assert "993" in guest.own_rules(host)


@pytest.mark.slow
def test_a_reboot_in_between(host: Host, forge: Forge) -> None:
    forge.push(WEB.replace("PORT", "imaps"))
    pulled(host, well=True)
    forge.push(WEB.replace("PORT", "https") + f"apply: {{confirm: 5m, gates: [{{run: [{GATE}]}}]}}\n")
    _due(host)
    host.run("systemctl", "start", "--no-block", SERVICE)
    _wait(lambda: "waits to be confirmed" in host.run("fwpolicy", "history", check=False).stdout)
    assert "443" in guest.own_rules(host)
    host.reboot()
    assert "993" in guest.own_rules(host)
    assert "not confirmed before a reboot" in guest.fwpolicy(host, "history")
    assert "ActiveState=active" in guest.unit_state(host, TIMER)
    host.run("systemctl", "stop", TIMER)
    host.run("touch", "/var/lib/fit")
    assert "applied" in pulled(host, well=True)
    assert "443" in guest.own_rules(host)


@pytest.mark.slow
def test_killed_while_it_waits(host: Host, forge: Forge) -> None:
    """What takes it back is not the unit's: it outlives whatever kills that."""
    before = guest.own_rules(host)
    forge.push(WEB.replace("PORT", "smtps") + "apply: {confirm: 10s, gates: [{run: [/bin/false]}]}\n")
    _due(host)
    host.run("systemctl", "start", "--no-block", SERVICE)
    _wait(lambda: "waits to be confirmed" in host.run("fwpolicy", "history", check=False).stdout)
    host.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", SERVICE)
    _wait(lambda: "undone: not confirmed in time" in guest.fwpolicy(host, "history"))
    assert guest.own_rules(host) == before
    assert "a gate does not hold: /bin/false" in pulled(host, well=False)
    assert guest.own_rules(host) == before


def _wait(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_a_time_daemon_and_the_other_backend(host: Host, forge: Forge, clock: TimeServer) -> None:
    """All that an apply does works within the unit: files, restarts, gates; iptables and back."""
    DAEMONS["chrony"].install(host, clock.servers)
    host.run("systemctl", "restart", "chrony")
    role = "roles: {ntp: client-only}\n"
    gates = "apply: {confirm: 90s, gates: [synchronised]}\n"
    for text in (role + gates, role + gates + "backends: [iptables]\n", ""):
        forge.push(WEB.replace("PORT", "https") + text)
        assert "applied" in pulled(host, well=True)
        assert ("fwpolicy" in host.read("/etc/chrony/chrony.conf")) == ("roles" in text)
        saved = host.run("iptables-save").stdout
        assert ("FWPOLICY" in saved) == ("backends" in text)
        guest.fwpolicy(host, "status")


@pytest.mark.slow
def test_over_ssh(host: Host, forge: Forge) -> None:
    """With root's own key and known hosts, which the unit may read; a host that is not known is refused."""
    commit = forge.push(WEB.replace("PORT", "ftp"))
    host.run("git", "clone", "-q", "--bare", f"git://{forge.namespace.ipv4}/origin.git", "/srv/origin.git")
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
    host.run("cp", "/root/.ssh/id_ed25519.pub", "/root/.ssh/authorized_keys")
    host.run("systemctl", "start", "ssh")
    served = f"git://{forge.namespace.ipv4}/origin.git"
    config = host.read("/etc/fwpolicy/sync.yaml")
    host.write("/etc/fwpolicy/sync.yaml", config.replace(served, "ssh://root@127.0.0.1/srv/origin.git"))
    assert "Host key verification failed" in refused(host)
    known = host.run("sh", "-c", "sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub").stdout
    host.write("/root/.ssh/known_hosts", known)
    assert f"commit {commit[:12]}: applied" in pulled(host, well=True)


def test_the_timer_goes(host: Host) -> None:
    guest.fwpolicy(host, "sync", "--disable")
    assert "fwpolicy-sync" not in host.run("systemctl", "list-unit-files", "--no-legend").stdout
    assert "there was no timer" in guest.fwpolicy(host, "sync", "--disable")
