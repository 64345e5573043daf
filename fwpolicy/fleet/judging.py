"""Every host of a repository held against its organisation's invariants."""

from __future__ import annotations

import json

from fwpolicy.errors import FwpolicyError, PolicyError, Problem
from fwpolicy.fleet.build import expires
from fwpolicy.fleet.invariants import load
from fwpolicy.fleet.judge import violations
from fwpolicy.fleet.run import Kept, worked
from fwpolicy.fleet.telling import decider, located
from fwpolicy.fleet.unit import Reading, file_of, load_unit
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.errors import Span
    from fwpolicy.fleet.invariants import Invariant
    from fwpolicy.fleet.inventory import Host, Inventory
    from fwpolicy.fleet.judge import Violation
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Run
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.policy.syntax import Sources

_DAY = 86400
_HELD = b"held"


@record
class Broken:
    """An invariant that does not hold on `hosts`: `message` with its line, a packet, and what decides.
    Without a packet nothing is concluded, and `message` says why."""

    origin: Span
    packet: str
    by: str
    message: str
    hosts: tuple[str, ...]


@record
class Doubt:
    """A warning about an invariant, rendered, and the hosts that it is about."""

    origin: Span
    message: str
    hosts: tuple[str, ...]


@record
class Judgement:
    """`number` invariants were asked for; `broken`: those that do not hold; `doubts`: of others, why they may
    say less than they seem to."""

    number: int
    broken: tuple[Broken, ...]
    doubts: tuple[Doubt, ...] = ()


@record
class _Task:
    """Invariants, by number, that some of a unit's hosts must keep."""

    unit: Unit
    numbers: tuple[int, ...]
    hosts: tuple[str, ...]


def judge_all(repository: Repository, run: Run) -> Judgement:
    """Every invariant for every host that it is about. Policies that are wrong are left out: what is wrong
    with them is build_all's to say. Raises PolicyError for the invariants' own mistakes, HostError."""
    reading = Reading(repository.tree)
    invariants = invariants_of(repository, reading)
    if not invariants:
        return Judgement(0, ())
    tasks = _tasks(repository, invariants)
    asked = ["judge", sorted(reading.seen.items()), repository.inventory.text.file]
    kept = Kept(run.store, repository.tree, asked)
    today = run.now // _DAY
    left = [task for task in tasks if kept.get(_key(task)) not in (_HELD, _held_on(today))]
    found: dict[tuple[int, str, str, str], list[str]] = {}
    doubtful: dict[tuple[int, str], list[str]] = {}

    def work(number: int) -> bytes:
        task = left[number]
        own = Reading(repository.tree)
        ends, broken, doubts = _of_task(task, invariants, repository, own, today * _DAY)
        if ends is not None and not broken and not doubts:
            kept.put(_key(task), own.seen, _held_on(today) if ends else _HELD)
        return json.dumps([broken, doubts]).encode()

    for number, data in worked(work, len(left), "policies held against the invariants", run.told):
        broken, doubts = json.loads(data)
        for which, packet, by, message in broken:
            found.setdefault((which, packet, by, message), []).extend(left[number].hosts)
        for which, message in doubts:
            doubtful.setdefault((which, message), []).extend(left[number].hosts)
    return Judgement(
        len(invariants),
        tuple(_broken(invariants, key, hosts) for key, hosts in sorted(found.items())),
        tuple(
            Doubt(invariants[which].origin, message, tuple(hosts))
            for (which, message), hosts in sorted(doubtful.items())
        ),
    )


def _broken(invariants: tuple[Invariant, ...], key: tuple[int, str, str, str], hosts: list[str]) -> Broken:
    number, packet, by, message = key
    return Broken(invariants[number].origin, packet, by, message, tuple(hosts))


def _key(task: _Task) -> str:
    return f"{task.unit.key} {','.join(map(str, task.numbers))}"


def invariants_of(repository: Repository, reading: Reading) -> tuple[Invariant, ...]:
    """The repository's invariants. Raises PolicyError for their own mistakes."""
    inventory = repository.inventory
    known = {*inventory.groups, *(host.name for host in inventory.hosts), *inventory.unmanaged}
    found: list[Invariant] = []
    problems: list[Problem] = []
    for word in inventory.invariants:
        name = file_of(inventory, word)
        try:
            own = load(name, reading.read(name), reading.read, known)
            problems += [_about_nobody(each) for each in own if not _managed(each, inventory)]
            found += own
        except OSError as error:
            message = f"cannot read {name}: {error.strerror or error}"
            problems.append(inventory.text.problem(message, word.span))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(tuple(problems))
    return tuple(found)


def _managed(invariant: Invariant, inventory: Inventory) -> bool:
    """Whether it is about a host that has policies."""
    return invariant.hosts is None or any(concerns(invariant, host) for host in inventory.hosts)


def _about_nobody(invariant: Invariant) -> Problem:
    hint = "it would hold whatever anybody writes"
    return Problem("no host that this line is about has a policy", invariant.origin, None, hint)


def concerns(invariant: Invariant, host: Host) -> bool:
    """Whether a host has to keep an invariant."""
    return invariant.hosts is None or not {host.name, *host.groups}.isdisjoint(invariant.hosts)


def _tasks(repository: Repository, invariants: tuple[Invariant, ...]) -> list[_Task]:
    """A unit once for each different choice of invariants that its hosts have."""
    by_name = {host.name: host for host in repository.inventory.hosts}
    tasks = []
    for unit in repository.units:
        by_numbers: dict[tuple[int, ...], list[str]] = {}
        for host in unit.hosts:
            numbers = tuple(n for n, each in enumerate(invariants) if concerns(each, by_name[host]))
            by_numbers.setdefault(numbers, []).append(host)
        tasks += [_Task(unit, numbers, tuple(hosts)) for numbers, hosts in by_numbers.items() if numbers]
    return tasks


def _held_on(day: int) -> bytes:
    return f"held on {day}".encode()


def _of_task(
    task: _Task, invariants: tuple[Invariant, ...], repository: Repository, reading: Reading, now: int
) -> tuple[bool | None, list[tuple[int, str, str, str]], list[tuple[int, str]]]:
    """(whether it may be otherwise on another day, None where the policy is wrong; of each invariant that
    does not hold its number, a packet, who decides, the message; number and message of what is doubtful)."""
    chosen = [invariants[number] for number in task.numbers]
    try:
        policy, sources = load_unit(task.unit, repository.inventory, reading)
    except PolicyError:
        return None, [], []
    doubts = [
        (number, located(problem, reading))
        for number, each in zip(task.numbers, chosen, strict=True)
        for problem in _other_zones(each, sources)
    ]
    try:
        found = list(violations(policy, chosen, now))
    except FwpolicyError as error:
        return True, [(task.numbers[0], "", "", str(error))], doubts
    broken = [_told(task.numbers[each.number], chosen[each.number], each, reading) for each in found]
    return expires(policy), broken, doubts


def _other_zones(invariant: Invariant, sources: Sources) -> Iterator[Problem]:
    """Interfaces that a host has in a zone and the invariant has not in its own of that name: it says nothing
    of what comes by them."""
    zones = {zone.name.text: zone for each in sources.files for zone in each.zones}
    for name, own in invariant.zones:
        theirs = [word.text for word in zones[name].interfaces] if name in zones else []
        others = [each for each in theirs if not any(_covers(mine, each) for mine in own)]
        if others:
            message = f"zone '{name}' is {', '.join(own)} here, and {', '.join(theirs)} on these hosts"
            hint = f"zones: {{{name}: [{', '.join((*own, *others))}]}}   makes the line about all of them"
            yield Problem(message, invariant.origin, None, hint, "warning")


def _covers(interface: str, other: str) -> bool:
    stem = interface.removesuffix("*")
    return other.startswith(stem) if stem != interface else other == interface


def _told(
    number: int, invariant: Invariant, violation: Violation, reading: Reading
) -> tuple[int, str, str, str]:
    if violation.packet is None:
        problem = Problem("no packet is what this line is about", invariant.origin)
        return number, "", "", located(problem, reading)
    by = decider(violation.rule, reading)
    said = f"this must {'always' if invariant.always else 'never'} be let through"
    said += f", and is{' not' if invariant.always else ''}"
    verb = "stopped" if invariant.always else "let through"
    hint = f"packet: {violation.packet}\n        {verb} by {by}"
    return number, violation.packet, by, located(Problem(said, invariant.origin, None, hint), reading)
