"""A whole fleet at a glance: what the policies say, worked out unit by unit, beside what the hosts say."""

from __future__ import annotations

from fwpolicy.errors import PolicyError
from fwpolicy.fleet import digests
from fwpolicy.fleet.facts import MISSING
from fwpolicy.fleet.looked import Looked, from_bytes, look, to_bytes
from fwpolicy.fleet.places import places
from fwpolicy.fleet.run import Kept, worked
from fwpolicy.fleet.unit import Reading, load_unit
from fwpolicy.policy.vocabulary import vocabulary
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwpolicy.fleet.facts import Facts
    from fwpolicy.fleet.judging import Judgement
    from fwpolicy.fleet.places import Place
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.run import Built, Run
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.policy.model import Policy
    from fwpolicy.policy.vocabulary import Vocabulary

    Loaded = tuple[Policy, Vocabulary, Reading]
_DAY = 86400


@record
class Came:
    """Where a repository's files come from: the commit that is checked out (`time`: Unix); `changed`: files
    are not as it has them."""

    commit: str
    author: str
    time: int
    changed: bool


@record
class Seen:
    """A unit: its hosts, the files of its policies, what `check` says, and what was looked at (None where the
    policies are wrong)."""

    hosts: tuple[str, ...]
    policies: tuple[str, ...]
    wrong: str
    looked: Looked | None


@record
class Overview:
    """All that a report tells. `now`: Unix time; `groups`: hosts by group; `given`: whether facts were."""

    inventory: str
    now: int
    tool: str
    came: Came | None
    proved: bool
    groups: Mapping[str, tuple[str, ...]]
    unmanaged: tuple[str, ...]
    places: tuple[Place, ...]
    units: tuple[Seen, ...]
    judgement: Judgement
    given: bool
    facts: Mapping[str, Facts]

    def facts_of(self, host: str) -> Facts:
        return self.facts.get(host, MISSING)


def seen_units(
    repository: Repository, built: tuple[Built, ...], run: Run
) -> tuple[tuple[Place, ...], tuple[Seen, ...]]:
    """(the places of the whole fleet, every unit). Raises HostError."""
    loaded: dict[str, Loaded] = {}
    for unit in repository.units:
        if (read := _load(unit, repository)) is not None:
            loaded[unit.key] = read
    known = places(names for _, names, _ in loaded.values())
    asked = ["report", run.now // _DAY, _told(known), repository.inventory.text.file]
    kept = Kept(run.store, repository.tree, asked)
    done = {key: looked for key in loaded if (looked := from_bytes(kept.get(key) or b"")) is not None}
    todo = [key for key in loaded if key not in done]

    def work(number: int) -> bytes:
        policy, names, reading = loaded[todo[number]]
        data = to_bytes(look(policy, names, known, reading, run.now))
        kept.put(todo[number], reading.seen, data)
        return data

    for number, data in worked(work, len(todo), "policies looked at", run.told):
        looked = from_bytes(data)
        assert looked is not None  # noqa: S101  (it was one before)
        done[todo[number]] = looked
    return known, tuple(_seen(each, done.get(each.unit.key)) for each in built)


def _load(unit: Unit, repository: Repository) -> Loaded | None:
    reading = Reading(repository.tree)
    try:
        policy, sources = load_unit(unit, repository.inventory, reading)
        return policy, vocabulary(sources, reading.read), reading
    except PolicyError:
        return None


def _told(known: tuple[Place, ...]) -> str:
    """The places as plain values."""
    meanings = [(each.name, each.kind, each.meaning and [each.meaning.v4, each.meaning.v6]) for each in known]
    return digests.of_value(meanings)


def _seen(each: Built, looked: Looked | None) -> Seen:
    words = tuple(word.text for word in each.unit.policies)
    return Seen(each.unit.hosts, words, each.outcome.message if each.outcome.exit_code else "", looked)
