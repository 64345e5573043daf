"""Rules that do nothing: every one of them, and no other, with those that do its work or undo it.

Exact for every packet, by diagrams (`walk`); nothing here is a guess.
"""

from __future__ import annotations

from fwpolicy.model import hooks
from fwpolicy.model.meeting import Index, has_jumps
from fwpolicy.model.needed import Search
from fwpolicy.model.program import Verdict
from fwpolicy.model.units import grouped, word, word_of
from fwpolicy.model.walk import Walk
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from fwpolicy.model.program import Decided, Program, Rule
    from fwpolicy.model.units import Item, Unit
    from fwpolicy.model.walk import Seen

# Units that are walked together: more share what is before and after them, fewer look at less.
_TOGETHER = 100


@record
class Finding:
    """What is wrong with `rules` (one, or the legs of a policy's line).

    `kind`: "never-matches" (no packet that can be matches), "shadowed" (`others` decide all its packets
    before it, in the same way), "contradicted" (in another way), "unreached" (some in the same way, some in
    another), "redundant" (without it `others` do the same), and of `looks` "narrower" (it leaves `packet`,
    one of `hook`, to `others`) and "wider" (it takes `packet` from `others`).
    """

    kind: str
    rules: tuple[Rule, ...]
    others: tuple[Decided, ...] = ()
    hook: str = ""
    packet: Mapping[str, int] | None = None


def findings(program: Program) -> tuple[Finding, ...]:
    """Every rule that can be taken out without a change for any packet, in order.

    They can go all at once: of two rules that do the same, the later is found. What is in a chain that no
    packet comes to is not looked at: the jump is found. Raises NotModelledError where a program jumps in a
    circle or to a chain that is not there.
    """
    units, chains = grouped(program)
    found = frozenset[int]().union(*(_found(*part) for part in _parts(program, chains, units)))
    return tuple(_finding(unit) for unit in units if unit.number in found)


def _parts(
    program: Program, chains: Mapping[str, list[Item]], units: Sequence[Unit]
) -> Iterator[tuple[Program, Mapping[str, list[Item]], list[Unit]]]:
    """The program once for some units at a time that no packet shows to be needed, with none but the rules
    that they can meet; as a whole, where chains are jumped to."""
    reported = [unit for unit in units if unit.reported]
    if has_jumps(program):
        yield program, chains, reported
        return
    index = Index(program, chains)
    search = Search(program, index)
    for some in _some_at_a_time(index, [unit for unit in reported if not search.is_needed(unit)]):
        yield (*index.part(some), some)


def _some_at_a_time(index: Index, units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Two that meet are together; neighbours have ports in common."""
    some: list[Unit] = []
    groups = index.together(units) if len(units) > _TOGETHER else [units] if units else []
    for group in sorted(groups, key=lambda units: index.ports(units[0])):
        if some and len(some) + len(group) > _TOGETHER:
            yield some
            some = []
        some += group
    if some:
        yield some


def _found(program: Program, chains: Mapping[str, list[Item]], units: Sequence[Unit]) -> frozenset[int]:
    """The numbers of those of the units that can go."""
    walks = [Walk(program, hook, chains) for hook in hooks.PASSED if any(hooks.stages(program, hook))]
    for walk in walks:
        walk.run(_Look(frozenset(unit.number for unit in units)))
    found = _removable(walks, units)
    if found:
        for walk in walks:
            walk.run(_Name(found))
    return found


def _removable(walks: list[Walk], units: Iterable[Unit]) -> frozenset[int]:
    seen = [unit for unit in units if unit.reported and unit.entered]
    idle = frozenset(unit.number for unit in seen if not unit.reached)
    wanted = {unit.number for unit in seen if unit.reached and not unit.changed}
    # Each of two rules may be redundant only as long as the other is there.
    while wanted:
        pruning = _Prune(idle, wanted)
        for walk in walks:
            walk.run(pruning)
        torn = pruning.needed & pruning.removed
        if not torn:
            return idle | pruning.removed
        # Taken out of one context, needed in another: it stays, and what was concluded without it is void.
        wanted -= torn
    return idle


def _finding(unit: Unit) -> Finding:
    rules, others = tuple(unit.rules), tuple(unit.others.values())
    if not unit.matched:
        return Finding("never-matches", rules)
    if unit.reached:
        return Finding("redundant", rules, others)
    same = [word(each.kind) == word_of(rules[0]) for each in others]
    if not isinstance(rules[0].action, Verdict) or (any(same) and not all(same)):
        return Finding("unreached", rules, others)
    return Finding("shadowed" if all(same) else "contradicted", rules, others)


class _Look:
    """The first time: what is seen of each unit."""

    names = False
    gone: frozenset[int] = frozenset()

    def __init__(self, wanted: Set[int]) -> None:
        self.wanted: Set[int] | None = wanted

    def removes(self, unit: Unit, seen: Seen) -> bool:
        unit.entered |= seen.entered
        unit.matched |= seen.entered and seen.matched
        unit.reached |= seen.entered and seen.reached
        unit.changed |= seen.entered and seen.changed
        return False


class _Prune:
    """Without what never decides; and of `wanted`, the last first, without each that nobody needs who is
    still there."""

    names = False

    def __init__(self, idle: frozenset[int], wanted: Set[int]) -> None:
        self.gone = idle
        self.wanted: Set[int] | None = frozenset(wanted)
        self.needed: set[int] = set()
        self.removed: set[int] = set()

    def removes(self, unit: Unit, seen: Seen) -> bool:
        if self.wanted is None or unit.number not in self.wanted:
            return False
        (self.needed if seen.changed else self.removed).add(unit.number)
        return not seen.changed


class _Name:
    """Who takes the packets of what was found, when all of that is gone."""

    names = True

    def __init__(self, found: frozenset[int]) -> None:
        self.gone = found
        self.wanted: Set[int] | None = found

    def removes(self, unit: Unit, seen: Seen) -> bool:
        if unit.number not in self.gone:
            return False
        if seen.entered:
            unit.reached |= seen.reached
            unit.others |= {(id(each.rule), each.chain): each for each in seen.others}
        return True
