"""A plan, carried out: daemon configuration, rules, restart, connections, boot; or nothing at all.

The order is measured (docs/ntp.md): the daemon's configuration is written and checked first, the
rules arrive in one transaction, then the daemon restarts, so that what waits in its socket is never
answered, and only then are connection tracking entries deleted.
"""

from __future__ import annotations

from fwpolicy.deploy.backend import rules_of
from fwpolicy.deploy.drift import turn
from fwpolicy.deploy.history import prune
from fwpolicy.deploy.journal import Entry, begin, new_identity
from fwpolicy.deploy.opening import CLOSER
from fwpolicy.deploy.persist import opener
from fwpolicy.deploy.plan import boot_changes
from fwpolicy.deploy.provenance import newest
from fwpolicy.deploy.remembered import generation, texts
from fwpolicy.deploy.said import keep
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import Originals, State
from fwpolicy.deploy.undo import Undo
from fwpolicy.deploy.writtendown import all_changes, missing_folders, written_down
from fwpolicy.errors import HostError
from fwpolicy.host.boottime import boot
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.artifact import Artifact
    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.state import Generation
    from fwpolicy.host.conntrack import Flow

    Tell = Callable[[str], None]


@record
class Asked:
    """Who applies, and for how many seconds somebody is asked to confirm it; 0: nobody is."""

    by: str = ""
    seconds: float = 0.0


NOBODY = Asked()


@record
class Applied:
    """What was done: the new generation's number, and the connections that were deleted."""

    generation: int
    purged: tuple[Flow, ...]


def carry_out(
    plan: Plan, machine: Machine, sources: tuple[str, ...], now: str, tell: Tell, asked: Asked = NOBODY
) -> Applied:
    """Make `machine` what `plan` says. `now` is the time to record (ISO 8601), `tell` hears each step;
    `asked` says whether it counts at once. The caller holds the lock on the state, where nothing is pending.

    Raises HostError or PolicyError when anything fails; what was done until then is undone first.
    """
    if plan.refusals:
        raise HostError("; ".join(plan.refusals))
    if asked.seconds and not plan.rules.comes_back():
        raise HostError("no nft program here: nothing could take the apply back (package nftables)")
    _rehearse(plan, machine, tell)
    state = State(machine)
    number = state.next_number()
    kept = texts(plan, state, plan.current.number if plan.current else None)
    was = plan.rules.as_they_were(plan, machine)
    entry = Entry(new_identity(number), number, plan.policy.name, now, boot(), plan.options.persist)
    with begin(*written_down(plan, machine, state, entry, was)) as journal, Undo() as undo:
        if plan.current is None and state.originals() == Originals():
            undo.last(state.forget)
        undo.last(journal.close)
        _keep_originals(plan, machine, state, undo)
        restarted: list[str] = []
        # Last on the way back: a daemon restarts once its files are what they were.
        undo.then(_restart_all, machine, restarted)
        _install_boot(plan, machine, state, undo)
        _write_daemon_files(plan, machine, undo, tell)
        seen = plan.rules.load(plan, machine, was, undo, tell)
        _take_out_others(plan, machine, undo, tell)
        _turn_daemons(plan, machine, undo, restarted, tell)
        purged, left = _purge(plan, machine, asked, undo, tell)
        new = generation(plan, state, number, seen, sources, now, asked.by)
        _persist(plan, machine, state, new, kept, asked, undo, tell)
        if asked.seconds:
            _put_off(state, left)
            journal.wait(asked.seconds)
        else:
            journal.close()
            settle(plan.rules.name, plan.texts, plan.leaves, machine)
            prune(state)
    return Applied(number, purged)


def _rehearse(plan: Plan, machine: Machine, tell: Tell) -> None:
    """The rules in a namespace of their own, and what a kernel makes of them proved, before anything."""
    if plan.emitted is None or not machine.live or not plan.rules_changed:
        return
    from fwpolicy.host.netns import NoScratchError  # noqa: PLC0415

    try:
        tried = plan.rules.rehearse(plan)
    except NoScratchError as error:
        tell(f"not tried in a namespace first: {error}")
        return
    if tried:
        tell("proved: in a scratch namespace the kernel does to every packet what the policy says")


# What was there before


def _keep_originals(plan: Plan, machine: Machine, state: State, undo: Undo) -> None:
    known = state.originals()
    if state.files.exists(state.path("originals.json")):
        undo.then(state.keep, known)
    kept_paths = {snapshot.path for snapshot in known.snapshots}
    kept_units = {service.unit for service in known.services}
    given_back = {change.path for change in plan.returned}
    changes = [change for change in all_changes(plan) if not change.path.startswith(f"{machine.state_dir}/")]
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
            (*known.directories, *missing_folders(changes, machine)),
        )
    )


# First the boot: from its first step on an apply that a power cut ends is taken back there


def _install_boot(plan: Plan, machine: Machine, state: State, undo: Undo) -> None:
    for change in (*plan.boot, *_scripts(plan, machine, state)):
        for folder in machine.files.make_directory(change.path.rpartition("/")[0]):
            undo.then(machine.files.remove_directory_if_empty, folder)
        before = machine.files.snapshot(change.path)
        machine.files.write(change.path, change.after, change.mode)
        undo.then(machine.files.restore, before)
    if not _boot_matters(plan):
        return
    machine.services.reload_manager()
    found = machine.services.status((UNIT,))
    if found is not None:
        undo.then(machine.services.restore, found)
        machine.services.enable(UNIT)
        turn(plan.policy.apply.drift, machine.services, undo)


def _boot_matters(plan: Plan) -> bool:
    return plan.options.persist and bool(plan.boot or plan.enable_boot or plan.rules_changed)


def _scripts(plan: Plan, machine: Machine, state: State) -> tuple[FileChange, ...]:
    """What opens in an emergency."""
    return boot_changes((opener(state.directory), *plan.rules.scripts(state.directory)), machine)


# Then the daemon's configuration


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


def _take_out_others(plan: Plan, machine: Machine, undo: Undo, tell: Tell) -> None:
    """Another backend's rules, now that this one's are there."""
    if not plan.leaves or not machine.live:
        return
    other = rules_of(plan.leaves)
    undo.then(other.hold())
    other.take_out()
    tell(f"took out the rules in {other.place}")


def settle(backend: str, texts: tuple[Artifact, ...], leaves: str, machine: Machine) -> None:
    """Once an apply counts: what only a way back needed. What cannot go stays, and does no harm."""
    if not machine.live:
        return
    try:
        rules_of(backend).settle(texts)
        if leaves:
            rules_of(leaves).settle(())
    except HostError:
        return


# After the rules: daemons and connections


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


def _purge(
    plan: Plan, machine: Machine, asked: Asked, undo: Undo, tell: Tell
) -> tuple[tuple[Flow, ...], tuple[Flow, ...]]:
    """(connections that were ended, those that are put off): where somebody is asked first, only what a role
    denies ends now."""
    if not machine.live:
        return (), ()
    from fwpolicy.deploy.purge import denied, end  # noqa: PLC0415

    def tell_new(step: str) -> None:
        if step not in plan.notes:
            tell(step)

    found = denied(plan.policy, machine, plan.facts.servers, tell_new, plan.rules.members)
    if asked.seconds:
        return end(found.of_roles, undo, tell_new), found.rest
    return end(found, undo, tell_new), ()


def _put_off(state: State, flows: tuple[Flow, ...]) -> None:
    from fwpolicy.deploy.putoff import put_off  # noqa: PLC0415

    put_off(state, flows)


# The generation


def _persist(
    plan: Plan,
    machine: Machine,
    state: State,
    new: Generation,
    kept: dict[str, str],
    asked: Asked,
    undo: Undo,
    tell: Tell,
) -> None:
    """`kept`: the texts that a way back writes. Where somebody is asked first the boot loads what it did."""
    undo.then(state.drop, new.number)
    undo.then(machine.files.restore, machine.files.snapshot(state.path("opened")))
    machine.files.remove(state.path("opened"))
    machine.services.never_mind(CLOSER)
    state.write(new, kept)
    if plan.options.said:
        keep(state, new.number, plan.options.said)
    _remember(plan, machine, undo)
    undo.then(state.point, state.pointers())
    state.make_current(new.number, boots=plan.options.persist and not asked.seconds)
    found = machine.services.status((UNIT,)) if _boot_matters(plan) else None
    if found is None:
        return
    if machine.live:
        undo.then(machine.services.restore, found)
        plan.rules.boots_the_same(plan, machine, undo, started=found.active)
    tell(f"{found.unit} loads the rules at boot, before the network")


def _remember(plan: Plan, machine: Machine, undo: Undo) -> None:
    """What somebody signed, as the newest; whoever takes the apply back forgets that."""
    change = newest(plan.options.came, machine)
    if change:
        undo.then(machine.files.restore, machine.files.snapshot(change.path))
        machine.files.write(change.path, change.after, change.mode)


def renew(plan: Plan, machine: Machine) -> bool:
    """The host is what `plan` says already: what somebody signed counts all the same. False where nothing
    is new. The caller holds the lock. Raises HostError."""
    came, current = plan.options.came, plan.current
    if came is None or current is None or current.came == came:
        return False
    change = newest(came, machine)
    if change:
        machine.files.write(change.path, change.after, change.mode)
    State(machine).renew(current.number, came)
    return True
