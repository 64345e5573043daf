"""The host's time daemons and a role: what must change in them."""

from __future__ import annotations

from fwpolicy.deploy import daemons
from fwpolicy.deploy.changes import FileChange
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.host.files import printable
from fwpolicy.record import record, replace

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
        why = f"time daemons were not looked for: {error}"
        if config_mode == "leave":
            return (), (why,)
        return (DaemonPlan(service.daemon, (), "", None, refusals=(why,)),), ()
    plans = [_plan(each, service, config_mode, machine) for each in found if _in_use(each, machine, revived)]
    if not plans:
        only = " of that kind" if service.daemon != "auto" else ""
        return (), (f"no time daemon{only} is in use here: the packet filter alone does the work",)
    return _each_unit_once(plans), ()


def _each_unit_once(plans: list[DaemonPlan]) -> tuple[DaemonPlan, ...]:
    """A process that was started by hand beside the service (which comes first) has no unit to turn."""
    units: set[str] = set()
    found = []
    for plan in plans:
        unit = plan.state.unit if plan.state else ""
        found.append(replace(plan, state=None, stop=False) if unit in units else plan)
        units |= {unit} if unit else set()
    return tuple(found)


def _service(found: Found, machine: Machine) -> tuple[ServiceState | None, bool]:
    """(the daemon's service if it has one, was its process started by hand?).

    The service whose control group the process is in counts under a name that such a daemon's has, or
    as one whose main process it is. Else it is where somebody started it: for a shell that came in over
    SSH that may be ssh.service.
    """
    services = machine.services
    named = [state for unit in found.units if (state := services.status((f"{unit}.service",)))]
    usual = named[0] if named else None
    if found.pid is None:
        return usual, False
    group = services.status((found.group,)) if found.group else None
    if group is None:
        # Where no control group tells, the service's own word for its process does.
        return usual, usual is None or services.main_pid(usual.unit) != found.pid
    if group.unit in {state.unit for state in named} or services.main_pid(group.unit) == found.pid:
        return group, False
    return usual, True


def _in_use(found: Found, machine: Machine, revived: frozenset[str]) -> bool:
    if found.pid is not None:
        return True
    state, _ = _service(found, machine)
    return state is not None and (state.active or state.enabled or state.unit in revived)


def _plan(found: Found, service: TimeService, config_mode: str, machine: Machine) -> DaemonPlan:
    state, by_hand = _service(found, machine)
    base = DaemonPlan(found.config.kind, found.config.version, found.config.main, state, check=found.check)
    if service.mode == "closed":
        return _closed(base, found, by_hand, config_mode)
    if by_hand:
        base = replace(base, notes=(f"process {found.pid} was started by hand: restart it yourself",))
    return _configured(base, found, service, config_mode)


def _closed(base: DaemonPlan, found: Found, by_hand: bool, config_mode: str) -> DaemonPlan:
    if config_mode == "leave":
        return replace(
            base, notes=("daemon-config: leave: it keeps running, behind a filter that lets nothing pass",)
        )
    if by_hand:
        note = f"process {found.pid} is no service of the init system; stop it where it was started"
        base = replace(base, notes=(note,))
    if base.state is None:
        return base
    running = base.state.active or base.state.enabled or not base.state.masked
    if config_mode == "verify" and running:
        refusal = f"daemon-config: verify: {base.state.unit} runs or may be started, and the role says closed"
        return replace(base, refusals=(refusal,))
    return replace(base, stop=running)


def _configured(base: DaemonPlan, found: Found, service: TimeService, config_mode: str) -> DaemonPlan:
    sources = daemons.sources(found)
    if config_mode == "leave":
        trouble = (found.trouble,) if found.trouble else ()
        note = "daemon-config: leave: its configuration was not looked at"
        return replace(base, sources=sources, notes=(*base.notes, note, *trouble))
    if found.trouble:
        return replace(base, refusals=(f"{base.kind}: {found.trouble} (--no-daemon leaves it alone)",))
    try:
        wanted = daemons.change(service, found)
    except PolicyError as error:
        said = error.problems[0].message if error.problems else str(error)
        return replace(base, sources=sources, refusals=(said,))
    notes = (*base.notes, *wanted.notes)
    known = {file.path: file.text for config in (found.config, found.copy) if config for file in config.files}
    changes = tuple(FileChange(file.path, known.get(file.path), file.text) for file in wanted.files)
    if config_mode == "verify" and changes:
        names = ", ".join(printable(change.path) for change in changes)
        refusal = f"daemon-config: verify: {names} does not say what the role needs (fwpolicy plan shows it)"
        return replace(base, sources=sources, notes=notes, refusals=(refusal,))
    return replace(base, sources=sources, changes=changes, notes=notes)
