"""The timer that syncs, and the service that it starts, shut in as far as an apply can work."""

from __future__ import annotations

import re

from fwpolicy.artifact import Artifact
from fwpolicy.deploy import drift
from fwpolicy.deploy.starters import BOOT_FOLDER
from fwpolicy.errors import HostError
from fwpolicy.host.services import ServiceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.syncconfig import SyncConfig

_PLAIN = re.compile(r"[A-Za-z0-9._/-]+\Z")
SERVICE, TIMER = "fwpolicy-sync.service", "fwpolicy-sync.timer"

# What an apply needs: files below /etc and /var/lib and a marker in /run; netlink and CAP_NET_ADMIN for rules
# and connections, raw sockets for iptables-legacy, a namespace to try rules in (CAP_SYS_ADMIN); the sockets
# and files of other processes (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH), files of other users put back as theirs
# (CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE). Services are restarted by systemd, outside of this. KillMode is
# for what takes back an apply that died. ReadOnlyPaths instead of ProtectKernelTunables and
# ProtectControlGroups: these mount another /proc, in which a container's boot_id is not the one of boot.sh.
_SERVICE = """\
[Unit]
Description=fwpolicy: the firewall policy of this host, from its repository
Documentation=man:fwpolicy(1)
Wants=network-online.target
After=network-online.target fwpolicy.service

[Service]
Type=oneshot
ExecStart={program} sync --timed{words}
KillMode=process
TimeoutStartSec=30min
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/etc /var/lib /run
ReadOnlyPaths=/proc/sys /sys
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=net
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service setns unshare
SystemCallFilter=~@swap @reboot @module @raw-io @obsolete @cpu-emulation @debug @clock
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_SYS_PTRACE
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER
LimitFSIZE=1G
MemoryMax=2G
OOMPolicy=continue
"""

_TIMER = """\
[Unit]
Description=fwpolicy: look for a new policy in the repository

[Timer]
OnBootSec=1min
OnUnitInactiveSec={every}s
RandomizedDelaySec={spread}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def program(machine: Machine) -> str:
    """What root's timer runs unasked, and nobody else can change. Raises HostError where there is no such."""
    if machine.services.init != "systemd":
        raise HostError(
            "the timer is one of systemd's, which does not run this host: have cron run fwpolicy sync --timed"
        )
    found = drift.own(machine)
    if found.trouble:
        raise HostError(f"no timer is made: {found.trouble}")
    return found.program


def units(config: SyncConfig, words: tuple[str, ...], program: str = drift.PACKAGED) -> tuple[Artifact, ...]:
    """The files of service and timer; `words`: what else the command is given; `program`: its path. Raises
    HostError for a word that a unit would have to quote."""
    for word in words:
        if not _PLAIN.match(word):
            raise HostError(f"'{word}' cannot stand in a unit: letters, digits, '.', '_', '-' and '/' can")
    service = _SERVICE.format(program=program, words="".join(f" {word}" for word in words))
    timer = _TIMER.format(every=config.every, spread=max(config.every // 10, 1))
    return (
        Artifact(f"{BOOT_FOLDER}{SERVICE}", service, 0o644),
        Artifact(f"{BOOT_FOLDER}{TIMER}", timer, 0o644),
    )


def enable(files: tuple[Artifact, ...], machine: Machine) -> bool:
    """Write the units and start the timer, now and at boot; was anything to be done? Raises HostError."""
    written = [each for each in files if machine.files.read(each.name) != each.text]
    for each in written:
        machine.files.write(each.name, each.text, each.mode)
    if written:
        machine.services.reload_manager()
    found = machine.services.status((TIMER,))
    if found and found.enabled and (found.active or not machine.live) and not written:
        return False
    if written and found and found.active:
        machine.services.restore(ServiceState(TIMER, active=False, enabled=True, masked=False))
    machine.services.restore(ServiceState(TIMER, active=True, enabled=True, masked=False))
    return True


def disable(machine: Machine) -> bool:
    """No timer and no units any more; whether there were some. What was synced stays. Raises HostError."""
    if machine.services.init == "systemd" and machine.services.status((TIMER,)):
        machine.services.restore(ServiceState(TIMER, active=False, enabled=False, masked=False))
    gone = [machine.files.remove(f"{BOOT_FOLDER}{name}") for name in (TIMER, SERVICE)]
    if any(gone):
        machine.services.reload_manager()
    return any(gone)


def is_enabled(machine: Machine) -> bool:
    found = machine.services.status((TIMER,))
    return bool(found and found.enabled)
