"""Rules of ours in iptables against those that were applied: as text and as traffic; and back."""

from __future__ import annotations

from fwpolicy.backends.iptables import reload
from fwpolicy.deploy.drifttold import difference, nat, readable
from fwpolicy.deploy.status import Drift, Status
from fwpolicy.deploy.xtsurvey import of_text, program_of, survey
from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.deploy.xtsurvey import Ours
    from fwpolicy.host.xtables import XTables
    from fwpolicy.model.compare import Change

_PROGRAMS = ("iptables", "ip6tables")


def compare(generation: Generation, machine: Machine, tables: XTables) -> tuple[Status, str]:
    """(what of the rules differs, no moment: iptables has no name for one). Raises HostError where nobody can
    look."""
    seen = _look(machine, tables)
    applied, live = of_text(generation.listing), of_text(seen.listing)
    notes = tuple(
        f"another tool's rule comes before ours: {rule}" for rule in live.ahead if rule not in live.opening
    )
    others = (*((Drift(seen.strange),) if seen.strange else ()), *nat(generation, seen))
    if applied.same(live):
        return Status(generation, others, notes), ""
    drifts = (_told(applied, live), *others)
    if live.opening:
        return Status(generation, drifts, notes), ""
    try:
        return Status(generation, drifts, notes, _traffic(applied, live)), ""
    except HostError as error:
        return Status(generation, drifts, (*notes, f"traffic was not compared: {error}")), ""


def differs(generation: Generation, machine: Machine, tables: XTables) -> bool:
    """Raises HostError."""
    return not of_text(generation.listing).same(of_text(_look(machine, tables).listing))


def _look(machine: Machine, tables: XTables) -> Survey:
    return readable(survey(machine, tables, around=False))


def _told(applied: Ours, live: Ours) -> Drift:
    if not any(live.rules):
        return Drift("our chains are gone from iptables: the host is as open as without them")
    detail = (*live.opening, *_difference(applied, live))
    if live.opening:
        return Drift("others' rules come before ours, and what they accept we never see", detail)
    return Drift("our chains in iptables were changed since the apply", detail)


def _difference(applied: Ours, live: Ours) -> list[str]:
    found: list[str] = []
    for program, before, after in zip(_PROGRAMS, _lines(applied), _lines(live), strict=True):
        found += difference(before, after, program)
    for name in sorted(applied.sets.keys() | live.sets.keys()):
        was, now = (each.sets.get(name) for each in (applied, live))
        if was is not None and was != now:
            found += difference(was, now or [], "ipset")
    return found


def _lines(ours: Ours) -> list[list[str]]:
    return [reload.first(text).splitlines() for text in ours.rules]


def _traffic(applied: Ours, live: Ours) -> tuple[Change, ...]:
    """Raises HostError for what the packet model does not know."""
    from fwpolicy.deploy.proof import traffic_between  # noqa: PLC0415

    return traffic_between(lambda: program_of(applied, "applied"), lambda: program_of(live, "live"))
