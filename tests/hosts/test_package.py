"""The Debian package on booted hosts: installed, used, and taken away, the firewall staying or not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, outside
from ..lab.daemons import DAEMONS
from ..packages.deb import build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

CHRONY = DAEMONS["chrony"]
DEB = "/srv/fwpolicy.deb"
PROGRAM = "/usr/bin/fwpolicy"
POLICY = "/root/client.yaml"
WATCHED = "version: 1\nname: client\nroles: {ntp: client-only}\napply: {drift: heal}\n"
# The packages' own; what sysvinit's boot and insserv(8) write anew.
OTHERS = ("/var/lib/dpkg", "/var/lib/apt", "/var/lib/urandom", "/etc/init.d/.depend.")
PYTHON = "/usr/bin/python3.11"
TIMER, SERVICE = "fwpolicy-drift.timer", "fwpolicy-drift.service"
# Two minutes after the boot are long.
SOON = "[Timer]\nOnActiveSec=200ms\nAccuracySec=50ms\n"
# What a user installs for himself, and somebody links to where root looks.
OWN_ENVIRONMENT = f"""
useradd --create-home op
runuser -u op -- python3 -m venv --without-pip --system-site-packages /home/op/venv
sed 1c\\#!/home/op/venv/bin/python3 {PROGRAM} > /home/op/venv/bin/fwpolicy
chmod 755 /home/op/venv/bin/fwpolicy
chown op: /home/op/venv/bin/fwpolicy
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def host(place: Lab, clock: TimeServer, package: Path) -> Iterator[Host]:
    with place.host("packed", 71, "chrony") as host:
        yield prepared(host, clock, package)


def prepared(host: Host, clock: TimeServer, package: Path) -> Host:
    """Booted, with a time server that answers everybody; the package lies there."""
    CHRONY.install(host, clock.servers, wide_open=True)
    host.write(POLICY, WATCHED)
    host.start()
    host.put(DEB, package)
    return host


def apt(host: Host, *words: str) -> str:
    """As an administrator says it; what apt and the package's own scripts say."""
    done = host.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", *words)
    return done.stdout + done.stderr


def look(host: Host) -> guest.Found:
    """All that apply could touch, but for what installing and booting write."""
    found = guest.look(host, "chrony").as_before()
    tree = {path: entry for path, entry in found.tree.items() if not path.startswith(OTHERS)}
    return guest.Found(tree, found.rules, found.units)


def assert_same(before: guest.Found, after: guest.Found) -> None:
    assert guest.differences(before, after) == []


def heard(host: Host) -> str:
    """What the timer's service has said since the boot."""
    host.run("journalctl", "--sync")
    return host.journal(SERVICE)


def wait_for(host: Host, words: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while words not in heard(host):
        assert time.monotonic() < deadline, heard(host)
        time.sleep(0.2)


def without_python(host: Host) -> None:
    """Reboot as a host on which nothing of ours could run."""
    host.run("mv", PYTHON, f"{PYTHON}.away")
    host.reboot()
    assert host.run("python3", "--version", check=False).returncode != 0
    applied = host.run("nft", "list", "tables").stdout
    host.run("mv", f"{PYTHON}.away", PYTHON)
    assert "table inet fwpolicy\n" in applied


def test_installed_used_and_taken_away(
    host: Host, clock: TimeServer, attacker: Namespace, package: Path
) -> None:
    bare, answered = look(host), outside.probe(attacker, host, clock, "--quick").answered
    assert answered
    apt(host, "install", DEB)
    assert_same(bare, look(host))

    guest.fwpolicy(host, "apply", "ntp-client")
    since, rules = time.time(), guest.own_rules(host)
    host.reboot()
    assert guest.own_rules(host) == rules
    CHRONY.wait_synchronised(host, since)
    assert outside.probe(attacker, host, clock, "--quick").answered == ()

    said = apt(host, "remove", "fwpolicy")
    assert "stays in force, and loads at boot without this package" in said
    assert "install fwpolicy again, then run: fwpolicy remove" in said
    assert host.run("find", "/usr", "-path", "*fwpolicy*").stdout == ""
    assert guest.own_rules(host) == rules
    without_python(host)
    assert guest.own_rules(host) == rules
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    assert "/var/lib/fwpolicy stays" in host.run("dpkg", "--purge", "fwpolicy").stdout

    apt(host, "install", DEB)
    guest.fwpolicy(host, "status")
    guest.fwpolicy(host, "remove")
    assert_same(bare, look(host))
    assert "stays" not in apt(host, "purge", "fwpolicy")
    assert_same(bare, look(host))
    assert outside.probe(attacker, host, clock, "--quick").answered == answered


def test_the_timer_runs_the_packages_program_and_nobody_elses(host: Host) -> None:
    apt(host, "install", DEB)
    host.run("sh", "-e", "-c", OWN_ENVIRONMENT)
    before = look(host)
    host.run("ln", "-s", "/home/op/venv/bin/fwpolicy", "/usr/local/bin/fwpolicy")
    assert host.run("/usr/local/bin/fwpolicy", "check", "ntp-client").stdout
    for program in (PROGRAM, "/usr/local/bin/fwpolicy"):
        done = host.run(program, "apply", POLICY, check=False)
        assert done.returncode == 1
        assert "would run /usr/local/bin/fwpolicy, and others than root can change /home/op" in done.stderr
    assert_same(before, look(host))
    host.run("rm", "/usr/local/bin/fwpolicy")

    guest.fwpolicy(host, "apply", POLICY)
    rules = guest.own_rules(host)
    assert f"path={PROGRAM} ;" in host.run("systemctl", "show", "--property=ExecStart", SERVICE).stdout
    assert host.run("dpkg", "--search", PROGRAM).stdout == f"fwpolicy: {PROGRAM}\n"
    host.write(f"/etc/systemd/system/{TIMER}.d/soon.conf", SOON)
    host.run("systemctl", "daemon-reload")
    host.run("nft", "flush", "ruleset")
    host.run("systemctl", "restart", TIMER)
    wait_for(host, "the rules were put back")
    assert guest.own_rules(host) == rules
    uid = host.run("journalctl", f"--unit={SERVICE}", "--output=verbose", "--boot").stdout
    assert "    _UID=0\n" in uid
    # The journal has no command line of what ended before journald looked: systemd itself knows what it ran.
    ran = host.run("systemctl", "show", "--property=ExecStart", SERVICE).stdout
    assert f"path={PROGRAM} ; argv[]={PROGRAM} status " in ran and " pid=0 " not in ran

    apt(host, "remove", "fwpolicy")
    host.run("systemctl", "start", SERVICE)
    assert "ConditionResult=no" in host.run("systemctl", "show", SERVICE).stdout
    assert host.run("systemctl", "--failed", "--quiet", "--no-legend").stdout == ""
    assert guest.own_rules(host) == rules


@pytest.mark.slow
def test_under_sysvinit(place: Lab, clock: TimeServer, attacker: Namespace, package: Path) -> None:
    with place.host("packed-old", 72, "sysv-chrony") as host:
        prepared(host, clock, package)
        bare = look(host)
        apt(host, "install", DEB)
        assert_same(bare, look(host))
        guest.fwpolicy(host, "apply", POLICY)
        rules = guest.own_rules(host)
        assert "stays in force" in apt(host, "remove", "fwpolicy")
        without_python(host)
        assert guest.own_rules(host) == rules
        assert outside.probe(attacker, host, clock, "--quick").answered == ()
        apt(host, "install", DEB)
        guest.fwpolicy(host, "remove")
        apt(host, "purge", "fwpolicy")
        assert_same(bare, look(host))
