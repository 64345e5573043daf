"""The rules that are there against those that were applied, exactly: as text and as traffic; and back."""

from __future__ import annotations

import json

from fwpolicy.backends.nft.read import UnknownExpressionError, read, same
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy.backend import rules_of
from fwpolicy.deploy.drifttold import difference, nat, readable
from fwpolicy.deploy.state import Generation, State, known, require_whole
from fwpolicy.deploy.status import Drift, Status
from fwpolicy.deploy.survey import Survey, survey
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.host.libnftables import Nftables
    from fwpolicy.model.compare import Change


def compare(generation: Generation, machine: Machine) -> tuple[Status, str]:
    """(what of the rules differs, the moment of that). Raises HostError where nobody can look."""
    seen = _look(generation, machine)
    applied = stored_table(generation)
    if not _differs(applied, seen):
        return Status(generation, nat(generation, seen)), seen.moment
    drifts = (_told(applied, seen), *nat(generation, seen))
    notes = _numbered(generation, seen)
    try:
        return Status(generation, drifts, notes, _traffic(generation, seen)), seen.moment
    except HostError as error:
        return Status(generation, drifts, (*notes, f"traffic was not compared: {error}")), seen.moment


def _look(generation: Generation, machine: Machine) -> Survey:
    return readable(survey(machine, known(generation)))


def _differs(applied: Table, seen: Survey) -> bool:
    return seen.ours is None or not same(Ruleset((applied,)), Ruleset((seen.ours,)))


def _told(applied: Table, seen: Survey) -> Drift:
    if seen.strange:
        return Drift(seen.strange)
    if seen.ours is None:
        return Drift(f"table {FAMILY} {TABLE} is gone: the host is as open as without it")
    return Drift(f"table {FAMILY} {TABLE} was changed since the apply", _difference(applied, seen.ours))


def stored_table(generation: Generation) -> Table:
    """Our table as it was read back at the apply. Raises HostError where the state is damaged."""
    try:
        table = read(json.loads(generation.listing), FAMILY, TABLE)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, UnknownExpressionError) as error:
        raise HostError(f"the state's listing.json is damaged: {error!r}; apply the policy again") from None
    if table is None:
        raise HostError("the state's listing.json is damaged: it holds no table; apply the policy again")
    return table


def _difference(applied: Table, live: Table) -> tuple[str, ...]:
    before, after = (render(Ruleset((each,)), "").text.splitlines() for each in (applied, live))
    return difference(before, after)


def _traffic(generation: Generation, seen: Survey) -> tuple[Change, ...]:
    """Raises HostError for what the packet model does not know."""
    from fwpolicy.deploy.proof import listed_table, traffic_between  # noqa: PLC0415

    return traffic_between(lambda: listed_table(generation.listing), lambda: listed_table(seen.listing))


def _numbered(generation: Generation, seen: Survey) -> tuple[str, ...]:
    from fwpolicy.deploy.proof import by_number, listed_table  # noqa: PLC0415

    found = by_number(lambda: listed_table(generation.listing), lambda: listed_table(seen.listing))
    what = "this knows an interface by its number, and ends when that is made anew"
    return tuple(f"{what}: {where}" for where in found)


# Back


def heal(machine: Machine) -> bool:
    """Put the rules of the generation in force back where somebody changed them; False where nobody did, or
    where somebody wants them out of the way. Raises HostError.
    """
    state = State(machine)
    generation = state.running()
    if state.opened() is not None or generation is None or not machine.live or not generation.listing:
        return False
    return rules_of(generation.backend).heal(generation, machine)


def put_back(generation: Generation, machine: Machine) -> bool:
    """The same of nft's.

    Over a table that is ours what goes on goes on; else the stored text is loaded. Raises HostError.
    """
    seen, applied = _look(generation, machine), stored_table(generation)
    if not _differs(applied, seen):
        return False
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    if not _goes_back(applied, seen, Nftables()):
        require_whole(generation)
        Nftables().load(generation.ruleset)
    if _differs(applied, _look(generation, machine)):
        raise HostError("the rules were put back, and the kernel lists others")
    return True


def _goes_back(applied: Table, seen: Survey, kernel: Nftables) -> bool:
    if seen.ours is None:
        return False
    from fwpolicy.backends.nft.reload import reload  # noqa: PLC0415
    from fwpolicy.deploy.elements import send  # noqa: PLC0415

    way = reload(Ruleset((applied,)), seen.ours, "")
    try:
        if way.changes:
            send(way.changes, seen.moment, way.new_table)
        if way.artifact:
            kernel.load(way.artifact.text)
    except HostError:
        return False
    return True
