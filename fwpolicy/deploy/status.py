"""Is the host what was applied? Own table, own files, own services."""

from __future__ import annotations

import difflib
import json

from fwpolicy.backends.nft.read import UnknownExpressionError, read, same
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy.confirm import waiting
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.opening import opened
from fwpolicy.deploy.persist import UNIT
from fwpolicy.deploy.state import Generation, Originals, State, digest, known
from fwpolicy.deploy.survey import Survey, survey
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset, Table
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine


@record
class Drift:
    """One difference: `what` is a sentence, `detail` lines below it."""

    what: str
    detail: tuple[str, ...] = ()


@record
class Status:
    """`generation` is None where nothing was ever applied; `drifts` is empty where nothing differs."""

    generation: Generation | None
    drifts: tuple[Drift, ...]
    notes: tuple[str, ...] = ()


def look(machine: Machine) -> Status:
    """Compare the machine with its current generation. Raises HostError where it cannot be looked at."""
    state = State(machine)
    generation = state.running()
    if generation is None:
        return _never(state, machine)
    seen = survey(machine, known(generation))
    if machine.live and seen.unreadable:
        raise HostError(f"cannot look at the rules: {seen.unreadable}")
    drifts = [
        *_unsettled(state),
        *_rules(generation, seen),
        *_nat(generation, seen),
        *_files(generation.files, machine),
        *_boot(generation, state, machine),
        *_services(generation, machine),
    ]
    since = opened(machine)
    notes = (f"opened by hand at {since}: fwpolicy apply closes",) if since else ()
    return Status(generation, tuple(drifts), notes)


def _never(state: State, machine: Machine) -> Status:
    """Nothing was applied; a table of ours may be there all the same."""
    drifts = _unsettled(state)
    if not drifts and (state.originals() != Originals() or survey(machine).ours is not None):
        drifts = [
            Drift("there are rules of ours that no apply is remembered of: apply, or run fwpolicy remove")
        ]
    return Status(None, tuple(drifts))


def _unsettled(state: State) -> list[Drift]:
    """An apply that died, or that waits to be confirmed."""
    entry = pending(state)
    if entry is None:
        return []
    if not entry.waits:
        return [Drift("an apply was interrupted: any other command takes it back first")]
    return [
        Drift(
            f"{waiting(entry)}: fwpolicy confirm"
            if not entry.is_over()
            else "an apply was not confirmed in time: any other command takes it back first"
        )
    ]


def _nat(generation: Generation, seen: Survey) -> list[Drift]:
    if not seen.nat or generation.nat or "chain prefilter" not in generation.ruleset:
        return []
    what = "NAT has appeared since the apply, and what is dropped before it may be its replies: apply again"
    return [Drift(what)]


def _rules(generation: Generation, seen: Survey) -> list[Drift]:
    if not generation.listing or seen.unreadable:
        return []
    applied = stored_table(generation)
    if seen.strange:
        return [Drift(f"table {FAMILY} {TABLE} holds what fwpolicy never writes: {seen.strange}")]
    if seen.ours is None:
        return [Drift(f"table {FAMILY} {TABLE} is gone: the host is as open as without it")]
    if same(Ruleset((applied,)), Ruleset((seen.ours,))):
        return []
    return [Drift(f"table {FAMILY} {TABLE} was changed since the apply", _difference(applied, seen.ours))]


def stored_table(generation: Generation) -> Table:
    """Our table as it was read back at the apply. Raises HostError where the state is damaged."""
    try:
        table = read(json.loads(generation.listing), FAMILY, TABLE)
    except (ValueError, UnknownExpressionError) as error:
        raise HostError(f"the state's listing.json is damaged: {error}") from None
    if table is None:
        raise HostError("the state's listing.json is damaged: it holds no table")
    return table


def _difference(applied: Table, live: Table) -> tuple[str, ...]:
    before = render(Ruleset((applied,)), "").text.splitlines()
    after = render(Ruleset((live,)), "").text.splitlines()
    lines = difflib.unified_diff(before, after, "applied", "live", n=0, lineterm="")
    return tuple(line for line in lines if not line.startswith("@@"))


def _files(written: tuple[tuple[str, str], ...], machine: Machine) -> list[Drift]:
    drifts = []
    for path, sha in written:
        text = machine.files.read(path)
        if text is None:
            drifts.append(Drift(f"{path} is gone"))
        elif digest(text) != sha:
            drifts.append(Drift(f"{path} was edited since the apply"))
    return drifts


def _boot(generation: Generation, state: State, machine: Machine) -> list[Drift]:
    """What loads at boot, and that it is what runs."""
    if not generation.boot:
        return []
    drifts = _files(generation.boot, machine)
    if state.pointers()["current"] != generation.number:
        drifts.append(Drift("the boot loads another generation than the one in force"))
    boot = machine.services.status((UNIT,))
    if boot and not boot.enabled:
        drifts.append(Drift(f"{UNIT} is not enabled: the rules will not be there after a reboot"))
    return drifts


def _services(generation: Generation, machine: Machine) -> list[Drift]:
    drifts = []
    for unit, wanted in generation.services:
        state = machine.services.status((unit,))
        if state and wanted == "off" and (state.active or state.enabled):
            drifts.append(Drift(f"{unit} runs or starts at boot, and the role says closed"))
    return drifts
