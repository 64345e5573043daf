"""Drift that nobody waits for: a timer that looks, tells the journal and, where it is asked to, heals."""

from __future__ import annotations

import re

from fwpolicy.artifact import Artifact
from fwpolicy.errors import HostError
from fwpolicy.host.files import printable
from fwpolicy.host.services import ServiceState
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.host.services import Services

_INSTALL = "install fwpolicy as root, by the Debian package or into /opt (docs/installing.md)"
IGNORE, REPORT, HEAL = "ignore", "report", "heal"
SERVICE, TIMER = "fwpolicy-drift.service", "fwpolicy-drift.timer"

# Where the Debian package has it: what `compile` writes, which knows no host.
PACKAGED = "/usr/bin/fwpolicy"

# Without its program (a package that was removed) there is nothing to do, and nothing has failed.
_SERVICE = """\
[Unit]
Description=fwpolicy: is this host what was applied?
Documentation=man:fwpolicy(1)
ConditionPathExists={state}/running/manifest.json
ConditionFileIsExecutable={program}
After=fwpolicy.service

[Service]
Type=oneshot
ExecStart={program} status --journal{heal} --state-dir {state}
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


@record
class Runner:
    """What the timer runs, and why it must not be; "" where it may."""

    program: str = PACKAGED
    trouble: str = ""


def runner(mode: str, machine: Machine) -> Runner:
    """The program for `apply: {drift: MODE}` on this machine: root runs it unasked, so it must be root's
    alone, with all that it imports."""
    if mode == IGNORE or machine.services.init != "systemd":
        return Runner()
    return own(machine)


def own(machine: Machine) -> Runner:
    """The program that systemd would find on this machine."""
    from fwpolicy.host.ownprogram import PLACES, find  # noqa: PLC0415

    try:
        program = find(machine.files)
    except HostError as error:
        return Runner(trouble=str(error))
    if program is None:
        return Runner(trouble=f"there is no fwpolicy in {', '.join(PLACES[:4])}; {_INSTALL}")
    return Runner(program, trouble(program, machine))


def trouble(program: str, machine: Machine) -> str:
    """Why root's timer must not run the program; "" where it may."""
    from fwpolicy.host.ownprogram import exposed  # noqa: PLC0415

    try:
        found = exposed(program, machine.files, machine.live)
    except HostError as error:
        return str(error)
    if found is None:
        return ""
    return f"it would run {program}, and others than root can change {printable(found)}; {_INSTALL}"


def runs(text: str) -> str | None:
    """The program that the text of SERVICE runs."""
    found = re.search(r"^ExecStart=(/\S+)", text, re.MULTILINE)
    return found[1] if found else None


def drift_files(mode: str, state_dir: str, folder: str, program: str = PACKAGED) -> tuple[Artifact, ...]:
    """The units for `apply: {drift: MODE}`, in systemd's `folder`; root runs `program`."""
    if mode == IGNORE:
        return ()
    service = _SERVICE.format(state=state_dir, heal=" --heal" if mode == HEAL else "", program=program)
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


def unasked(machine: Machine, mode: str, drift: Runner) -> tuple[str, ...]:
    """What root would run unasked, and others than root can change."""
    found = [f"apply: {{drift: {mode}}}: {drift.trouble}"] if drift.trouble else []
    if exposed := machine.files.exposed(machine.state_dir):
        found.append(
            f"root runs scripts in the state directory {machine.state_dir}, and others than root can change "
            f"{printable(exposed)}"
        )
    return tuple(found)
