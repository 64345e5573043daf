"""From the table that the kernel has to the one that is wanted, in one transaction.

The file that `render` makes stands for itself: it starts from nothing, and so do its counters and
sets. Knowing what is there, counters go on counting, dynamic groups keep their members, sources the
limits they have used up, and a large set that has not changed is not loaded again.

What was measured, nft 1.0.6 and Linux 6.18: `flush table` takes the rules and nothing else; a chain
declared again takes the new policy, but no other hook or priority; a counter declared again keeps
its numbers, a limit its old rate without a word; an element of a set keeps the limit that it was
made with, whatever the rule says now.

Elements are slow as text (elements.py): where only they change, or a set is new and large, they go over
netlink. As text, 20 of 10,000 changed take 7 ms, against 48 for the set anew; with ranges among them nft
first reads the set that is there: 147 ms against 96.
"""

from __future__ import annotations

from fwpolicy.backends.nft.elements import Change
from fwpolicy.backends.nft.read import alike, difference, normal_map, same
from fwpolicy.backends.nft.render import artifact, table_lines
from fwpolicy.backends.nft.words import interval_text
from fwpolicy.ir.ruleset import PerSource, Ruleset, Set, Table
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.artifact import Artifact
    from fwpolicy.ir.ruleset import DynamicSet

    Sets = dict[str, Set | DynamicSet]

# From how many elements on a new set is filled over netlink: a transaction of its own takes as long as
# nft takes to read so many.
FILL = 256


@record
class Load:
    """A way to the table that is wanted: `changes` to sets in a transaction of their own, then a text in one.

    Without a text the changes are all, and their one transaction is whole or not at all. With one they
    only make sets that no rule knows yet. `new_table`: there is no table to make them in.
    """

    artifact: Artifact | None
    changes: tuple[Change, ...] = ()
    new_table: bool = False


# As text alone, which is made when it is needed: with 100,000 elements that takes 200 ms.
WHOLE = Load(None)


def fresh(ruleset: Ruleset, source: str) -> Load:
    """The way from nothing."""
    (wanted,) = ruleset.tables
    fills = _fills(wanted.sets)
    return Load(_named(artifact(table_lines(wanted, _names(fills)), source)), fills, new_table=True)


def reload(ruleset: Ruleset, live: Table, source: str, *, whole_sets: bool = False) -> Load:
    """The way from `live` to the one table of `ruleset`.

    Of a set that changed only the elements that did are named, unless `whole_sets`: the kernel may
    hold two neighbours that a listing is read as one interval of, and refuses to delete that.
    If the kernel's table is no longer `live` it may be refused, and then nothing has changed.
    """
    (wanted,) = ruleset.tables
    changes = () if whole_sets else _changes(wanted, live)
    if changes and _differ_in_elements_only(wanted, live, changes):
        return Load(None, changes)
    changes = tuple(each for each in changes if _is_worth_it(each, wanted))
    changed = _names(changes)
    kept = _kept_sets(wanted, live) | {each.name: each for each in wanted.sets if each.name in changed}
    maps = _kept_maps(wanted, live)
    known = set(live.limits)
    new = replace(
        wanted,
        sets=tuple(each for each in wanted.sets if each.name not in kept),
        limits=tuple(limit for limit in wanted.limits if limit not in known),
        maps=tuple(each for each in wanted.maps if each.name not in maps),
    )
    there = {each.name for each in live.sets}
    fills = () if whole_sets else _fills(tuple(each for each in new.sets if each.name not in there))
    commands = [*_making_room(wanted, live, kept), *_element_commands(wanted, changes)]
    lines = [*((command, None) for command in commands), *table_lines(new, _names(fills))]
    return Load(_named(artifact(lines, source)), fills)


def back(before: Table, live: Table, listed: str) -> str:
    """The text that turns `live` into what it was: `before`, which nft listed as `listed`.

    What is in both goes on; what is no longer there comes back with what `listed` says it had counted
    and collected. `listed` may leave out the elements of sets of addresses.
    """
    kept = _kept_sets(before, live)
    return "\n".join([*_making_room(before, live, kept), listed, elements_of(before, frozenset(kept))])


def elements_of(table: Table, but: frozenset[str] = frozenset()) -> str:
    """The commands that fill the sets of addresses of `table`, those of `but` left out."""
    sets = (each for each in table.sets if isinstance(each, Set) and each.name not in but)
    changes = (Change(each.name, each.family, each.has_ranges, (), each.intervals) for each in sets)
    return "".join(f"{command}\n" for command in _element_commands(table, changes))


def _named(made: Artifact) -> Artifact:
    return replace(made, name="reload.nft")


def _making_room(wanted: Table, live: Table, kept: Sets) -> list[str]:
    """No rule is left, nor what is no longer wanted, nor what could not be declared over itself."""
    where = f"{wanted.family} {wanted.name}"
    maps = _kept_maps(wanted, live)
    return [
        f"table {where}",
        f"flush table {where}",
        # Before the chains and counters that they name.
        *(f"delete map {where} {each.name}" for each in live.maps if each.name not in maps),
        *(f"delete {kind} {where} {name}" for kind, name in _gone(wanted, live, kept)),
        *(f"flush set {where} {name}" for name in sorted(_stale(wanted, live, kept))),
    ]


# Elements


def _changes(wanted: Table, live: Table) -> tuple[Change, ...]:
    """The sets whose elements can be changed one by one."""
    there = {each.name: each for each in live.sets}
    found = []
    for each in wanted.sets:
        before = there.get(each.name)
        if not isinstance(each, Set) or not isinstance(before, Set) or before.family != each.family:
            continue
        gone, new = difference(before, each)
        if (gone or new) and before.has_ranges == each.has_ranges:
            found.append(Change(each.name, each.family, each.has_ranges, gone, new))
    return tuple(found)


def _is_worth_it(change: Change, wanted: Table) -> bool:
    """As text: is it less than the whole set?"""
    sizes = {each.name: len(each.intervals) for each in wanted.sets if isinstance(each, Set)}
    return len(change.gone) + len(change.new) <= sizes[change.name]


def _fills(sets: tuple[Set | DynamicSet, ...]) -> tuple[Change, ...]:
    return tuple(
        Change(each.name, each.family, each.has_ranges, (), each.intervals, made=True)
        for each in sets
        if isinstance(each, Set) and len(each.intervals) >= FILL
    )


def _names(changes: tuple[Change, ...]) -> frozenset[str]:
    return frozenset(change.name for change in changes)


def _element_commands(table: Table, changes: Iterable[Change]) -> Iterable[str]:
    """Deletions first: what comes may overlap what goes."""
    for change in changes:
        for verb, intervals in (("delete", change.gone), ("add", change.new)):
            if intervals:
                members = ", ".join(interval_text(change.family, interval) for interval in intervals)
                yield f"{verb} element {table.family} {table.name} {change.name} {{ {members} }}"


def _differ_in_elements_only(wanted: Table, live: Table, changes: tuple[Change, ...]) -> bool:
    there = {each.name: each for each in live.sets}
    names = _names(changes)
    sets = tuple(there[each.name] if each.name in names else each for each in wanted.sets)
    alike = same(Ruleset((live,)), Ruleset((replace(wanted, sets=sets),)))
    return alike and not _stale(wanted, live, _kept_sets(wanted, live))


# Objects


def _kept_sets(wanted: Table, live: Table) -> Sets:
    there = {each.name: each for each in live.sets}
    return {each.name: each for each in wanted.sets if alike(there.get(each.name), each)}


def _kept_maps(wanted: Table, live: Table) -> set[str]:
    there = {each.name: normal_map(each) for each in live.maps}
    return {each.name for each in wanted.maps if there.get(each.name) == normal_map(each)}


def _gone(wanted: Table, live: Table, kept: Sets) -> Iterable[tuple[str, str]]:
    """(kind, name) of what is no longer wanted, or no longer like this."""
    bases = {chain.name: chain.base for chain in wanted.chains}
    for chain in live.chains:
        base = bases.get(chain.name)
        same_hook = chain.base and base and replace(chain.base, policy=base.policy) == base
        if chain.name not in bases or not (same_hook or chain.base == base):
            yield "chain", chain.name
    yield from (("set", each.name) for each in live.sets if each.name not in kept)
    yield from (("counter", name) for name in live.counters if name not in set(wanted.counters))
    yield from (("limit", limit.name) for limit in live.limits if limit not in set(wanted.limits))


def _stale(wanted: Table, live: Table, kept: Sets) -> set[str]:
    """Sets of sources whose elements were made with another limit."""
    before, after = _bounds(live), _bounds(wanted)
    return {name for name in kept if name in after and before.get(name) != after[name]}


def _bounds(table: Table) -> dict[str, set[PerSource]]:
    found: dict[str, set[PerSource]] = {}
    for chain in table.chains:
        for rule in chain.rules:
            for match in rule.matches:
                if isinstance(match, PerSource):
                    found.setdefault(match.set_name, set()).add(match)
    return found
