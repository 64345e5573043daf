"""Is the host what was applied? Own table, own files, own services.

Mostly it is, and then nothing is listed: a generation of the ruleset never comes back, so what was found
right at the one that is there still is. All that reads rules is imported when it is not.
"""

from __future__ import annotations

from fwpolicy.deploy.backend import rules_of, there
from fwpolicy.deploy.journal import pending, waiting
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import Generation, Originals, State, digest, require_whole
from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.model.compare import Change

# What can differ: an apply that nobody finished or confirmed, rules, files, what the boot loads, services.
KINDS = ("apply", "rules", "files", "boot", "services")


@record
class Drift:
    """One difference: `what` is a sentence, `detail` lines below it."""

    what: str
    detail: tuple[str, ...] = ()


@record
class Status:
    """`generation` is None where nothing was ever applied; `drifts` is empty where nothing differs.

    `traffic`: what the rules that are there do otherwise than those that were applied; None where nobody
    had to ask, or could. `notes` say why. `kinds`: how many of the drifts are of each of KINDS.
    """

    generation: Generation | None
    drifts: tuple[Drift, ...]
    notes: tuple[str, ...] = ()
    traffic: tuple[Change, ...] | None = None
    kinds: tuple[tuple[str, int], ...] = ()


class Memory:
    """What of the rules differed, and when: for who looks again and again, and compares once."""

    def __init__(self) -> None:
        self._known: tuple[int, str] | None = None
        self._found: Status | None = None

    def of(self, generation: Generation, moment: str) -> Status | None:
        return self._found if moment and self._known == (generation.number, moment) else None

    def keep(self, generation: Generation, moment: str, found: Status) -> None:
        self._known, self._found = (generation.number, moment), found


def look(machine: Machine, memory: Memory | None = None) -> Status:
    """Compare the machine with its current generation. Raises HostError where it cannot be looked at."""
    memory = memory or Memory()
    state = State(machine)
    generation = state.running()
    if generation is None:
        return _never(state, machine)
    rules = _rules(generation, state, machine, memory)
    found: tuple[Sequence[Drift], ...] = (
        _unsettled(state),
        rules.drifts,
        [*_files(generation.files, machine), *_stored(generation)],
        _boot(generation, state, machine),
        _services(generation, machine),
    )
    drifts = tuple(drift for each in found for drift in each)
    kinds = tuple(zip(KINDS, map(len, found), strict=True))
    since = state.opened()
    by_hand = (f"opened by hand at {since}: fwpolicy apply closes",) if since else ()
    return Status(generation, drifts, (*rules.notes, *by_hand), rules.traffic, kinds)


def _never(state: State, machine: Machine) -> Status:
    """Nothing was applied; rules of ours may be there all the same."""
    drifts = _unsettled(state)
    if not drifts and (state.originals() != Originals() or there(machine)):
        what = "there are rules of ours that no apply is remembered of: apply, or run fwpolicy remove"
        drifts = [Drift(what)]
    return Status(None, tuple(drifts), kinds=(("apply", len(drifts)),))


def _unsettled(state: State) -> list[Drift]:
    """An apply that died, or that waits to be confirmed."""
    entry = pending(state)
    if entry is None:
        return []
    if not entry.waits:
        return [Drift("an apply was interrupted: any other command takes it back first")]
    if entry.is_over():
        return [Drift("an apply was not confirmed in time: any other command takes it back first")]
    return [Drift(f"{waiting(entry)}: fwpolicy confirm")]


def _rules(generation: Generation, state: State, machine: Machine, memory: Memory) -> Status:
    if not generation.is_compared:
        require_whole(generation)
    if not machine.live:
        return Status(generation, ())
    if not generation.listing:
        return _never_read_back(generation, machine)
    now = _moment()
    # Legacy tables are no part of the ruleset that a moment stands for.
    if now and now in (generation.moment, _seen(generation, state)) and not _may_break_nat(generation):
        return Status(generation, ())
    if before := memory.of(generation, now):
        return before
    found, moment = rules_of(generation.backend).compare(generation, machine)
    memory.keep(generation, moment, found)
    if moment and not found.drifts:
        _remember(generation, state, moment)
    return found


def _never_read_back(generation: Generation, machine: Machine) -> Status:
    """It was applied to the files of an image: nothing is known but that something of ours must be there."""
    rules = rules_of(generation.backend)
    if not rules.is_there(machine):
        return Status(generation, (Drift(f"{rules.place} holds nothing of ours: the boot did not load it"),))
    return Status(generation, ())


def _moment() -> str:
    """What the ruleset's state is called now; "" where the kernel has no name for it."""
    from fwpolicy.host.nfnetlink import Netfilter  # noqa: PLC0415

    try:
        with Netfilter() as kernel:
            return kernel.moment()
    except HostError:
        return ""


def may_meet_nat(generation: Generation) -> bool:
    """Does it drop before connection tracking what NAT would make a reply of?"""
    early = any("chain prefilter" in text or "\n*raw\n" in text for _, text in generation.texts)
    return early and not generation.nat


def _may_break_nat(generation: Generation) -> bool:
    if not may_meet_nat(generation):
        return False
    from fwpolicy.host.xtables import legacy_tables  # noqa: PLC0415

    return "nat" in legacy_tables()


def _seen_path(generation: Generation, state: State) -> str:
    return state.path(f"generations/{generation.number}/seen")


def _seen(generation: Generation, state: State) -> str:
    """When the table was found to be the generation's last."""
    return (state.files.read(_seen_path(generation, state)) or "").strip()


def _remember(generation: Generation, state: State, moment: str) -> None:
    try:
        state.files.write(_seen_path(generation, state), f"{moment}\n", 0o600)
    except HostError:
        return  # a full disk or a read-only one: the next look takes as long as this


def _files(written: tuple[tuple[str, str], ...], machine: Machine) -> list[Drift]:
    drifts = []
    for path, sha in written:
        text = machine.files.read(path)
        if text is None:
            drifts.append(Drift(f"{path} is gone"))
        elif digest(text) != sha:
            drifts.append(Drift(f"{path} was edited since the apply"))
    return drifts


def _stored(generation: Generation) -> list[Drift]:
    """What the way back loads, where the boot does not load it too (and is looked at there)."""
    if generation.boot:
        return []
    return [Drift(f"{path} was edited since the apply, or is gone") for path in generation.damaged]


def _boot(generation: Generation, state: State, machine: Machine) -> list[Drift]:
    """What loads at boot, and that it is what runs."""
    if not generation.boot:
        return []
    drifts = _files(generation.boot, machine)
    if state.pointers()["current"] != generation.number:
        drifts.append(Drift("the boot loads another generation than the one in force"))
    boot = machine.services.status((UNIT,))
    if boot and not boot.enabled:
        drifts.append(Drift(f"{boot.unit} is not enabled: the rules will not be there after a reboot"))
    return drifts


def _services(generation: Generation, machine: Machine) -> list[Drift]:
    drifts = []
    for unit in (unit for unit, wanted in generation.services if wanted == "off"):
        state = machine.services.status((unit,))
        if state and (state.active or state.enabled):
            drifts.append(Drift(f"{unit} runs or starts at boot, and the role says closed"))
    return drifts
