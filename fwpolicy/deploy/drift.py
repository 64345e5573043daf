"""Drift that nobody waits for: a timer that looks, tells the journal and, where it is asked to, heals."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.host.services import ServiceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.host.services import Services

IGNORE, REPORT, HEAL = "ignore", "report", "heal"
SERVICE, TIMER = "fwpolicy-drift.service", "fwpolicy-drift.timer"

# env(1) looks where systemd does (systemd.exec(5), ExecSearchPath); the same bytes on every host.
_SERVICE = """\
[Unit]
Description=fwpolicy: is this host what was applied?
Documentation=man:fwpolicy(1)
ConditionPathExists={state}/running/manifest.json
After=fwpolicy.service

[Service]
Type=oneshot
ExecStart=/usr/bin/env fwpolicy status --journal{heal} --state-dir {state}
SuccessExitStatus=2
"""

_TIMER = """\
[Unit]
Description=fwpolicy: look every five minutes whether this host is what was applied

[Timer]
OnBootSec=2min
OnUnitInactiveSec=5min
AccuracySec=30s

[Install]
WantedBy=timers.target
"""


def drift_files(mode: str, state_dir: str, folder: str) -> tuple[Artifact, ...]:
    """The units for `apply: {drift: MODE}`, in systemd's `folder`."""
    if mode == IGNORE:
        return ()
    service = _SERVICE.format(state=state_dir, heal=" --heal" if mode == HEAL else "")
    return (Artifact(f"{folder}{SERVICE}", service, 0o644), Artifact(f"{folder}{TIMER}", _TIMER, 0o644))


def is_turned(mode: str, services: Services) -> bool:
    """Does the timer run or not, as `mode` says? So it does where there is none and cannot be."""
    found = services.status((TIMER,))
    return found is None or found.enabled == (mode != IGNORE)


def turn(mode: str, services: Services, undo: Undo) -> None:
    """Start the timer, now and at boot, or stop it; the manager has read its file. Raises HostError."""
    found = services.status((TIMER,))
    if found is None or is_turned(mode, services):
        return
    undo.then(services.restore, found)
    wanted = mode != IGNORE
    services.restore(ServiceState(found.unit, active=wanted, enabled=wanted, masked=False))
