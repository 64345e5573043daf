"""What an apply is about to change, looked up for its journal before anything is touched."""

from __future__ import annotations

from fwpolicy.deploy.backend import WayBack, rules_of
from fwpolicy.deploy.drift import TIMER
from fwpolicy.deploy.journal import Entry
from fwpolicy.deploy.persist import opener
from fwpolicy.deploy.provenance import newest
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.undoscript import Before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.state import State
    from fwpolicy.host.services import ServiceState

    WrittenDown = tuple[Machine, State, Before, Entry, dict[str, str], dict[str, str]]


def written_down(plan: Plan, machine: Machine, state: State, entry: Entry, was: str) -> WrittenDown:
    """The arguments of journal.begin(); `was` is as_they_were() of the backend."""
    changes = (*plan.returned, *all_changes(plan))
    newer = newest(plan.options.came, machine)
    seen = (newer,) if newer else ()
    scripts = (opener(state.directory), *plan.rules.scripts(state.directory))
    paths = (
        *(change.path for change in changes),
        state.path("originals.json"),
        state.path("opened"),
        *(change.path for change in seen),
        *(script.name for script in scripts),
    )
    back = _rules(plan, machine, was)
    services, missing = _services(plan, machine)
    forgetting = machine.services.forgetting
    restarts = plan.restarts if machine.live else ()
    before = Before(
        generation=entry.generation,
        files=tuple(machine.files.snapshot(path) for path in dict.fromkeys(paths)),
        folders=tuple(
            folder for folder in missing_folders(changes, machine) if not folder.startswith(state.directory)
        ),
        pointers=tuple(state.pointers().items()),
        rules=back.names,
        forget=tuple(each for unit in missing for each in forgetting(unit)),
        forget_at_boot=tuple(each for unit in missing for each in forgetting(unit, at_boot=True)),
        live=machine.services.returning(services, restarts),
        boot=machine.services.returning_at_boot(services),
    )
    after = {each.path: each.after for each in (*changes, *seen) if not each.gone}
    return machine, state, before, entry, dict(back.files), after


def _rules(plan: Plan, machine: Machine, was: str) -> WayBack:
    """Another backend's rules come back before this one's go."""
    back = plan.rules.way_back(plan, was)
    if not plan.leaves or not machine.live:
        return back
    other = rules_of(plan.leaves).keep()
    return WayBack((*other.names, *back.names), (*other.files, *back.files))


def _services(plan: Plan, machine: Machine) -> tuple[tuple[ServiceState, ...], tuple[str, ...]]:
    """(the states to bring back, units to forget): what stops, is revived, or loads the rules."""
    states = [daemon.state for daemon in plan.daemons if daemon.stop and daemon.state]
    states += [state for each in plan.revived if (state := machine.services.status((each.unit,)))]
    missing = []
    for unit in (UNIT, TIMER) if plan.boot_files else ():
        found = machine.services.status((unit,))
        if found:
            states.append(found)
        else:
            missing.append(unit)
    return tuple(states), tuple(missing)


def missing_folders(changes: tuple[FileChange, ...] | list[FileChange], machine: Machine) -> tuple[str, ...]:
    """The folders that the changes' files need and that are not there, the outermost first."""
    found: dict[str, None] = {}
    for change in changes:
        parts = change.path.split("/")[1:-1]
        for count in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:count])
            if not machine.files.exists(folder):
                found[folder] = None
    return tuple(found)


def all_changes(plan: Plan) -> tuple[FileChange, ...]:
    """Of the time daemons' files, and of what loads the rules at boot."""
    return (*(change for daemon in plan.daemons for change in daemon.changes), *plan.boot)
