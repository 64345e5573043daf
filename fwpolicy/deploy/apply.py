"""A plan, carried out: daemon configuration, rules, restart, connections, boot; or nothing at all.

The order is measured (docs/ntp.md): the daemon's configuration is written and checked first, the
rules arrive in one transaction, then the daemon restarts, so that what waits in its socket is never
answered, and only then are connection tracking entries deleted.
"""

from __future__ import annotations

from fwpolicy import VERSION
from fwpolicy.backends.nft.reload import WHOLE
from fwpolicy.compiler.lower import lower
from fwpolicy.deploy.counters import line_texts, policy_lines
from fwpolicy.deploy.drift import turn
from fwpolicy.deploy.persist import UNIT
from fwpolicy.deploy.rules import boots_the_same, load_rules
from fwpolicy.deploy.state import Generation, Originals, State, digest
from fwpolicy.deploy.undo import Undo
from fwpolicy.errors import HostError
from fwpolicy.host.texts import read_file
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.host.conntrack import Flow

    Tell = Callable[[str], None]


@record
class Applied:
    """What was done: the new generation's number, and the connections that were deleted."""

    generation: int
    purged: tuple[Flow, ...]


def carry_out(plan: Plan, machine: Machine, sources: tuple[str, ...], now: str, tell: Tell) -> Applied:
    """Make `machine` what `plan` says. `now` is the time to record (ISO 8601), `tell` hears each step.

    Raises HostError or PolicyError when anything fails; what was done until then is undone first.
    """
    if plan.refusals:
        raise HostError("; ".join(plan.refusals))
    _rehearse(plan, machine, tell)
    state = State(machine)
    with Undo() as undo:
        _keep_originals(plan, machine, state, undo)
        restarted: list[str] = []
        # Last on the way back: a daemon restarts once its files are what they were.
        undo.then(_restart_all, machine, restarted)
        _write_daemon_files(plan, machine, undo, tell)
        seen = load_rules(plan, machine, undo, tell)
        _turn_daemons(plan, machine, undo, restarted, tell)
        purged = _purge(plan, machine, undo, tell)
        number = _persist(plan, machine, state, seen, sources, now, undo, tell)
    return Applied(number, purged)


def _rehearse(plan: Plan, machine: Machine, tell: Tell) -> None:
    """The rules in a namespace of their own, and what a kernel makes of them proved, before anything. Where
    only elements of sets change no rule is loaded that was not tried before."""
    if plan.emitted is None or not machine.live or not plan.rules_changed:
        return
    if not any(way.artifact or way == WHOLE for way in plan.loads[:1]):
        return
    from fwpolicy.deploy.proof import prove_in_scratch  # noqa: PLC0415
    from fwpolicy.host.netns import NoScratchError  # noqa: PLC0415

    try:
        prove_in_scratch(plan.ruleset, plan.policy.name)
    except NoScratchError as error:
        tell(f"not tried in a namespace first: {error}")
    else:
        tell("proved: in a scratch namespace the kernel does to every packet what the policy says")


# What was there before


def _keep_originals(plan: Plan, machine: Machine, state: State, undo: Undo) -> None:
    known = state.originals()
    if state.running() is None and known == Originals():
        undo.last(state.forget)
    else:
        undo.then(state.keep, known)
    kept_paths = {snapshot.path for snapshot in known.snapshots}
    kept_units = {service.unit for service in known.services}
    given_back = {change.path for change in plan.returned}
    changes = [change for change in _all_changes(plan) if not change.path.startswith(f"{machine.state_dir}/")]
    snapshots = [machine.files.snapshot(each.path) for each in changes if each.path not in kept_paths]
    states = [
        daemon.state
        for daemon in plan.daemons
        if daemon.state and daemon.state.unit not in kept_units and (daemon.stop or daemon.changes)
    ]
    state.keep(
        Originals(
            tuple(each for each in (*known.snapshots, *snapshots) if each.path not in given_back),
            (*known.services, *states),
            (*known.directories, *_missing_folders(changes, machine)),
        )
    )


def _missing_folders(changes: list[FileChange], machine: Machine) -> tuple[str, ...]:
    """The folders that the changes' files need and that are not there, the outermost first."""
    found: dict[str, None] = {}
    for change in changes:
        parts = change.path.split("/")[1:-1]
        for count in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:count])
            if not machine.files.exists(folder):
                found[folder] = None
    return tuple(found)


def _all_changes(plan: Plan) -> tuple[FileChange, ...]:
    return (*(change for daemon in plan.daemons for change in daemon.changes), *plan.boot)


# Step 1: the daemon's configuration


def _write_daemon_files(plan: Plan, machine: Machine, undo: Undo, tell: Tell) -> None:
    for change in plan.returned:
        _write(change, machine, undo)
        tell(f"took our lines out of {change.path}")
    for daemon in plan.daemons:
        for change in daemon.changes:
            _write(change, machine, undo)
            tell(f"wrote {change.path}")
        if daemon.changes and daemon.check and machine.live:
            _check_syntax(daemon.check)


def _write(change: FileChange, machine: Machine, undo: Undo) -> None:
    """An existing file keeps its mode; one that we made and that would be left empty goes."""
    before = machine.files.snapshot(change.path)
    if change.gone:
        machine.files.remove(change.path)
    else:
        machine.files.write(change.path, change.after, change.mode if change.before is None else None)
    undo.then(machine.files.restore, before)


def _check_syntax(command: tuple[str, ...]) -> None:
    import subprocess  # noqa: PLC0415

    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"cannot run {command[0]} to check its configuration: {error}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise HostError(f"{command[0]} refuses its configuration: {said[-1] if said else done.returncode}")


# Steps 3 and 4: daemons and connections


def _restart_all(machine: Machine, units: list[str]) -> None:
    for unit in units:
        machine.services.restart(unit)


def _turn_daemons(plan: Plan, machine: Machine, undo: Undo, restarted: list[str], tell: Tell) -> None:
    states = {daemon.state.unit: daemon.state for daemon in plan.daemons if daemon.state}
    for unit in plan.stops:
        undo.then(machine.services.restore, states[unit])
        machine.services.stop_and_disable(unit)
        tell(f"stopped {unit} and took it out of the boot")
    for state in plan.revived:
        undo.then(machine.services.stop_and_disable, state.unit)
        machine.services.restore(state)
        tell(f"{state.unit} is as it was before")
    if not machine.live:
        return
    for unit in plan.restarts:
        restarted.append(unit)
        machine.services.restart(unit)
        tell(f"restarted {unit}")


def _purge(plan: Plan, machine: Machine, undo: Undo, tell: Tell) -> tuple[Flow, ...]:
    if not machine.live:
        return ()
    from fwpolicy.deploy.purge import ALL, purge  # noqa: PLC0415

    def tell_new(step: str) -> None:
        if step not in plan.notes:
            tell(step)

    return purge(plan.policy, machine, plan.facts.servers, undo, tell_new, ALL)


# Step 5: the boot


def _persist(
    plan: Plan,
    machine: Machine,
    state: State,
    seen: Survey,
    sources: tuple[str, ...],
    now: str,
    undo: Undo,
    tell: Tell,
) -> int:
    generation = _generation(plan, state, seen, sources, now)
    undo.then(state.drop, generation.number)
    state.write(generation)
    for change in plan.boot:
        for folder in machine.files.make_directory(change.path.rpartition("/")[0]):
            undo.then(machine.files.remove_directory_if_empty, folder)
        before = machine.files.snapshot(change.path)
        machine.files.write(change.path, change.after, change.mode)
        undo.then(machine.files.restore, before)
    undo.then(state.point, state.pointers())
    state.make_current(generation.number, boots=plan.options.persist)
    if plan.options.persist:
        _enable_boot(plan, machine, undo, tell)
    return generation.number


def _enable_boot(plan: Plan, machine: Machine, undo: Undo, tell: Tell) -> None:
    services = machine.services
    if not plan.boot and not plan.enable_boot and not plan.rules_changed:
        return
    services.reload_manager()
    found = services.status((UNIT,))
    if found is None:
        return
    undo.then(services.restore, found)
    services.enable(UNIT)
    turn(plan.policy.apply.drift, services, undo)
    if machine.live:
        boots_the_same(plan, machine, undo, started=found.active)
    tell(f"{UNIT} loads the rules at boot, before the network")


def _generation(plan: Plan, state: State, seen: Survey, sources: tuple[str, ...], now: str) -> Generation:
    before = state.running()
    given_back = {change.path for change in plan.returned}
    kept = before.files if before else ()
    written = {path: sha for path, sha in kept if path not in given_back}
    written |= {change.path: digest(change.after) for daemon in plan.daemons for change in daemon.changes}
    revived = {each.unit for each in plan.revived}
    services = {unit: what for unit, what in (before.services if before else ()) if unit not in revived}
    for daemon in plan.daemons:
        if daemon.state:
            was_off = services.get(daemon.state.unit) == "off"
            services[daemon.state.unit] = "off" if daemon.stop or (was_off and not daemon.changed) else "on"
    return Generation(
        number=state.next_number(),
        policy=plan.policy.name,
        sections=tuple(section.hook for section in plan.policy.sections),
        sources=sources,
        time=now,
        tool=VERSION,
        nat=plan.facts.nat,
        files=tuple(sorted(written.items())),
        services=tuple(sorted(services.items())),
        boot=_boot_digests(plan, state),
        ruleset=plan.artifact.text,
        listing=seen.listing,
        lines=policy_lines(plan.policy, lower(plan.policy, plan.facts), line_texts(read_file)),
        moment=seen.moment,
    )


def _boot_digests(plan: Plan, state: State) -> tuple[tuple[str, str], ...]:
    if not plan.boot_files:
        return ()
    files = ((artifact.name, artifact.text) for artifact in plan.boot_files)
    ruleset = (state.path("current/ruleset.nft"), plan.artifact.text)
    return tuple((path, digest(text)) for path, text in (*files, ruleset))
