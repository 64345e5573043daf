"""What a change of the repository does to the traffic of every host, each different change once."""

from __future__ import annotations

import json

from fwpolicy.errors import FwpolicyError, PolicyError
from fwpolicy.fleet.risk import INTERNET_TO_ADMIN, NONE, together
from fwpolicy.fleet.rulechanges import rule_changes
from fwpolicy.fleet.run import kept_builds, worked
from fwpolicy.fleet.telling import decider
from fwpolicy.fleet.unit import Reading, load_unit
from fwpolicy.model.compare import changes
from fwpolicy.model.concrete import to_packet
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import from_time, spoken
from fwpolicy.policy.load import load
from fwpolicy.policy.vocabulary import joined, vocabulary
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.rulechanges import RuleChange
    from fwpolicy.fleet.run import Run
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Program
    from fwpolicy.policy.vocabulary import Vocabulary

    K = TypeVar("K")


@record
class Side:
    """Who decides on traffic, and how; `by`: the policy's line, or what else says so."""

    verdict: str
    by: str


NEW = Side("nothing", "the host is new")
_SHUT = b"version: 1\nname: shut\ninput: {default: drop}\n"


@record
class Traffic:
    """Packets that are newly allowed or denied: as model.compare.Change, in words. `level`, `risks`: how
    risky, and why. Of a host that is new only what is risky, with NEW as the old side."""

    now: str
    hook: str
    classes: tuple[str, ...]
    old: Side
    new: Side
    packet: str
    level: int
    risks: tuple[str, ...]


@record
class Comparison:
    """`traffic`: each change with the hosts that it is about, the riskiest first; `rules`: likewise those of
    the invariants. `wrong`: why hosts could not be compared, with these (without any: their invariants).
    `added`, `removed`, `same`: hosts; `abandoned`: hosts of the inventory that had policies and have none."""

    traffic: tuple[tuple[Traffic, tuple[str, ...]], ...]
    wrong: tuple[tuple[str, tuple[str, ...]], ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    same: tuple[str, ...]
    rules: tuple[tuple[RuleChange, tuple[str, ...]], ...] = ()
    abandoned: tuple[str, ...] = ()

    @property
    def risk(self) -> int:
        """Of all of it. What an abandoned host lets through nobody looks at any more; once somebody removes
        what is in force there it is all."""
        levels = [each.level for each, _ in self.traffic] + [each.level for each, _ in self.rules]
        return max(*levels, INTERNET_TO_ADMIN if self.abandoned else NONE, NONE)

    @property
    def differs(self) -> bool:
        return any((self.traffic, self.rules, self.abandoned, self.added, self.removed))


def compare(old: Repository, new: Repository, run: Run) -> Comparison:
    """What is different in `new`. Raises HostError."""
    before = {host: unit for unit in old.units for host in unit.hosts}
    after = {host: unit for unit in new.units for host in unit.hosts}
    names = [host.name for host in new.inventory.hosts]
    added = tuple(host for host in names if host not in before)
    both = [host for host in names if host in before]
    pairs = _grouped(both, lambda host: (before[host].key, after[host].key))
    found = _Found()
    for pair in _same(old, new, run, tuple(pairs)):
        found.same += pairs.pop(pair)
    left = (*pairs.values(), *_grouped(added, lambda host: after[host].key).values())

    def work(number: int) -> bytes:
        host = left[number][0]
        same = before.get(host)
        unit = after[host]
        told = _of_pair(old, same, new, unit, run.now) if same else _of_new(new, unit, run.now)
        return json.dumps(told).encode()

    for number, data in worked(work, len(left), "policies compared", run.told):
        found.take(json.loads(data), left[number])
    gone = [host for host in before if host not in after]
    left_alone = frozenset(new.inventory.unmanaged)
    removed = tuple(host for host in gone if host not in left_alone)
    found.same = [host for host in found.same if host in before]
    compared = found.comparison({host: place for place, host in enumerate(names)}, added, removed)
    abandoned = tuple(host for host in gone if host in left_alone)
    try:
        return replace(compared, abandoned=abandoned, rules=rule_changes(old, new, run.now))
    except PolicyError as error:
        wrong = (*compared.wrong, (str(error), ()))
        return replace(compared, abandoned=abandoned, wrong=wrong)


def _grouped(hosts: Iterable[str], key: Callable[[str], K]) -> dict[K, list[str]]:
    found: dict[K, list[str]] = {}
    for host in hosts:
        found.setdefault(key(host), []).append(host)
    return found


class _Found:
    """What pairs of policies differ in, each different change once."""

    def __init__(self) -> None:
        self.traffic: dict[Traffic, list[str]] = {}
        self.wrong: dict[str, list[str]] = {}
        self.same: list[str] = []

    def take(self, of_pair: str | list[dict[str, object]], hosts: list[str]) -> None:
        """What _of_pair said of these hosts."""
        if isinstance(of_pair, str):
            self.wrong.setdefault(of_pair, []).extend(hosts)
        elif not of_pair:
            self.same += hosts
        else:
            for each in map(_traffic, of_pair):
                self.traffic.setdefault(each, []).extend(hosts)

    def comparison(
        self, place: dict[str, int], added: tuple[str, ...], removed: tuple[str, ...]
    ) -> Comparison:
        """All of it, in the order of the inventory (`place` of each host)."""
        ordered = ((each, tuple(sorted(own, key=place.__getitem__))) for each, own in self.traffic.items())
        traffic = sorted(ordered, key=lambda item: (*_order(item[0]), place[item[1][0]]))
        wrong = tuple((message, tuple(hosts)) for message, hosts in self.wrong.items())
        return Comparison(tuple(traffic), wrong, added, removed, tuple(self.same))


def _order(traffic: Traffic) -> tuple[int, str, str, tuple[str, ...]]:
    return -traffic.level, traffic.now, traffic.hook, traffic.classes


def _same(
    old: Repository, new: Repository, run: Run, pairs: tuple[tuple[str, str], ...]
) -> frozenset[tuple[str, str]]:
    """The pairs of which every file that is read is the same on both sides, where that is known already."""
    known, before = kept_builds(new, run), kept_builds(old, run)
    found = set()
    for pair in pairs:
        names = known.files_read(pair[1]) if pair[0] == pair[1] else None
        if names is not None and all(known.digest(name) == before.digest(name) for name in names):
            found.add(pair)
    return frozenset(found)


def _of_pair(
    old: Repository, one: Unit, new: Repository, other: Unit, now: int
) -> str | list[dict[str, object]]:
    """Traffic from `now` on as plain values; why it cannot be told instead."""
    try:
        before, after = Reading(old.tree), Reading(new.tree)
        old_program, old_names = _read(one, old, before, now)
        new_program, new_names = _read(other, new, after, now)
        if one.key == other.key and before.seen == after.seen:
            return []
        return _plain(changes(old_program, new_program, joined(new_names, old_names)), before, after)
    except FwpolicyError as error:
        return str(error)


def _of_new(repository: Repository, unit: Unit, now: int) -> str | list[dict[str, object]]:
    """The risky traffic that a new host lets in or through, as if it had let in nothing before; why it cannot
    be told instead."""
    try:
        reading = Reading(repository.tree)
        policy, sources = load_unit(unit, repository.inventory, reading)
        passes = policy.forward is not None or policy.nat is not None
        shut = load((("shut", _SHUT + (b"forward: {default: drop}\n" if passes else b"")),), reading.read)
        found = changes(of_policy(shut), from_time(of_policy(policy), now), vocabulary(sources, reading.read))
        told = _plain(found, reading, reading)
        return [each | {"old": [NEW.verdict, NEW.by]} for each in told if each["level"]]
    except FwpolicyError as error:
        return str(error)


def _read(unit: Unit, repository: Repository, reading: Reading, now: int) -> tuple[Program, Vocabulary]:
    policy, sources = load_unit(unit, repository.inventory, reading)
    return from_time(of_policy(policy), now), vocabulary(sources, reading.read)


def _plain(changes: Iterable[Change], before: Reading, after: Reading) -> list[dict[str, object]]:
    """All of one host's."""
    found = tuple(changes)
    rated = zip(found, together(found), strict=True)
    return [_one(change, level, why, before, after) for change, (level, why) in rated]


def _one(
    change: Change, level: int, why: tuple[str, ...], before: Reading, after: Reading
) -> dict[str, object]:
    return {
        "now": change.what,
        "hook": change.hook,
        "classes": change.classes,
        "old": [spoken(change.old.kind), decider(change.old.rule, before)],
        "new": [spoken(change.new.kind), decider(change.new.rule, after)],
        "packet": str(to_packet(change.hook, change.packet)),
        "level": level,
        "risks": why,
    }


def _traffic(plain: dict[str, object]) -> Traffic:
    values: dict[str, Any] = dict(plain)
    values |= {side: Side(*values[side]) for side in ("old", "new")}
    values |= {key: tuple(values[key]) for key in ("classes", "risks")}
    return Traffic(**values)
