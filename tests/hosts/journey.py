"""One host's way under ntp-client, from an open time server to a closed client and back.

What a journey saw is a record that tests look at afterwards: the hosts travel side by side, because
most of the time goes into waiting until a daemon synchronises.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fwpolicy.record import record

from ..lab import guest, outside
from ..lab.daemons import DAEMONS

if TYPE_CHECKING:
    from ..lab.guest import Found
    from ..lab.hosts import Host
    from ..lab.outside import Probed
    from ..lab.peers import Namespace, TimeServer

POLICY = "ntp-client"
# What would confirm the apply without an operator.
GATES = "version: 1\nroles: {ntp: client-only}\napply: {gates: [synchronised]}\n"
HOUR = 3600
# What a host's own operator asks his daemon, and what must stand in the answer.
OWN_TOOLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "chrony": (("chronyc", "-n", "sources"),),
    "ntp": (("ntpq", "-pn", "127.0.0.1"), ("ntpq", "-pn", "::1")),
    "ntpsec": (("ntpq", "-pn", "127.0.0.1"), ("ntpq", "-pn", "::1")),
    "openntpd": (("ntpctl", "-s", "all"),),
    "timesyncd": (("timedatectl", "timesync-status", "--no-pager"),),
}


@record
class Journey:
    """What was seen on the way.

    `before`, `after`, `rebooted`, `removed`: the probe at each stage; `filtered` the one where the
    filter stands alone before a daemon that was left as it is. `seconds` from the end of
    `apply` until a sample was taken after it and the daemon called itself synchronised. `unmet`: what
    of the gate `synchronised` did not hold then; `unmet_later` the same of an apply an hour later; and
    `unmet_stopped` without the daemon. `found`,
    `planned`, `applied`, `again`, `restored`: everything on the host that an apply could touch.
    """

    before: Probed
    plan: dict[str, Any]
    planned: Found
    applied_said: str
    applied: Found
    again_said: str
    again: Found
    status: dict[str, Any]
    after: Probed
    seconds: float
    unmet: tuple[str, ...]
    unmet_later: tuple[str, ...]
    unmet_stopped: tuple[str, ...]
    tools: tuple[str, ...]
    rebooted_rules: str
    rebooted_status: dict[str, Any]
    rebooted: Probed
    found: Found
    restored: Found
    removed: Probed
    filtered: Probed


def travel(host: Host, attacker: Namespace, clock: TimeServer, kind: str) -> Journey:
    """Every step on one host that is booted, has the package, and runs the daemon `kind`."""
    daemon = DAEMONS[kind]
    found = guest.look(host, daemon.unit)
    before = outside.probe(attacker, host, clock)
    plan = guest.report(host, "plan", POLICY, expect=2)
    planned = guest.look(host, daemon.unit)
    applied_said = guest.fwpolicy(host, "apply", POLICY)
    since = time.time()
    applied = guest.look(host, daemon.unit)
    again_said = guest.fwpolicy(host, "apply", POLICY)
    again = guest.look(host, daemon.unit)
    status = guest.report(host, "status")
    after, seconds = _probed_while_synchronising(host, attacker, clock, kind, since)
    unmet, unmet_later = (guest.unmet(host, GATES, after) for after in (since, since + HOUR))
    tools = tuple(host.run(*command).stdout for command in OWN_TOOLS[kind])
    host.run("systemctl", "stop", daemon.unit)
    unmet_stopped = guest.unmet(host, GATES, since)
    host.reboot()
    rebooted_rules, rebooted_status = guest.rules(host), guest.report(host, "status")
    rebooted = outside.probe(attacker, host, clock)
    guest.fwpolicy(host, "remove")
    restored, removed = guest.look(host, daemon.unit), outside.probe(attacker, host, clock)
    guest.fwpolicy(host, "apply", POLICY, "--no-daemon")
    return Journey(
        before=before,
        plan=plan,
        planned=planned,
        applied_said=applied_said,
        applied=applied,
        again_said=again_said,
        again=again,
        status=status,
        after=after,
        seconds=seconds,
        unmet=unmet,
        unmet_later=unmet_later,
        unmet_stopped=unmet_stopped,
        tools=tools,
        rebooted_rules=rebooted_rules,
        rebooted_status=rebooted_status,
        rebooted=rebooted,
        found=found,
        restored=restored,
        removed=removed,
        filtered=outside.probe(attacker, host, clock),
    )


def _probed_while_synchronising(
    host: Host, attacker: Namespace, clock: TimeServer, kind: str, since: float
) -> tuple[Probed, float]:
    with ThreadPoolExecutor(1) as executor:
        seconds = executor.submit(DAEMONS[kind].wait_synchronised, host, since)
        return outside.probe(attacker, host, clock), seconds.result()
