"""Rules about rules that a change of the repository takes away or brings, and on which hosts."""

from __future__ import annotations

from fwpolicy.errors import FwpolicyError, Span
from fwpolicy.fleet.judge import region
from fwpolicy.fleet.judging import concerns, invariants_of
from fwpolicy.fleet.risk import INTERNET_TO_ADMIN, NONE
from fwpolicy.fleet.telling import line_of
from fwpolicy.fleet.unit import Reading
from fwpolicy.model.build import Build
from fwpolicy.model.diagram import NO
from fwpolicy.model.program import Program
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fwpolicy.fleet.invariants import Invariant
    from fwpolicy.fleet.inventory import Host
    from fwpolicy.fleet.repository import Repository

    Own = dict[Invariant, Invariant]

GONE, CAME, CHANGED = "gone", "new", "changed"
_NOTHING = Program({}, ())
_NOWHERE = Span("", 0, 0, 0)


@record
class RuleChange:
    """An invariant that hosts need not keep any more (GONE), have to from now on (CAME), or that means
    something else in the same words (CHANGED). `line`: as written; `at`: its place; `level`: how risky, where
    something that was never, or always, let through no longer is."""

    now: str
    line: str
    at: str
    level: int


def rule_changes(
    old: Repository, new: Repository, now: int
) -> tuple[tuple[RuleChange, tuple[str, ...]], ...]:
    """Each with the hosts of both sides that it is about, the risky ones first. Raises PolicyError where the
    invariants of one side are wrong."""
    before, after = _Side(old), _Side(new)
    earlier = {host.name: host for host in old.inventory.hosts}
    known: dict[tuple[frozenset[str], frozenset[str]], tuple[RuleChange, ...]] = {}
    found: dict[RuleChange, list[str]] = {}
    for host in new.inventory.hosts:
        if host.name not in earlier:
            continue
        names = before.names(earlier[host.name]), after.names(host)
        if names not in known:
            known[names] = tuple(
                _different(before, before.own(earlier[host.name]), after, after.own(host), now)
            )
        for each in known[names]:
            found.setdefault(each, []).append(host.name)
    ordered = sorted(found.items(), key=lambda item: -item[0].level)
    return tuple((each, tuple(hosts)) for each, hosts in ordered)


class _Side:
    """The invariants of a repository."""

    def __init__(self, repository: Repository) -> None:
        self.reading = Reading(repository.tree)
        self.invariants = invariants_of(repository, self.reading)
        self._named = {name for each in self.invariants for name in each.hosts or ()}

    def names(self, host: Host) -> frozenset[str]:
        """What decides which of them a host has to keep."""
        return frozenset(self._named & {host.name, *host.groups})

    def own(self, host: Host) -> Own:
        """Those that a host has to keep, by their meaning: without their places and their hosts."""
        own = (each for each in self.invariants if concerns(each, host))
        return {replace(each, hosts=None, origin=_NOWHERE, zones=()): each for each in own}

    def told(self, now: str, invariant: Invariant, level: int) -> RuleChange:
        span = invariant.origin
        kind = "always" if invariant.always else "never"
        line = line_of(span, self.reading).strip().removeprefix("- ").removeprefix(f"{kind}: ")
        return RuleChange(now, f"{kind}: {line}", f"{span.file}:{span.line}", level)


def _different(before: _Side, old: Own, after: _Side, new: Own, now: int) -> Iterator[RuleChange]:
    came = {meaning: after.told(CAME, each, NONE) for meaning, each in new.items() if meaning not in old}
    by_line = {each.line: meaning for meaning, each in came.items()}
    for meaning, each in old.items():
        if meaning in new:
            continue
        level = NONE if _kept(each, new.values(), now) else INTERNET_TO_ADMIN
        gone = before.told(GONE, each, level)
        same = came.pop(by_line.pop(gone.line)) if gone.line in by_line else None
        yield gone if same is None else replace(same, now=CHANGED, level=level)
    yield from came.values()


def _kept(invariant: Invariant, others: Collection[Invariant], now: int) -> bool:
    """Whether the others ask for all that the invariant does."""
    alike = [each for each in others if (each.always, each.hook) == (invariant.always, invariant.hook)]
    if not alike:
        return False
    asked = region(invariant, _NOTHING, now)
    regions = [region(each, _NOTHING, now) for each in alike]
    try:
        build = Build((_NOTHING,), invariant.hook, (asked, *regions))
        left = build.diagrams.both(build.possible, build.condition(asked))
        for each in regions:
            left = build.diagrams.both(left, build.diagrams.negated(build.condition(each)))
    except FwpolicyError:  # too large to tell
        return False
    return left == NO
