"""The rules into the kernel, read back and compared; and back to what was there before."""

from __future__ import annotations

import json

from fwpolicy.backends.nft.read import normal_form
from fwpolicy.backends.nft.reload import back
from fwpolicy.deploy.persist import UNIT
from fwpolicy.deploy.proof import prove_listed
from fwpolicy.deploy.survey import Survey, survey
from fwpolicy.errors import HostError, PolicyError, Problem
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.artifact import Artifact
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.host.libnftables import Nftables, Refusal

    Tell = Callable[[str], None]

_REPLACE = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def load_rules(plan: Plan, machine: Machine, undo: Undo, tell: Tell) -> str:
    """Load, read back, compare; the listing as it is stored."""
    if not machine.live:
        return ""
    if not plan.rules_changed:
        return plan.survey.listing
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    kernel = Nftables()
    undo.then(_put_back, machine, plan.survey.ours, kernel.text(FAMILY, TABLE))
    _load_first(kernel, plan.loads)
    seen = read_back(plan, machine)
    if plan.emitted is not None:
        prove_listed(plan.emitted, json.loads(seen.listing), "live")
        tell("loaded the rules in one transaction, read them back and proved them: equal for every packet")
    else:
        tell("loaded the rules in one transaction and read them back: equal")
    return seen.listing


def _load_first(kernel: Nftables, texts: tuple[Artifact, ...], dry_run: bool = False) -> None:
    """The first of `texts` that the kernel takes. Raises PolicyError or RefusedError of the last."""
    from fwpolicy.host.libnftables import RefusedError  # noqa: PLC0415

    for number, artifact in enumerate(texts, 1):
        try:
            kernel.load(artifact.text, dry_run)
        except RefusedError as error:
            if number == len(texts):
                raise _located(artifact, error.refusals) or error from None
        else:
            return


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


def read_back(plan: Plan, machine: Machine) -> Survey:
    """Raises HostError where the kernel lists other rules than the plan's."""
    seen = survey(machine)
    if seen.ours is None or not _same(seen.ours, plan.ruleset):
        why = seen.strange or seen.unreadable or "it lists other rules than were loaded"
        raise HostError(f"the kernel does not hold what was loaded ({why}); everything was put back")
    return seen


def _same(table: Table, ruleset: Ruleset) -> bool:
    return normal_form(Ruleset((table,))) == normal_form(ruleset)


def boots_the_same(plan: Plan, machine: Machine, undo: Undo, started: bool) -> None:
    """What loads now is what will load then: through the boot's own path, as it starts from nothing.

    A unit that is `started` is not run again over a table whose counters and members are to stay: the
    kernel is asked whether it would take the boot's text. Where the unit must start, they come back.
    """
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    kernel = Nftables()
    if started and plan.survey.ours is not None:
        _load_first(kernel, (plan.artifact,), dry_run=True)
        return
    kept = kernel.text(FAMILY, TABLE) if plan.survey.ours is not None else ""
    if kept:
        undo.then(kernel.load, _REPLACE + kept)
    machine.services.restart(UNIT)
    read_back(plan, machine)
    if kept:
        kernel.load(_REPLACE + kept)
        read_back(plan, machine)


def _put_back(machine: Machine, before: Table | None, listed: str) -> None:
    """`before`, and `listed` with what it had counted and collected; what never went goes on counting."""
    from fwpolicy.host.libnftables import Nftables, RefusedError  # noqa: PLC0415

    now = survey(machine).ours
    kernel = Nftables()
    if before is not None and now is not None:
        if _same(now, Ruleset((before,))):
            return
        try:
            kernel.load(back(before, now, listed))
        except RefusedError:
            pass
        else:
            return
    kernel.load(_REPLACE + listed)
