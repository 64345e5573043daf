"""The host's time daemons and a role: what must change in them."""

from __future__ import annotations

from fwpolicy.deploy import daemons
from fwpolicy.deploy.changes import FileChange
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.host.services import ServiceState
    from fwpolicy.host.timedaemons import Found
    from fwpolicy.ir.timeservice import Source, TimeService


@record
class DaemonPlan:
    """One time daemon. `stop`: the role takes it off; `check`: its own syntax check, () for none."""

    kind: str
    version: tuple[int, ...]
    main: str
    state: ServiceState | None
    changes: tuple[FileChange, ...] = ()
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    stop: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.changes) or self.stop

    @property
    def title(self) -> str:
        number = ".".join(str(part) for part in self.version[:3])
        # ntp.org's fourth number is a patch level: 4.2.8p15.
        number += f"p{self.version[3]}" if len(self.version) > 3 else ""
        return f"{self.kind} {number}".strip()


def plan_daemons(
    service: TimeService | None, config_mode: str, machine: Machine, revived: frozenset[str] = frozenset()
) -> tuple[tuple[DaemonPlan, ...], tuple[str, ...]]:
    """(a plan for each time daemon in use, notes).

    `config_mode` is `apply: {daemon-config}`. In use is what runs or is started at boot, or will be
    again (`revived` units); of daemons that are only installed nothing is changed.
    """
    if service is None:
        return (), ()
    try:
        found = daemons.discover(machine.files, service.daemon, "/proc" if machine.live else None)
    except HostError as error:
        return (), (f"time daemons were not looked for: {error}",)
    plans = [_plan(each, service, config_mode, machine) for each in found if _in_use(each, machine, revived)]
    if not plans:
        only = " of that kind" if service.daemon != "auto" else ""
        return (), (f"no time daemon{only} is in use here: the packet filter alone does the work",)
    return tuple(plans), ()


def _state(found: Found, machine: Machine) -> ServiceState | None:
    return machine.services.status(tuple(f"{unit}.service" for unit in found.units))


def _in_use(found: Found, machine: Machine, revived: frozenset[str]) -> bool:
    if found.pid is not None:
        return True
    state = _state(found, machine)
    return state is not None and (state.active or state.enabled or state.unit in revived)


def _plan(found: Found, service: TimeService, config_mode: str, machine: Machine) -> DaemonPlan:
    state = _state(found, machine)
    base = DaemonPlan(found.config.kind, found.config.version, found.config.main, state, check=found.check)
    if service.mode == "closed":
        return _closed(base, found, config_mode)
    return _configured(base, found, service, config_mode)


def _closed(base: DaemonPlan, found: Found, config_mode: str) -> DaemonPlan:
    from fwpolicy.record import replace  # noqa: PLC0415

    if config_mode == "leave":
        return replace(
            base, notes=("daemon-config: leave: it keeps running, behind a filter that lets nothing pass",)
        )
    if base.state is None:
        note = f"process {found.pid} is no service of the init system; stop it where it was started"
        return replace(base, notes=(note,))
    running = base.state.active or base.state.enabled or not base.state.masked
    if config_mode == "verify" and running:
        refusal = f"daemon-config: verify: {base.state.unit} runs or may be started, and the role says closed"
        return replace(base, refusals=(refusal,))
    return replace(base, stop=running)


def _configured(base: DaemonPlan, found: Found, service: TimeService, config_mode: str) -> DaemonPlan:
    from fwpolicy.record import replace  # noqa: PLC0415

    sources = daemons.sources(found)
    if config_mode == "leave":
        return replace(
            base, sources=sources, notes=("daemon-config: leave: its configuration was not looked at",)
        )
    try:
        wanted = daemons.change(service, found)
    except PolicyError as error:
        said = error.problems[0].message if error.problems else str(error)
        return replace(base, sources=sources, refusals=(said,))
    known = {file.path: file.text for config in (found.config, found.copy) if config for file in config.files}
    changes = tuple(FileChange(file.path, known.get(file.path), file.text) for file in wanted.files)
    if config_mode == "verify" and changes:
        names = ", ".join(change.path for change in changes)
        refusal = f"daemon-config: verify: {names} does not say what the role needs (fwpolicy plan shows it)"
        return replace(base, sources=sources, notes=wanted.notes, refusals=(refusal,))
    return replace(base, sources=sources, changes=changes, notes=wanted.notes)
