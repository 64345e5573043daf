"""Decision diagrams over atoms: functions of a packet's fields, each with one representation only.

A diagram is a number. Below the number of terminals it is a terminal; above, a node that looks at one
field and has edges (child, bits of the atoms that lead there). Nodes are shared (hash-consed) and reduced,
so two functions are equal exactly when their numbers are. Terminals are numbers of the caller's choice;
NO and YES are those of conditions, and NEXT is "nothing decided yet".
"""

from __future__ import annotations

from fwpolicy.model.program import TooLargeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from fwpolicy.model.atoms import Atoms

    Edges = tuple[tuple[int, int], ...]

NO, YES, NEXT = 0, 1, 2
# More outcomes than any ruleset has; each may be a rule of its own.
TERMINALS = 1 << 24
# 10,000 lines with 72,000 prefixes make under 200,000; ten times the memory and time is past all patience.
MOST_NODES = 500_000


# A mask of so few atoms is looked up atom by atom.
_FEW = 4
# Integers of so many bits are their own hash.
_HASHED = 60


def _met(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(child of one, child of other, atoms) wherever the two meet, one at a time: all of 10,000 lines' are
    65 MiB. Nodes of thousands of edges, most of them for an atom or two, are met in one pass: not each
    edge with each."""
    if len(one) * len(other) <= _FEW * (len(one) + len(other)):
        yield from _each_with_each(one, other)
        return
    owners: dict[int, int] = {}
    large = []
    for mate, mates in other:
        if mates.bit_count() > _FEW:
            large.append((mate, mates))
        else:
            for atom in _atoms_of(mates):
                owners[atom] = mate
    for child, mask in one:
        if mask.bit_count() > _FEW:
            yield from _each_with_each(((child, mask),), other)
            continue
        found = {owners.get(atom, -1) for atom in _atoms_of(mask)}
        if len(found) == 1 and -1 not in found:
            yield child, found.pop(), mask
        elif found == {-1}:
            yield from _each_with_each(((child, mask),), large)
        else:
            yield from _each_with_each(((child, mask),), other)


def _atoms_of(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length()
        mask ^= lowest


def _each_with_each(
    one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, int]]:
    for child, mask in one:
        left = mask
        for mate, mates in other:
            if both := left & mates:
                if both == left == mask:
                    yield child, mate, mask
                    break
                yield child, mate, both
                left ^= both
                if not left:
                    break


def _hash_of(level: int, edges: Edges) -> int:
    """Python's own hash of an integer is its rest modulo 2 ** 61 - 1, and of all single atoms there are 61:
    10,000 nodes, each of an atom and the rest, were looked for one by one. The last edge is what is left."""
    found = hash((level, edges[-1][0]))
    for child, mask in edges[:-1]:
        found = hash((found, child, _hash_of_mask(mask)))
    return found


def _hash_of_mask(mask: int) -> int:
    bits = mask.bit_length()
    return mask if bits <= _HASHED else hash(mask.to_bytes(bits + 7 >> 3, "little"))


class Diagrams:
    """All the diagrams of one comparison, over `atoms`."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self._levels: list[int] = []
        self._edges: list[Edges] = []
        # Whether NEXT is somewhere below.
        self._open: list[bool] = []
        # By the hash of what a node is, or the next numbers where others have that.
        self._unique: dict[int, int] = {}
        self._bottom = len(atoms.fields)
        self._chosen: dict[tuple[int, int, int], int] = {}
        self._after: dict[tuple[int, int], int] = {}
        self._inside: dict[tuple[int, int], int] = {}

    def forget(self) -> None:
        """Let go of what was reckoned on the way; the diagrams themselves stay."""
        self._chosen.clear()
        self._after.clear()

    def keep(self, roots: Iterable[int]) -> None:
        """Let go of every diagram but these and what is below them, whose numbers stay; no other may be asked
        about again."""
        self.forget()
        self._inside.clear()
        live: set[int] = set()
        waiting = [root for root in roots if root >= TERMINALS]
        while waiting:
            each = waiting.pop()
            if each not in live:
                live.add(each)
                waiting += (child for child, _ in self.edges(each) if child >= TERMINALS)
        self._unique.clear()
        for place, edges in enumerate(self._edges):
            if (number := place + TERMINALS) in live:
                self._unique[self._place(self._levels[place], edges)] = number
            else:
                self._edges[place] = ()

    def level(self, diagram: int) -> int:
        """The field that is looked at first, by its place; terminals look at none, and stand below all."""
        return self._bottom if diagram < TERMINALS else self._levels[diagram - TERMINALS]

    def edges(self, diagram: int) -> Edges:
        """(child, atoms that lead there), of a node."""
        return self._edges[diagram - TERMINALS]

    def is_open(self, diagram: int) -> bool:
        """Whether it leaves something undecided."""
        return diagram == NEXT if diagram < TERMINALS else self._open[diagram - TERMINALS]

    def node(self, level: int, children: Mapping[int, int]) -> int:
        """The node with these children -> atoms; the atoms make up the field's whole."""
        if len(children) == 1:
            (only,) = children
            return only
        edges = tuple(sorted(children.items()))
        place = self._place(level, edges)
        found = self._unique.get(place)
        if found is None:
            if len(self._unique) >= MOST_NODES:
                raise TooLargeError
            found = self._unique[place] = len(self._levels) + TERMINALS
            self._levels.append(level)
            self._edges.append(edges)
            self._open.append(any(self.is_open(child) for child in children))
        return found

    def _place(self, level: int, edges: Edges) -> int:
        """Where this node is in _unique, or else belongs."""
        place = _hash_of(level, edges)
        while (found := self._unique.get(place)) is not None:
            there = found - TERMINALS
            if self._levels[there] == level and self._edges[there] == edges:
                break
            place += 1
        return place

    def split(self, level: int, mask: int, there: int, elsewhere: int) -> int:
        """`there` for the atoms of `mask`, else `elsewhere`."""
        full = self.atoms.full[level]
        if mask == full or there == elsewhere:
            return there
        return self.node(level, {there: mask, elsewhere: full ^ mask}) if mask else elsewhere

    def choose(self, condition: int, there: int, elsewhere: int) -> int:
        """`there` where `condition` is YES, `elsewhere` where it is NO."""
        if condition == YES or there == elsewhere:
            return there
        if condition == NO:
            return elsewhere
        if there == YES and elsewhere == NO:
            return condition
        key = (condition, there, elsewhere)
        found = self._chosen.get(key)
        if found is None:
            level = min(self.level(condition), self.level(there), self.level(elsewhere))
            parts = [self._below(each, level) for each in key]
            found = self._chosen[key] = self.node(level, self._choose(*parts))
        return found

    def _choose(self, conditions: Edges, there: Edges, elsewhere: Edges) -> dict[int, int]:
        children: dict[int, int] = {}
        if len(elsewhere) == 1 or len(there) == 1:
            return self._choose_one(conditions, there, elsewhere)
        for condition, first in conditions:
            if condition < TERMINALS:
                for child, mask in there if condition == YES else elsewhere:
                    if both := first & mask:
                        children[child] = children.get(child, 0) | both
                continue
            for one, second in there:
                if not (pair := first & second):
                    continue
                for other, third in elsewhere:
                    if both := pair & third:
                        child = self.choose(condition, one, other)
                        children[child] = children.get(child, 0) | both
        return children

    def _choose_one(self, conditions: Edges, there: Edges, elsewhere: Edges) -> dict[int, int]:
        """The same where only one of the two looks at this field."""
        children: dict[int, int] = {}
        for_sure = len(there) == 1
        ((same, _),) = there if for_sure else elsewhere
        for condition, mate, both in _met(conditions, elsewhere if for_sure else there):
            one, other = (same, mate) if for_sure else (mate, same)
            child = self.choose(condition, one, other)
            children[child] = children[child] | both if child in children else both
        return children

    def then(self, first: int, second: int) -> int:
        """`first`, and where it says NEXT `second`."""
        if first < TERMINALS:
            return second if first == NEXT else first
        if second == NEXT or not self._open[first - TERMINALS]:
            return first
        key = (first, second)
        found = self._after.get(key)
        if found is None:
            found = self._after[key] = self._then(first, second)
        return found

    def _then(self, first: int, second: int) -> int:
        one, other = self.level(first), self.level(second)
        children: dict[int, int] = {}
        if one < other:
            for child, mask in self.edges(first):
                new = self.then(child, second)
                children[new] = children.get(new, 0) | mask
            return self.node(one, children)
        if other < one:
            for child, mask in self.edges(second):
                new = self.then(first, child)
                children[new] = children.get(new, 0) | mask
            return self.node(other, children)
        open_ = []
        for child, mask in self.edges(first):
            if child < TERMINALS and child != NEXT:
                children[child] = children.get(child, 0) | mask
            else:
                open_.append((child, mask))
        for child, mate, both in _met(open_, self.edges(second)):
            new = self.then(child, mate)
            children[new] = children[new] | both if new in children else both
        return self.node(one, children)

    def within(self, condition: int, outcome: int) -> int:
        """`outcome` where `condition` is YES, elsewhere NO."""
        if condition == YES or outcome == NO:
            return outcome
        if condition == NO or outcome == YES:
            return condition
        key = (condition, outcome)
        found = self._inside.get(key)
        if found is None:
            found = self._inside[key] = self._within(condition, outcome)
        return found

    def _within(self, condition: int, outcome: int) -> int:
        one, other = self.level(condition), self.level(outcome)
        children: dict[int, int] = {}
        if one < other:
            for child, mask in self.edges(condition):
                new = NO if child == NO else self.within(child, outcome)
                children[new] = children.get(new, 0) | mask
            return self.node(one, children)
        if other < one:
            for child, mask in self.edges(outcome):
                new = self.within(condition, child)
                children[new] = children.get(new, 0) | mask
            return self.node(other, children)
        some = []
        for child, mask in self.edges(condition):
            if child == NO:
                children[NO] = mask
            else:
                some.append((child, mask))
        for child, mate, both in _met(some, self.edges(outcome)):
            new = self.within(child, mate)
            children[new] = children[new] | both if new in children else both
        return self.node(one, children)

    def _below(self, diagram: int, level: int) -> Edges:
        if self.level(diagram) == level:
            return self.edges(diagram)
        return ((diagram, self.atoms.full[level]),)

    def both(self, one: int, other: int) -> int:
        return self.choose(one, other, NO)

    def either(self, one: int, other: int) -> int:
        return self.choose(one, YES, other)

    def negated(self, condition: int) -> int:
        return self.choose(condition, NO, YES)

    def restricted(self, condition: int, care: int) -> int:
        """A condition that says the same wherever `care` holds, and is simpler: what else is so is of no
        concern (Coudert and Madre's restrict)."""
        done: dict[tuple[int, int], int] = {}

        def walk(each: int, wanted: int) -> int:
            if each < TERMINALS or wanted in (YES, NO):
                return each
            key = (each, wanted)
            if key not in done:
                if self.level(wanted) < self.level(each):
                    any_way = NO
                    for child, _ in self.edges(wanted):
                        any_way = self.either(any_way, child)
                    done[key] = walk(each, any_way)
                else:
                    done[key] = self._restricted(each, wanted, walk)
            return done[key]

        return walk(condition, care)

    def _restricted(self, each: int, wanted: int, walk: Callable[[int, int], int]) -> int:
        level = self.level(each)
        children: dict[int, int] = {}
        free = 0
        for child, mask in self.edges(each):
            concern, left = NO, 0
            for part, where in self._below(wanted, level):
                if both := mask & where:
                    left |= 0 if part == NO else both
                    concern = self.either(concern, part)
            free |= mask & ~left
            if left:
                new = walk(child, concern)
                children[new] = children.get(new, 0) | left
        most = max(children, key=lambda child: children[child].bit_count())
        children[most] |= free
        return self.node(level, children)

    def renamed(self, diagram: int, new: Callable[[int], int]) -> int:
        """The diagram with `new(terminal)`, a diagram, in the place of each terminal. Where all are
        terminals again this is a renaming; else the new ones must not look at fields above."""
        done: dict[int, int] = {}

        def walk(each: int) -> int:
            if each < TERMINALS:
                return new(each)
            if each not in done:
                children: dict[int, int] = {}
                for child, mask in self.edges(each):
                    walked = walk(child)
                    children[walked] = children.get(walked, 0) | mask
                done[each] = self.node(self.level(each), children)
            return done[each]

        return walk(diagram)

    def where(self, diagram: int, wanted: Callable[[int], bool]) -> int:
        """The condition under which `diagram` ends in a terminal that is `wanted`."""
        return self.renamed(diagram, lambda terminal: YES if wanted(terminal) else NO)

    def pairs(self, one: int, other: int, pair: Callable[[int, int], int]) -> int:
        """The diagram of `pair(terminal of one, terminal of other)`."""
        done: dict[tuple[int, int], int] = {}

        def walk(left: int, right: int) -> int:
            if left < TERMINALS and right < TERMINALS:
                return pair(left, right)
            key = (left, right)
            if key not in done:
                level = min(self.level(left), self.level(right))
                children: dict[int, int] = {}
                for child, mate, both in _met(self._below(left, level), self._below(right, level)):
                    new = walk(child, mate)
                    children[new] = children.get(new, 0) | both
                done[key] = self.node(level, children)
            return done[key]

        return walk(one, other)

    def difference(
        self, one: int, other: int, preferred: Sequence[int]
    ) -> tuple[dict[int, int], int, int] | None:
        """({level: atoms}, terminal of one, terminal of other) somewhere where they differ; None where they
        are equal. Any value of the atoms does, and any of a field that is not there. `preferred`: for each
        level the atom to go through if possible."""
        path: dict[int, int] = {}
        if one == other:
            return None
        while one >= TERMINALS or other >= TERMINALS:
            level = min(self.level(one), self.level(other))
            ways = [
                way for way in _met(self._below(one, level), self._below(other, level)) if way[0] != way[1]
            ]
            likely = preferred[level]
            one, other, path[level] = next((way for way in ways if way[2] & likely), ways[0])
        return path, one, other

    def terminals(self, diagram: int) -> frozenset[int]:
        """Which terminals it can end in."""
        seen: set[int] = set()
        waiting = [diagram]
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                if each >= TERMINALS:
                    waiting += (child for child, _ in self.edges(each))
        return frozenset(each for each in seen if each < TERMINALS)
