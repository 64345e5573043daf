"""From the table that the kernel has to the one that is wanted, in one transaction.

The file that `render` makes stands for itself: it starts from nothing, and so do its counters and
sets. Knowing what is there, counters go on counting, dynamic groups keep their members, sources the
limits they have used up, and a large set that has not changed is not loaded again.

What was measured, nft 1.0.6 and Linux 6.18: `flush table` takes the rules and nothing else; a chain
declared again takes the new policy, but no other hook or priority; a counter declared again keeps
its numbers, a limit its old rate without a word; an element of a set keeps the limit that it was
made with, whatever the rule says now.
"""

from __future__ import annotations

from fwpolicy.backends.nft.read import normal_map
from fwpolicy.backends.nft.render import artifact, table_lines
from fwpolicy.ir.ruleset import PerSource, Ruleset, Table
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.artifact import Artifact
    from fwpolicy.ir.ruleset import DynamicSet, Set

    Sets = dict[str, Set | DynamicSet]


def reload(ruleset: Ruleset, live: Table, source: str) -> Artifact:
    """The text that turns `live` into the one table of `ruleset`.

    If the kernel's table is no longer `live` it may be refused, and then nothing has changed.
    """
    (wanted,) = ruleset.tables
    where = f"{wanted.family} {wanted.name}"
    kept = _kept_sets(wanted, live)
    maps = _kept_maps(wanted, live)
    commands = [
        f"table {where}",
        f"flush table {where}",
        # Before the chains and counters that they name.
        *(f"delete map {where} {each.name}" for each in live.maps if each.name not in maps),
        *(f"delete {kind} {where} {name}" for kind, name in _gone(wanted, live, kept)),
        *(f"flush set {where} {name}" for name in sorted(_stale(wanted, live, kept))),
    ]
    known = set(live.limits)
    new = replace(
        wanted,
        sets=tuple(each for each in wanted.sets if each.name not in kept),
        limits=tuple(limit for limit in wanted.limits if limit not in known),
        maps=tuple(each for each in wanted.maps if each.name not in maps),
    )
    made = artifact([*((command, None) for command in commands), *table_lines(new)], source)
    return replace(made, name="reload.nft")


def _kept_sets(wanted: Table, live: Table) -> Sets:
    there = {each.name: each for each in live.sets}
    return {each.name: each for each in wanted.sets if there.get(each.name) == each}


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
