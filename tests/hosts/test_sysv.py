"""Hosts that sysvinit boots: ntpd closed and opened again, reboots, power cuts, windows without a timer."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from ..lab import guest, outside, witness
from ..lab.daemons import DAEMONS
from ..lab.hosts import CHECKOUT
from .knocking import POLICY, come_late, connections, install_listener
from .test_powercut import NEW, OLD, STEPPER, policy, state, stepped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..lab.hosts import Host, Lab
    from ..lab.peers import Namespace, TimeServer

pytestmark = pytest.mark.hosts

NTPSEC, CHRONY = DAEMONS["ntpsec"], DAEMONS["chrony"]
UNIT = "ntpsec"
SCRIPT = "/etc/init.d/fwpolicy"
# insserv(8) writes them anew whenever a link changes, with what they held before.
TABLES = ("boot", "start", "stop")
WEB = "/root/web.yaml"
THEIRS = "*filter\n-A INPUT -p tcp -m tcp --dport 9999 -j DROP\nCOMMIT\n"
CLOSED = "version: 1\nname: shut\nroles: {ntp: closed}\n"


@pytest.fixture
def host(place: Lab, clock: TimeServer) -> Iterator[Host]:
    """With a time server that answers everybody everything."""
    with place.host("old", 41, "sysv-ntpsec") as host:
        NTPSEC.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        host.start()
        yield host


def look(host: Host) -> guest.Found:
    """All that apply could touch, but for what the boot itself writes and when insserv(8) was run."""
    found = guest.look(host, UNIT).as_before()
    own = [f"/etc/init.d/.depend.{each}" for each in TABLES]
    tree = {path: entry[:-1] if path in own else entry for path, entry in found.tree.items()}
    tree.pop("/var/lib/urandom/random-seed", None)
    return guest.Found(tree, found.rules, found.units)


def assert_same(before: guest.Found, after: guest.Found) -> None:
    assert guest.differences(before, after) == []


def ntpd_runs(host: Host) -> bool:
    return host.run("pgrep", "--exact", "ntpd", check=False).returncode == 0


def test_an_open_time_server_becomes_a_client_and_back(
    host: Host, clock: TimeServer, attacker: Namespace
) -> None:
    before, open_before = look(host), outside.probe(attacker, host, clock, "--quick").answered
    assert open_before
    said = guest.fwpolicy(host, "plan", "ntp-client", expect=2)
    assert f"boot: enable {SCRIPT}, which loads the rules before the network" in said
    assert "restart: ntpsec\n" in said
    assert "/etc/init.d/netfilter-persistent loads rules of its own; it runs after ours" in said
    assert_same(before, look(host))
    guest.fwpolicy(host, "apply", "ntp-client")
    since = time.time()
    assert guest.fwpolicy(host, "apply", "ntp-client") == "ntp-client: nothing to change\n"
    NTPSEC.wait_synchronised(host, since)
    assert outside.probe(attacker, host, clock).answered == ()
    assert guest.report(host, "status")["drift"] == []
    host.reboot()
    since = time.time()
    assert outside.probe(attacker, host, clock, "--quick").answered == ()
    NTPSEC.wait_synchronised(host, since)
    assert guest.report(host, "status")["drift"] == []
    guest.fwpolicy(host, "remove")
    assert_same(before, look(host))
    assert ntpd_runs(host)
    assert outside.probe(attacker, host, clock, "--quick").answered == open_before
    host.reboot()
    assert guest.rules(host) == ""


def test_closed_stops_the_daemon_in_every_runlevel_whoever_starts_it(host: Host) -> None:
    before = look(host)
    host.write("/root/closed.yaml", CLOSED)
    assert "no service of the init system" not in guest.fwpolicy(host, "plan", "/root/closed.yaml", expect=2)
    guest.fwpolicy(host, "apply", "/root/closed.yaml")
    assert not ntpd_runs(host)
    for command in (("service", UNIT, "start"), ("/usr/sbin/invoke-rc.d", "--force", UNIT, "start")):
        host.run(*command, check=False)
        assert not ntpd_runs(host)
    assert "/S" not in host.run("find", "/etc", "-path", f"/etc/rc?.d/???{UNIT}").stdout
    host.reboot()
    assert not ntpd_runs(host)
    assert guest.report(host, "status")["drift"] == []
    # What an administrator would do to have it back.
    host.run("chmod", "a+x", f"/etc/init.d/{UNIT}")
    host.run("update-rc.d", UNIT, "enable")
    (drift,) = guest.report(host, "status", expect=2)["drift"]
    assert drift["what"] == f"{UNIT} runs or starts at boot, and the role says closed"
    guest.fwpolicy(host, "remove")
    assert_same(before, look(host))
    assert ntpd_runs(host)


@pytest.mark.slow
def test_where_insserv_alone_keeps_the_links(host: Host) -> None:
    host.run("mv", "/usr/sbin/update-rc.d", "/root/update-rc.d")
    before = look(host)
    host.write("/root/closed.yaml", CLOSED)
    guest.fwpolicy(host, "apply", "/root/closed.yaml")
    assert UNIT not in host.run("sh", "-c", "ls /etc/rc?.d").stdout
    host.reboot()
    assert not ntpd_runs(host) and "table inet fwpolicy" in guest.rules(host)
    guest.fwpolicy(host, "remove")
    host.run("rm", "/root/closed.yaml")
    assert_same(before, look(host))
    assert ntpd_runs(host)


# The boot


def test_the_rules_are_there_before_the_network_and_a_late_script_is_seen(
    host: Host, attacker: Namespace
) -> None:
    witness.install(host)
    install_listener(host)
    host.write("/etc/iptables/rules.v4", THEIRS)
    host.write(WEB, POLICY.format(allow="ssh"))
    guest.fwpolicy(host, "apply", WEB)
    host.run("nft", "add", "table", "inet", "byhand")  # what nobody saves is gone: the kernel is a new one
    let_in = connections(host, attacker, host.reboot)
    assert witness.seen(host).in_time and "byhand" not in guest.rules(host)
    assert let_in == 0
    # netfilter-persistent comes after the network, and minds its own.
    rules = guest.own_rules(host)
    for verb in ("restart", "flush", "start"):
        host.run("service", "netfilter-persistent", verb)
        loaded = host.run("iptables", "-S", "INPUT").stdout
        assert ("--dport 9999" in loaded) == (verb != "flush")
        assert guest.own_rules(host) == rules
    come_late(host)
    let_in = connections(host, attacker, host.reboot)
    seen = witness.seen(host)
    assert seen.down and not seen.families
    assert let_in > 0
    assert "table inet fwpolicy" in guest.rules(host)


@pytest.mark.slow
def test_an_image_is_prepared_before_it_boots(place: Lab) -> None:
    with place.host("image", 42, "sysv-ntpsec") as host:
        here = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "fwpolicy")
        place.holder.run(*here, "apply", "--root", "/run/lab/image/root", "ntp-client")
        assert host.run("sh", "-c", "ls /etc/rcS.d").stdout.count("fwpolicy") == 1
        host.install_fwpolicy()
        host.start()
        assert "table inet fwpolicy" in guest.rules(host)
        assert "restrict default ignore" in host.read(NTPSEC.config)


# Windows: no timer of systemd's, and nobody but our own process to take an apply back


def test_nobody_confirms_and_it_is_taken_back(host: Host) -> None:
    before = look(host)
    guest.fwpolicy(host, "apply", "--confirm", "3s", "ntp-client")
    assert "restrict default ignore" in host.read(NTPSEC.config)
    wait_until(lambda: guest.rules(host) == "", 20)
    wait_until(lambda: not exists(host, "/var/lib/fwpolicy/undoing"), 20)
    assert "undone: not confirmed in time" in guest.fwpolicy(host, "history")
    guest.fwpolicy(host, "remove")
    assert_same(before, look(host))
    assert ntpd_runs(host)


@pytest.mark.slow
def test_one_that_is_confirmed_stays(host: Host) -> None:
    guest.fwpolicy(host, "apply", "--confirm", "4s", "ntp-client")
    assert guest.fwpolicy(host, "confirm") == "confirmed ntp-client: generation 1\n"
    time.sleep(5)
    assert guest.report(host, "status")["drift"] == []
    host.reboot()
    assert "table inet fwpolicy" in guest.rules(host)


def test_a_reboot_in_the_window_is_taken_back_before_the_network(host: Host) -> None:
    before = look(host)
    host.write("/root/closed.yaml", CLOSED)
    guest.fwpolicy(host, "apply", "--confirm", "60s", "/root/closed.yaml")
    assert not ntpd_runs(host)
    host.reboot()
    assert guest.rules(host) == "" and ntpd_runs(host)
    assert "undone: not confirmed before a reboot" in guest.fwpolicy(host, "history")
    assert not exists(host, SCRIPT)
    guest.fwpolicy(host, "remove")
    host.run("rm", "/root/closed.yaml")
    assert_same(before, look(host))
    host.write(WEB, POLICY.format(allow="ssh, http"))
    guest.fwpolicy(host, "apply", WEB)
    rules = guest.own_rules(host)
    host.write(WEB, POLICY.format(allow="ssh"))
    guest.fwpolicy(host, "apply", "--confirm", "60s", WEB)
    # In the same boot what loads the rules again loads those that wait.
    host.run("service", "fwpolicy", "restart")
    assert guest.own_rules(host) != rules
    host.reboot()
    assert guest.own_rules(host) == rules
    assert guest.report(host, "status")["drift"] == []


@pytest.mark.slow
def test_rollback_and_emergency_without_systemd(host: Host) -> None:
    host.write(WEB, POLICY.format(allow="ssh, http"))
    guest.fwpolicy(host, "apply", WEB)
    rules = guest.own_rules(host)
    host.write(WEB, POLICY.format(allow="ssh"))
    guest.fwpolicy(host, "apply", WEB)
    guest.fwpolicy(host, "rollback")
    assert sorted(guest.own_rules(host)) == sorted(rules)
    host.run("sh", "/var/lib/fwpolicy/open.sh", "2")
    assert guest.rules(host) == ""
    wait_until(lambda: "table inet fwpolicy" in guest.rules(host), 15)
    assert sorted(guest.own_rules(host)) == sorted(rules)
    assert guest.report(host, "status")["drift"] == []


@pytest.mark.slow
def test_the_boots_script_stopped_in_a_window_is_started_again_within_the_way_back(host: Host) -> None:
    """It finds an apply that is being taken back, and must not wait for the end of that."""
    host.write(WEB, POLICY.format(allow="ssh, http"))
    guest.fwpolicy(host, "apply", WEB)
    rules = guest.own_rules(host)
    host.write(WEB, POLICY.format(allow="ssh"))
    guest.fwpolicy(host, "apply", "--confirm", "3s", WEB)
    host.run("service", "fwpolicy", "stop")
    wait_until(lambda: guest.report(host, "history")["generations"][0]["fate"].startswith("undone"), 15)
    assert guest.own_rules(host) == rules
    assert host.run("service", "fwpolicy", "status").returncode == 0


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def exists(host: Host, path: str) -> bool:
    return host.run("test", "-e", path, check=False).returncode == 0


# The plug is pulled

CUTS = 6


@pytest.mark.slow
def test_the_plug_is_pulled_in_an_apply(place: Lab, clock: TimeServer, attacker: Namespace) -> None:
    """At some of the steps that test_powercut takes one by one."""
    with place.host("cut", 43, "sysv-chrony", disk_mb=96) as host:
        CHRONY.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        stepper = STEPPER.replace("import libnftables, services", "import libnftables, initscripts")
        stepper = stepper.replace("services.Systemd", "initscripts.InitScripts")
        host.write_files({"/root/stepper.py": stepper, OLD: policy("server, serve: private", "old")})
        host.write(NEW, policy("client-only", "new"))
        host.start()
        guest.fwpolicy(host, "apply", OLD)
        host.run("sync")  # what is ours to install, not fwpolicy's to write
        host.power_cut()  # "applied" means that it survives this
        old = state(host, attacker)
        assert old["ports"] == ("old",) and old["drift"] == []
        host.run("python3", "/root/stepper.py", "0", "apply", NEW)
        steps = int(host.read("/run/steps"))
        new = state(host, attacker)
        guest.fwpolicy(host, "apply", OLD)
        outcomes = []
        for stop in sorted({1, *(steps * cut // CUTS for cut in range(1, CUTS)), steps}):
            name = stepped(host, stop)
            host.power_cut()
            found = state(host, attacker)
            which = [word for word, known in (("old", old), ("new", new)) if found == known]
            assert which, f"after step {stop} ({name}): {found}, neither {old} nor {new}"
            outcomes += which
            if which == ["new"]:
                guest.fwpolicy(host, "apply", OLD)
        assert outcomes[0] == "old" and outcomes[-1] == "new"


# OpenRC, as Debian has it


@pytest.mark.slow
def test_openrc_loads_before_the_network_closes_and_gives_back(
    place: Lab, clock: TimeServer, attacker: Namespace
) -> None:
    with place.host("openrc", 45, "sysv-openrc") as host:
        NTPSEC.install(host, clock.servers, wide_open=True)
        host.install_fwpolicy()
        witness.install(host)
        host.write("/root/closed.yaml", CLOSED)
        host.start()
        before = look(host)
        guest.fwpolicy(host, "apply", "--confirm", "60s", "/root/closed.yaml")
        assert not ntpd_runs(host)
        host.run("rc-service", UNIT, "start", check=False)
        assert not ntpd_runs(host)
        assert f"/{UNIT}" not in host.run("find", "/etc/runlevels").stdout
        host.reboot()
        seen = witness.seen(host)
        assert seen.down and not seen.families and ntpd_runs(host)
        assert "undone: not confirmed before a reboot" in guest.fwpolicy(host, "history")
        guest.fwpolicy(host, "apply", "ntp-client")
        host.reboot()
        assert witness.seen(host).in_time
        assert outside.probe(attacker, host, clock, "--quick").answered == ()
        assert guest.report(host, "status")["drift"] == []
        guest.fwpolicy(host, "remove")
        assert_same(before, look(host))
        assert ntpd_runs(host)


# The root of whoever has no Python


@pytest.mark.slow
def test_the_root_without_python(place: Lab) -> None:
    with place.host("bare", 44, "sysv-ntp") as host:
        host.start()
        assert host.run("sh", "-c", "command -v python3", check=False).returncode != 0
        assert ntpd_runs(host)
        for program in ("nft", "iptables-legacy-restore", "iptables-nft-restore", "ipset", "conntrack"):
            assert host.run("which", program).stdout
