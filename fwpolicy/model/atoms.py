"""Atoms: each field's values cut into the classes that no literal of the compared programs tells apart.

A literal is then a set of atoms, and a set of atoms an integer's bits: intersections, unions and equality
of whole address sets cost one machine operation for each 30 classes.
"""

from __future__ import annotations

from itertools import accumulate, chain, pairwise, repeat
from operator import add, sub, xor
from random import SystemRandom

from fwpolicy.model.fields import rank, universe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import Interval, Intervals

# With so many literals at most a class's key is a small number.
_FEW = 16
# With more a class is known by the sum of its literals' random labels. Two classes are taken for one with a
# probability of 2**-128 for each pair; labels that a ruleset's author could know would be a risk, these are
# drawn anew for each proof.
_LABEL_BITS = 192


class Atoms:
    """The atoms of `literals` (field, intervals). `linked`: pairs of fields that are cut alike, so that
    "the same value in both" is "the same atom in both"."""

    def __init__(
        self, literals: Iterable[tuple[str, Intervals]], linked: Iterable[tuple[str, str]] = ()
    ) -> None:
        by_field: dict[str, dict[Intervals, None]] = {}
        for field, intervals in literals:
            by_field.setdefault(field, {})[intervals] = None
        for one, other in linked:
            both = by_field.setdefault(one, {}) | by_field.setdefault(other, {})
            by_field[one] = by_field[other] = both
        self.fields = sorted(by_field, key=rank)
        self.level = {field: index for index, field in enumerate(self.fields)}
        self.full: list[int] = []
        # For each level and atom: the intervals of its values.
        self.values: list[list[list[Interval]]] = []
        self._masks: list[dict[Intervals, int]] = []
        done: dict[int, tuple[list[list[Interval]], dict[Intervals, int]]] = {}
        for field in self.fields:
            known = by_field[field]
            if id(known) not in done:
                done[id(known)] = _cut(universe(field), list(known))
            classes, masks = done[id(known)]
            self.full.append((1 << len(classes)) - 1)
            self.values.append(classes)
            self._masks.append(masks)

    def mask(self, field: str, intervals: Intervals) -> int:
        """The atoms of a literal that was among those cut by."""
        return self._masks[self.level[field]][intervals]

    def intervals(self, level: int, mask: int) -> list[Interval]:
        """The values of some atoms."""
        classes = enumerate(self.values[level])
        return [interval for number, each in classes if mask >> number & 1 for interval in each]


def _cut(whole: Intervals, literals: list[Intervals]) -> tuple[list[list[Interval]], dict[Intervals, int]]:
    """(the classes, each as its intervals; literal -> bits of its classes)."""
    if len(literals) == 1 and _is_within(whole, *literals):
        classes, masks = _cut_by_one(whole[0], literals[0])
    else:
        classes, masks = (_cut_by_few if len(literals) <= _FEW else _cut_by_many)(whole, literals)
    return classes, dict(zip(literals, masks, strict=True))


def _is_within(whole: Intervals, literal: Intervals) -> bool:
    return len(whole) == 1 and (
        not literal or (whole[0][0] <= literal[0][0] and literal[-1][1] <= whole[0][1])
    )


def _cut_by_one(whole: Interval, literal: Intervals) -> tuple[list[list[Interval]], list[int]]:
    """What is in it, and what is not: a large group is mostly alone, and of 100,000 intervals this takes a
    tenth of the time of what follows."""
    low, high = whole
    ends = chain(map(sub, [first for first, _ in literal], repeat(1)), (high,))
    gaps = zip(chain((low,), map(add, [last for _, last in literal], repeat(1))), ends, strict=True)
    outside = [gap for gap in gaps if gap[0] <= gap[1]]
    if not literal or not outside:
        return [outside or list(literal)], [1 if literal else 0]
    return sorted([list(literal), outside]), [1 if literal[0] < outside[0] else 2]


def _cut_by_few(whole: Intervals, literals: list[Intervals]) -> tuple[list[list[Interval]], list[int]]:
    """A class is known by a bit for each of its literals: large groups are mostly among few."""
    turns: dict[int, int] = {}
    for number, intervals in enumerate((*literals, whole)):
        own = dict.fromkeys(
            chain.from_iterable([(first, last + 1) for first, last in intervals]), 1 << number
        )
        own |= {edge: turns[edge] ^ own[edge] for edge in turns.keys() & own.keys()}
        turns |= own
    edges = sorted(turns)
    stretches: dict[int, list[Interval]] = {}
    states = accumulate(map(turns.__getitem__, edges), xor)
    for state, first, following in zip(states, edges, edges[1:], strict=False):
        if state not in stretches:
            stretches[state] = []
        stretches[state].append((first, following - 1))
    classes = {state: found for state, found in stretches.items() if state >> len(literals)}
    masks = [
        sum(1 << bit for bit, state in enumerate(classes) if state >> number & 1)
        for number in range(len(literals))
    ]
    return list(classes.values()), masks


def _cut_by_many(whole: Intervals, literals: list[Intervals]) -> tuple[list[list[Interval]], list[int]]:
    draw = SystemRandom().getrandbits
    labels = [draw(_LABEL_BITS) for _ in literals]
    toggles: dict[int, list[int]] = {}
    for index, intervals in enumerate(literals):
        for first, last in intervals:
            toggles.setdefault(first, []).append(index)
            toggles.setdefault(last + 1, []).append(index)
    classes: dict[int, list[Interval]] = {}
    masks = [0] * len(literals)
    signature, active = 0, set[int]()
    for here, last, is_inside in _pieces(whole, toggles):
        for index in toggles.get(here, ()):
            signature ^= labels[index]
            active ^= {index}
        if not is_inside:
            continue
        if signature not in classes:
            bit = 1 << len(classes)
            classes[signature] = []
            for index in active:
                masks[index] |= bit
        classes[signature].append((here, last))
    return list(classes.values()), masks


def _pieces(whole: Intervals, toggles: Iterable[int]) -> Iterator[tuple[int, int, bool]]:
    """(first, last, whether within `whole`) of the stretches between all the bounds, in order."""
    edges = [edge for first, last in whole for edge in (first, last + 1)]
    inside = False
    turns = frozenset(edges)
    for here, following in pairwise(sorted({*toggles, *edges})):
        inside ^= here in turns
        yield here, following - 1, inside
