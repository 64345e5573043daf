"""The rules into the kernel, read back and compared; and back to what was there before."""

from __future__ import annotations

import json

from fwpolicy.backends.nft.read import same
from fwpolicy.backends.nft.reload import WHOLE, Load, back, elements_of, reload
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.survey import Survey, survey
from fwpolicy.errors import HostError, PolicyError, Problem
from fwpolicy.ir.ruleset import FAMILY, TABLE, DynamicSet, Ruleset, Set, Table
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.artifact import Artifact
    from fwpolicy.deploy.elements import Known
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.host.libnftables import Nftables, Refusal

    Tell = Callable[[str], None]

REPLACE = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def as_they_were(plan: Plan, machine: Machine) -> str:
    """The text of our table before the apply, with what it has counted and collected, where rules change.
    "" where none does, and where only elements do: then the generation's own text has it all."""
    if not machine.live or not plan.rules_changed or only_elements(plan):
        return ""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    return _listed(Nftables(), plan.survey.ours)


def only_elements(plan: Plan) -> bool:
    """Is it elements of sets alone that change, and the generation's own text there to go back to?"""
    return (
        plan.current is not None
        and not plan.current.damaged
        and plan.loads[:1] != (WHOLE,)
        and not any(way.artifact for way in plan.loads[:1])
    )


def whole_text(before: Table | None, listed: str) -> str:
    """What loads `before` again: `listed` (as_they_were) and the addresses that it leaves out."""
    return f"{REPLACE}{listed}\n{elements_of(before) if before else ''}"


def load_rules(plan: Plan, machine: Machine, was: str, undo: Undo, tell: Tell) -> Survey:
    """Load, read back, compare; what was read. `was`: as_they_were()."""
    if not machine.live or not plan.rules_changed:
        return plan.survey
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    kernel = Nftables()
    undo.then(_put_back, machine, plan.survey.ours, was or _listed(kernel, plan.survey.ours))
    way, moment = _load_first(kernel, plan)
    seen = _read_back_elements(plan, way, moment)
    if seen is None:
        # A proof takes nothing for granted: what the new sets hold is dumped then, and not sampled.
        untouched = None if plan.emitted is not None else _untouched(plan, way, moment)
        seen = read_back(plan, machine, untouched)
    if plan.emitted is not None:
        from fwpolicy.deploy.proof import prove_listed  # noqa: PLC0415

        prove_listed(plan.emitted, json.loads(seen.listing), "live")
        tell("loaded the rules in one transaction, read them back and proved them: equal for every packet")
    else:
        tell("loaded the rules in one transaction and read them back: equal")
    return seen


def _listed(kernel: Nftables, ours: Table | None) -> str:
    """Our table as a text, with what it has counted and collected. Of a table that we can say ourselves,
    without the addresses that `elements_of` says."""
    if ours is None:
        return kernel.text(f"table {FAMILY} {TABLE}")
    filled = (each.name for each in ours.sets if isinstance(each, DynamicSet))
    wheres = [*(f"set {FAMILY} {TABLE} {name}" for name in filled)]
    wheres += [f"map {FAMILY} {TABLE} {each.name}" for each in ours.maps]
    return "\n".join([kernel.terse_text(FAMILY, TABLE), *map(kernel.text, wheres)])


def _load_first(kernel: Nftables, plan: Plan) -> tuple[Load, str]:
    """The first of the plan's ways that the kernel takes, and the moment after, "" where others may have
    changed things. Raises PolicyError or HostError of the last."""
    for way in plan.loads[:-1]:
        try:
            return _load(kernel, way, plan)
        except (HostError, PolicyError):
            continue
    return _load(kernel, plan.loads[-1], plan)


def _load(kernel: Nftables, way: Load, plan: Plan) -> tuple[Load, str]:
    """Raises PolicyError, HostError."""
    from fwpolicy.deploy.elements import following, send  # noqa: PLC0415
    from fwpolicy.host.libnftables import RefusedError  # noqa: PLC0415

    way = _whole(plan) if way == WHOLE else way
    moment = plan.survey.moment
    if way.changes:
        moment = send(way.changes, moment, way.new_table)
    if way.artifact:
        try:
            kernel.load(way.artifact.text)
        except RefusedError as error:
            raise _located(way.artifact, error.refusals) or error from None
        moment = following(moment)
    return way, moment


def _whole(plan: Plan) -> Load:
    before = plan.survey.ours
    if before is None:
        return Load(plan.artifact)
    return reload(plan.ruleset, before, plan.policy.name, whole_sets=True)


def _read_back_elements(plan: Plan, way: Load, moment: str) -> Survey | None:
    """What is there at `moment`, where that is what was there and the elements that changed; None: look at
    it all."""
    if not moment or way.artifact or plan.survey.ours is None:
        return None
    (wanted,) = plan.ruleset.tables
    names = {change.name for change in way.changes}
    new = {each.name: each for each in wanted.sets if isinstance(each, Set) and each.name in names}
    ours = replace(plan.survey.ours, sets=tuple(new.get(each.name, each) for each in plan.survey.ours.sets))
    if not _same(ours, plan.ruleset):
        return None
    from fwpolicy.deploy.elements import with_changes  # noqa: PLC0415

    try:
        listing = with_changes(plan.survey.listing, way.changes)
    except ValueError:
        return None
    return replace(plan.survey, ours=ours, listing=listing, moment=moment)


def _untouched(plan: Plan, way: Load, moment: str) -> Known | None:
    """What the sets hold that were filled before the text, or that it does not name."""
    if not moment or not plan.ruleset.tables:
        return None
    from fwpolicy.deploy.elements import known_sets  # noqa: PLC0415

    (wanted,) = plan.ruleset.tables
    made = {change.name for change in way.changes}
    there = {each.name: each for each in plan.survey.ours.sets} if plan.survey.ours else {}
    sets = (each for each in wanted.sets if each.name in made or there.get(each.name) == each)
    return known_sets(moment, tuple(each for each in sets if isinstance(each, Set)))


def _located(artifact: Artifact, refusals: tuple[Refusal, ...]) -> PolicyError | None:
    """The kernel's errors, at the lines of the policy that the refused rules come from."""
    lines = artifact.text.splitlines()
    problems = [
        Problem(
            f"the kernel refused this: {refusal.message}",
            artifact.origin(refusal.line),
            None,
            f"compiled to: {lines[refusal.line - 1].strip()}",
        )
        for refusal in refusals
    ]
    return PolicyError(tuple(problems)) if problems else None


def read_back(plan: Plan, machine: Machine, known: Known | None = None) -> Survey:
    """Raises HostError where the kernel lists other rules than the plan's."""
    seen = survey(machine, known)
    if seen.ours is None or not _same(seen.ours, plan.ruleset):
        why = seen.strange or seen.unreadable or "it lists other rules than were loaded"
        raise HostError(f"the kernel does not hold what was loaded ({why}); everything was put back")
    return seen


def _same(table: Table, ruleset: Ruleset) -> bool:
    return same(Ruleset((table,)), ruleset)


def boots_the_same(plan: Plan, machine: Machine, undo: Undo, started: bool) -> None:
    """What loads now is what will load then: through the boot's own path, as it starts from nothing.

    A unit that is `started` is not run again over a table whose counters and members are to stay: the
    kernel is asked whether it would take the boot's text. Where the unit must start, they come back.
    """
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    kernel = Nftables()
    if started and plan.survey.ours is not None:
        if not (_is_in_the_boot(plan) and plan.loads and plan.loads[0].artifact is None):
            _would_load(kernel, plan.artifact)
        return
    kept = kernel.text(f"table {FAMILY} {TABLE}") if plan.survey.ours is not None else ""
    if kept:
        undo.then(kernel.load, REPLACE + kept)
    machine.services.restart(UNIT)
    read_back(plan, machine)
    if kept:
        kernel.load(REPLACE + kept)
        read_back(plan, machine)


def _is_in_the_boot(plan: Plan) -> bool:
    """The kernel has said of what runs that it could boot: then so can the same with other addresses."""
    return plan.current is not None and bool(plan.current.boot)


def _would_load(kernel: Nftables, artifact: Artifact) -> None:
    from fwpolicy.host.libnftables import RefusedError  # noqa: PLC0415

    try:
        kernel.load(artifact.text, dry_run=True)
    except RefusedError as error:
        raise _located(artifact, error.refusals) or error from None


def _put_back(machine: Machine, before: Table | None, listed: str) -> None:
    """`before`, and `listed` with what it had counted and collected; what never went goes on counting."""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    now = survey(machine).ours
    kernel = Nftables()
    if before is None:
        kernel.load(whole_text(before, listed))
        return
    if now is not None and (_same(now, Ruleset((before,))) or _went_back(kernel, before, now, listed)):
        return
    kernel.load(whole_text(before, listed))


def _went_back(kernel: Nftables, before: Table, now: Table, listed: str) -> bool:
    """Over what is there, which goes on counting: its elements alone, if nothing else differs."""
    way = reload(Ruleset((before,)), now, "")
    try:
        if way.artifact is None:
            from fwpolicy.deploy.elements import send  # noqa: PLC0415

            send(way.changes, "")
        else:
            kernel.load(back(before, now, listed))
    except HostError:
        return False
    return True
