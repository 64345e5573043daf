"""What a change of the repository does to the traffic of every host, each different change once."""

from __future__ import annotations

import json

from fwpolicy.errors import FwpolicyError
from fwpolicy.fleet.risk import risks
from fwpolicy.fleet.run import kept_builds, worked
from fwpolicy.fleet.telling import decider
from fwpolicy.fleet.unit import Reading, load_unit
from fwpolicy.model.compare import changes
from fwpolicy.model.concrete import to_packet
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import spoken
from fwpolicy.policy.vocabulary import joined, vocabulary
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Run
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Program
    from fwpolicy.policy.vocabulary import Vocabulary


@record
class Side:
    """Who decides on traffic, and how; `by`: the policy's line, or what else says so."""

    verdict: str
    by: str


@record
class Traffic:
    """Packets that are newly allowed or denied: as model.compare.Change, in words. `level`, `risks`: how
    risky, and why."""

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
    """`traffic`: each change with the hosts that it is about, the riskiest first. `wrong`: why hosts could
    not be compared, with these. `added`, `removed`, `same`: hosts."""

    traffic: tuple[tuple[Traffic, tuple[str, ...]], ...]
    wrong: tuple[tuple[str, tuple[str, ...]], ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    same: tuple[str, ...]


def compare(old: Repository, new: Repository, run: Run) -> Comparison:
    """What is different in `new`. Raises HostError."""
    before = {host: unit for unit in old.units for host in unit.hosts}
    after = {host: unit for unit in new.units for host in unit.hosts}
    pairs: dict[tuple[str, str], list[str]] = {}
    units: dict[str, Unit] = {unit.key: unit for unit in (*old.units, *new.units)}
    for host in (each.name for each in new.inventory.hosts if each.name in before):
        pairs.setdefault((before[host].key, after[host].key), []).append(host)
    same = _same(old, new, run, tuple(pairs))
    left = [pair for pair in pairs if pair not in same]
    traffic: dict[Traffic, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    alike = [host for pair in same for host in pairs[pair]]

    def work(number: int) -> bytes:
        one, other = left[number]
        old_unit = next(unit for unit in old.units if unit.key == one)
        return json.dumps(_of_pair(old, old_unit, new, units[other])).encode()

    for number, data in worked(work, len(left), "policies compared", run.told):
        found, hosts = json.loads(data), pairs[left[number]]
        if isinstance(found, str):
            wrong.setdefault(found, []).extend(hosts)
        elif not found:
            alike += hosts
        else:
            for each in map(_traffic, found):
                traffic.setdefault(each, []).extend(hosts)
    place = {host.name: number for number, host in enumerate(new.inventory.hosts)}
    ordered = {each: tuple(sorted(hosts, key=place.__getitem__)) for each, hosts in traffic.items()}
    return Comparison(
        tuple(sorted(ordered.items(), key=lambda item: (*_order(item[0]), place[item[1][0]]))),
        tuple((message, tuple(hosts)) for message, hosts in wrong.items()),
        tuple(host for host in after if host not in before),
        tuple(host for host in before if host not in after),
        tuple(alike),
    )


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


def _of_pair(old: Repository, one: Unit, new: Repository, other: Unit) -> str | list[dict[str, object]]:
    """Traffic as plain values; why it cannot be told instead."""
    try:
        before, after = Reading(old.tree), Reading(new.tree)
        old_program, old_names = _read(one, old, before)
        new_program, new_names = _read(other, new, after)
        if one.key == other.key and before.seen == after.seen:
            return []
        found = changes(old_program, new_program, joined(new_names, old_names))
        return [_plain(change, before, after) for change in found]
    except FwpolicyError as error:
        return str(error)


def _read(unit: Unit, repository: Repository, reading: Reading) -> tuple[Program, Vocabulary]:
    policy, sources = load_unit(unit, repository.inventory, reading)
    return of_policy(policy), vocabulary(sources, reading.read)


def _plain(change: Change, before: Reading, after: Reading) -> dict[str, object]:
    level, why = risks(change)
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
