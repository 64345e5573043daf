"""The usual recipe for closing a time server, command by command, on hosts that sysvinit boots; then ours.

Three hosts with iptables-legacy and an ntpd that answers everybody, side by side, one for each part of the
recipe. What a part leaves open is what a stranger gets, and whether the clock is still set.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from fwpolicy.record import record
from tests.golden import cases
from tests.kernel.oldhost import script

from ..lab import guest, outside, witness, xtables
from ..lab.daemons import DAEMONS
from .listening import QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..lab.daemons import LabDaemon
    from ..lab.hosts import Host, Lab
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer
    from ..lab.witness import Seen

TOOL = "/var/lib/fwpolicy-script/tool/tool.sh"
RULE = (
    "iptables",
    "-A",
    "INPUT",
    "-m",
    "state",
    "--state",
    "NEW",
    "-p",
    "udp",
    "--dport",
    "123",
    "-j",
    "DROP",
)
# Any rule of a firewall's that asks for the state: from then on connections are tracked.
TRACKING = ("iptables", "-A", "FORWARD", "-m", "state", "--state", "NEW", "-j", "ACCEPT")
# What telephone systems had in front: their own network may do anything.
FRIENDS = ("iptables", "-A", "INPUT", "-s", "192.168.77.0/24", "-j", "ACCEPT")
# Neither is Debian's. Red Hat's saves IPv4, and what it has saved is there before the network.
FOREIGN = {
    "/etc/init.d/iptables": """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          iptables
# Required-Start:    mountkernfs $local_fs
# Required-Stop:
# X-Start-Before:    networking
# Default-Start:     S
# Default-Stop:
### END INIT INFO
case $1 in
save) mkdir -p /etc/sysconfig; iptables-save > /etc/sysconfig/iptables ;;
start) [ ! -f /etc/sysconfig/iptables ] || iptables-restore < /etc/sysconfig/iptables ;;
esac
""",
    # --level 35 NAME off
    "/sbin/chkconfig": """\
#!/bin/sh
[ "$1 $4" = "--level off" ] || exit 1
for level in $(echo "$2" | sed 's/./& /g'); do update-rc.d "$3" disable "$level"; done
""",
}
SILENT = 18  # seconds, twice those in which it does synchronise


@record
class Ours:
    """How a policy gets onto such a host: the script over SSH's standard input, or `fwpolicy apply`."""

    name: str
    root: str
    kind: str
    backend: str = "iptables-legacy"

    @property
    def daemon(self) -> LabDaemon:
        return DAEMONS[self.kind]

    @property
    def service(self) -> str:
        """As /etc/init.d has it."""
        return self.daemon.unit.removesuffix(".service")

    @property
    def has_python(self) -> bool:
        return self.root != "sysv-ntp"

    def apply(self, host: Host, name: str) -> float:
        """Apply the shipped policy `name`; the time just before."""
        since = time.time()
        if self.has_python:
            guest.fwpolicy(host, "apply", "--backend", "iptables", name)
            return since
        text = script(cases.policy(name), self.backend)
        host.run("sh", "-s", "--", "apply", "--no-confirm", input=text)
        return since

    def as_applied(self, host: Host) -> bool:
        """What its own status says."""
        if self.has_python:
            return guest.report(host, "status")["drift"] == []
        return "rules: as applied" in host.run("sh", TOOL, "status").stdout


@record
class Place:
    """One of the hosts, and its surroundings; `tools` is a root for the attacker's ntpq."""

    host: Host
    attacker: Namespace
    clock: TimeServer
    ours: Ours
    tools: str

    def probe(self) -> Probed:
        return outside.probe(self.attacker, self.host, self.clock)

    def ntpq(self, address: str) -> tuple[int, str]:
        """`ntpq -pn ADDRESS` as the recipe's last step has it: its exit status, and what it printed."""
        command = ("chroot", self.tools, "ntpq", "-pn", address)
        done = self.attacker.run(*command, check=False)
        return done.returncode, done.stdout + done.stderr

    def own_ntpq(self) -> str:
        """The same by the host's own operator, of his own daemon."""
        done = self.host.run("ntpq", "-pn", "127.0.0.1", check=False)
        return done.stdout + done.stderr

    def synchronised(self, since: float, seconds: float = 0) -> bool:
        """Within so many seconds, or those in which it does so when it can?"""
        deadline = since + (seconds or self.ours.daemon.seconds)
        while time.time() < deadline:
            if self.ours.daemon.synchronised(self.host, since):
                return True
            time.sleep(0.5)
        return False

    def restart(self) -> float:
        since = time.time()
        self.host.run(f"/etc/init.d/{self.ours.service}", "restart")
        return since


@record
class Ended:
    """Under our policy on the same host: probed, its clock, its own ntpq, and what a reboot left of it."""

    probed: Probed
    synchronised: bool
    tool: str
    rebooted: Probed
    seen: Seen
    as_applied: bool


def end(place: Place, policy: str) -> Ended:
    """Apply ours over whatever the recipe has done."""
    since = place.ours.apply(place.host, policy)
    synchronised = policy != "ntp-closed" and place.synchronised(since)
    probed, tool = place.probe(), place.own_ntpq()
    place.host.reboot()
    return Ended(
        probed, synchronised, tool, place.probe(), witness.seen(place.host), place.ours.as_applied(place.host)
    )


# --- restrict default ignore ----------------------------------------------------------------------


@record
class Restricted:
    """`before`: does it synchronise without the line?"""

    before: bool
    tool_before: str
    synchronised: bool
    tool: str
    probed: Probed
    ours: Ended


def restrict(place: Place) -> Restricted:
    """Put `restrict default ignore` into ntp.conf, and restart."""
    host, config = place.host, place.ours.daemon.config
    before, tool_before = place.synchronised(place.restart()), place.own_ntpq()
    host.write(config, host.read(config) + "restrict default ignore\n")
    since = place.restart()
    synchronised = place.synchronised(since, SILENT)
    return Restricted(
        before, tool_before, synchronised, place.own_ntpq(), place.probe(), end(place, "ntp-client")
    )


# --- the rule -------------------------------------------------------------------------------------


@record
class Ruled:
    """`flow`: does a flow of before go on? `ntpq`: exit status and words of the recipe's check."""

    flow: bool
    probed: Probed
    tool: str
    ntpq: tuple[int, str]
    rebooted: Probed
    behind: Probed
    ours: Ended


def rule(place: Place) -> Ruled:
    """Add the rule, check it, save it, reboot; then the same behind somebody's ACCEPT."""
    host, flow = place.host, Flow(place)
    host.run(*TRACKING)
    assert place.synchronised(place.restart()), "it does not synchronise to begin with"
    assert flow.answered(), "it does not answer to begin with"
    host.run(*RULE)
    goes_on, probed, tool, ntpq = flow.answered(), place.probe(), place.own_ntpq(), place.ntpq(host.ipv4)
    flow.close()
    host.run("update-rc.d", "iptables", "defaults")
    host.run("/etc/init.d/iptables", "save")
    host.reboot()
    assert "--dport 123" in host.run("iptables", "-S", "INPUT").stdout
    rebooted = place.probe()
    host.run("iptables", "-F", "INPUT")
    host.run(*FRIENDS)
    host.run(*RULE)
    behind = place.probe()
    host.run("/etc/init.d/iptables", "save")
    return Ruled(goes_on, probed, tool, ntpq, rebooted, behind, end(place, "ntp-client"))


class Flow:
    """A stranger's questions from one port, over IPv4."""

    def __init__(self, place: Place) -> None:
        self._socket = place.attacker.socket()
        self._socket.settimeout(0.5)
        self._socket.connect((place.host.ipv4, 123))

    def answered(self) -> bool:
        """Is any of a few questions answered?"""
        return any(self._ask(query) for query in QUERIES * 4)

    def _ask(self, query: bytes) -> bool:
        with contextlib.suppress(OSError):
            self._socket.send(query)
            return bool(self._socket.recv(2048))
        return False

    def close(self) -> None:
        self._socket.close()


# --- stopping it ----------------------------------------------------------------------------------


@record
class Stopped:
    """`runlevel`: the one that the host boots into."""

    probed: Probed
    runlevel: str
    rebooted: Probed
    ours: Ended
    runs: bool


def stop(place: Place) -> Stopped:
    """Stop the daemon and take it out of the boot, in the two runlevels that the recipe names."""
    host, service = place.host, place.ours.service
    host.run(f"/etc/init.d/{service}", "stop")
    host.run("chkconfig", "--level", "35", service, "off")
    probed = place.probe()
    host.reboot()
    runlevel = host.run("runlevel").stdout.split()[-1]
    rebooted = place.probe()
    ended = end(place, "ntp-closed")
    runs = host.run("pgrep", "--exact", "ntpd", check=False).returncode == 0
    return Stopped(probed, runlevel, rebooted, ended, runs)


PARTS: dict[str, Callable[[Place], object]] = {"restrict": restrict, "rule": rule, "stop": stop}


def install(lab: Lab, clock: TimeServer, ours: Ours, part: str, number: int) -> Place:
    """A host for a part of the recipe, off."""
    host = lab.host(part, number, ours.root)
    ours.daemon.install(host, clock.servers, wide_open=True)
    xtables.choose(host, "legacy")
    witness.install(host)
    host.write_files(FOREIGN, 0o755)
    if ours.has_python:
        host.install_fwpolicy()
    tools = f"/run/lab/tools-{part}"
    lab.holder.overlay(lab.roots.get("sysv-ntp").lower, tools, f"{tools}/root")
    return Place(host, lab.namespace(f"attacker-{number}", number + 100), clock, ours, f"{tools}/root")
