"""Every unit of a repository built: those whose files are as they were from what is kept, the others in as
many processes as there are processors."""

from __future__ import annotations

import json

from fwpolicy.fleet import digests, outcome
from fwpolicy.fleet.build import build, lasting
from fwpolicy.host import workers
from fwpolicy.host.store import own_text
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwpolicy.fleet.outcome import Outcome
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.unit import Tree, Unit
    from fwpolicy.host.store import Store

    Told = Callable[[int, int, str], None]


@record
class Run:
    """How to build. `now`: Unix time; `proved`: the proofs are part of it; `told` hears how far it is."""

    store: Store
    now: int
    proved: bool
    told: Told


@record
class Built:
    """A unit and what became of it; `kept`: it was known already."""

    unit: Unit
    outcome: Outcome
    kept: bool


class Kept:
    """Results of earlier runs, each under the digests of all that it was made from: this program, what was
    asked, and every file that was read. Nobody need believe a time stamp."""

    def __init__(self, store: Store, tree: Tree, asked: object) -> None:
        self.store = store
        self.tree = tree
        self.asked = digests.of_value([digests.of_files(own_text()), asked])
        self.files: dict[str, str] = {}

    def get(self, key: str) -> bytes | None:
        """The result under `key` if the files that it was made from are as they were then."""
        names = self._names(key)
        return None if names is None else self.store.get("made", self._made(key, names))

    def files_read(self, key: str) -> list[str] | None:
        """The files that the result under `key` was made from, if it still stands."""
        names = self._names(key)
        return names if names is not None and self.get(key) is not None else None

    def put(self, key: str, read: dict[str, str], result: bytes) -> None:
        """Keep a result; `read`: the files that it was made from, with the digests that were read."""
        names = sorted(read)
        self.store.put(
            "made", digests.of_value([self._key(key), [(name, read[name]) for name in names]]), result
        )
        self.store.put("read", self._key(key), json.dumps(names).encode())

    def _names(self, key: str) -> list[str] | None:
        """The files that a result was made from; None where that is not kept, or damaged."""
        try:
            names = json.loads(self.store.get("read", self._key(key)) or b"null")
        except (ValueError, RecursionError):
            return None
        whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return names if whole else None

    def _key(self, key: str) -> str:
        return digests.of_value([self.asked, key])

    def _made(self, key: str, names: list[str]) -> str:
        return digests.of_value([self._key(key), [(name, self.digest(name)) for name in names]])

    def digest(self, name: str) -> str:
        """Of the file as it is in the tree."""
        if name not in self.files:
            try:
                self.files[name] = digests.of_bytes(self.tree.read(name))
            except (OSError, ValueError):  # ValueError: no file has such a name
                self.files[name] = digests.ABSENT
        return self.files[name]


def kept_builds(repository: Repository, run: Run) -> Kept:
    """What earlier runs made of units."""
    return Kept(run.store, repository.tree, ["build", run.proved, repository.inventory.text.file])


def build_all(repository: Repository, run: Run) -> tuple[Built, ...]:
    """Every unit, in the inventory's order. Raises HostError."""
    kept = kept_builds(repository, run)
    done = {
        number: found
        for number, unit in enumerate(repository.units)
        if (found := _known(kept, unit, run.now)) is not None
    }
    left = [number for number in range(len(repository.units)) if number not in done]
    made = dict(_made([repository.units[number] for number in left], repository, run, kept))
    fresh = {left[place]: found for place, found in made.items()}
    if fresh:
        run.store.prune()
    return tuple(
        Built(unit, done.get(number) or fresh[number], number in done)
        for number, unit in enumerate(repository.units)
    )


def _known(kept: Kept, unit: Unit, now: int) -> Outcome | None:
    data = kept.get(unit.key)
    found = outcome.from_bytes(data) if data is not None else None
    return found if found is not None and found.day in (None, now // 86400) else None


def _made(units: list[Unit], repository: Repository, run: Run, kept: Kept) -> Iterator[tuple[int, Outcome]]:
    def work(number: int) -> bytes:
        found = build(units[number], repository, run.now, run.proved)
        data = outcome.to_bytes(found)
        if lasting(found, repository):
            kept.put(units[number].key, found.read, data)
        return data

    for number, data in worked(work, len(units), "policies", run.told):
        found = outcome.from_bytes(data)
        assert found is not None  # noqa: S101  (it was an outcome before)
        yield number, found


def worked(work: Callable[[int], bytes], count: int, what: str, told: Told) -> Iterator[tuple[int, bytes]]:
    """`work` in processes; how far it is is `told`."""
    for done, (number, data) in enumerate(workers.each(work, count), 1):
        told(done, count, what)
        yield number, data
