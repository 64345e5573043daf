"""Each rule in its context: which packets reach it, and what happens to them with and without it.

`before` is a diagram of what became of a packet so far (NEXT: nothing; NO: it does not come here), `after`
one of what happens to a packet that gets past. Halving the rules keeps both small: each half looks at what it
matches only. A chain that is jumped to is walked in each of its contexts.
"""

from __future__ import annotations

from fwpolicy.model import hooks
from fwpolicy.model.build import Build, comes
from fwpolicy.model.diagram import NEXT, NO, TERMINALS, YES
from fwpolicy.model.program import (
    ACCEPT,
    Decided,
    Jump,
    NotModelledError,
    Return,
    TooLargeError,
    Verdict,
    refuse_depth,
)
from fwpolicy.model.units import RETURN, is_background, word, word_of
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set
    from typing import Protocol

    from fwpolicy.model.build import Fixed
    from fwpolicy.model.program import Base, Program, Rule
    from fwpolicy.model.units import Item, Unit

    class Ask(Protocol):
        """A question to each item. `names`: who takes its packets, too. `wanted`: the units that are asked
        about (None: all). `gone`: those that are taken as not there."""

        names: bool
        wanted: Set[int] | None
        gone: frozenset[int]

        def removes(self, unit: Unit, seen: Seen) -> bool:
            """Whether the unit is not there for the rules before it."""


# With more than so many rules behind a finding nobody cares that one could be left out.
_PRUNED = 40
# Restricting costs, too: worth it again where so many times fewer rules are left.
_SHRINK = 4
# 10,000 lines take 40,000. A chain is walked for each way that leads to it, and ways multiply.
_MOST_STRETCHES = 200_000


@record
class Seen:
    """Of an item in one context. `entered`: packets come to its chain. `matched`: some match. `reached`: and
    get to it. `changed`: without it something else happens to one of them; if not, `others` take them before
    it or in its place (where names were asked for)."""

    entered: bool
    matched: bool
    reached: bool
    changed: bool
    others: tuple[Decided, ...] = ()


@record
class Visit:
    """A chain in a context. `onward`: what happens in the end to what its base chain accepts."""

    chain: str
    fixed: Fixed
    onward: int
    entered: bool


class Walk:
    """The rules that packets of one hook pass."""

    def __init__(self, program: Program, hook: str, chains: Mapping[str, list[Item]]) -> None:
        self.hook = hook
        self.chains = chains
        self.build = Build((program,), hook, by_rule=True)
        self.diagrams = self.build.diagrams
        self.stages = [stage for stage in hooks.stages(program, hook) if stage.chain.base]
        self._guards: dict[tuple[str, Fixed, int, int], int] = {}
        self._summaries: dict[tuple[str, Fixed, int, int, int, bool, frozenset[int]], int] = {}
        self._places = {
            id(item.rules[0]): (name, place)
            for name, items in chains.items()
            for place, item in enumerate(items)
        }
        self._ask: Ask
        self._asked: dict[str, list[int]] = {}
        self._returns = any(_returns(rule) for items in chains.values() for it in items for rule in it.rules)
        self._silent = NEXT
        self._absent: frozenset[int] = frozenset()
        self._stretches = 0

    def run(self, ask: Ask) -> None:
        """Ask of each item, the last first."""
        self._ask = ask
        self._asked = {}
        # What is found takes packets, too, from what is behind it; whoever is named stays.
        self._absent = ask.gone if ask.names else frozenset()
        onward = self._silent = self._decided(ACCEPT.kind, None, "")
        for stage, before in zip(reversed(self.stages), reversed(self._befores()), strict=True):
            base, name = stage.chain.base, stage.chain.name
            if base is None:
                continue
            end = self._mapped(self._policy(base, name), onward)
            visit = Visit(name, tuple(stage.fixed.items()), onward, True)
            own = self._ended(self._visit(visit, before, end), end)
            onward = self.diagrams.choose(self._comes(base), own, onward)

    def _befores(self) -> list[int]:
        """What became of a packet before each of the base chains; NO where there is no such packet."""
        before = self.diagrams.choose(self.build.possible, NEXT, NO)
        found = []
        for stage in self.stages:
            base, name = stage.chain.base, stage.chain.name
            if base is None:
                continue
            coming = self._comes(base)
            found.append(self.diagrams.choose(coming, before, NO))
            visit = Visit(name, tuple(stage.fixed.items()), self._silent, True)
            own = self._summary(visit, 0, len(self.chains[name]), self._absent)
            own = self._ended(own, self._policy(base, name))
            own = self.diagrams.renamed(own, lambda each: NEXT if self.kind(each) == ACCEPT.kind else each)
            before = self.diagrams.choose(coming, self.diagrams.then(before, own), before)
        return found

    def _policy(self, base: Base, chain: str) -> int:
        return self._decided(base.policy.kind, None, chain)

    def _comes(self, base: Base) -> int:
        return YES if base.families == (4, 6) else self.build.condition(comes(base.families))

    def _decided(self, kind: str, rule: Rule | None, chain: str) -> int:
        return self.build.terminal(Decided(kind, rule, chain) if self._ask.names else kind)

    def kind(self, terminal: int) -> str:
        """What was decided; "no", "yes" and "next" are no decisions."""
        return self.build.kind(terminal)

    def _mapped(self, terminal: int, onward: int) -> int:
        """What comes of a verdict in the end: an accept goes on to the other base chains."""
        if onward == self._silent or self.kind(terminal) != ACCEPT.kind:
            return terminal
        accepted = ACCEPT.kind
        return self.diagrams.renamed(onward, lambda each: terminal if self.kind(each) == accepted else each)

    def _ended(self, outcome: int, end: int) -> int:
        """With what happens after a chain in the place of its end, and of a return."""
        return self.diagrams.then(self._come_back(outcome), end)

    def _come_back(self, outcome: int) -> int:
        if not self._returns:
            return outcome
        return self.diagrams.renamed(outcome, lambda each: NEXT if self.kind(each) == RETURN else each)

    # What a stretch of a chain does.

    def guard(self, chain: str, fixed: Fixed, first: int, last: int) -> int:
        """What the items first..last-1 match."""
        key = (chain, fixed, first, last)
        found = self._guards.get(key)
        if found is None:
            found = NO
            if last - first > 1:
                middle = (first + last) // 2
                halves = self.guard(chain, fixed, first, middle), self.guard(chain, fixed, middle, last)
                found = self.diagrams.either(*halves)
            elif last > first:
                for rule in self.chains[chain][first].rules:
                    found = self.diagrams.either(self.build.condition(rule.guard, fixed), found)
            self._guards[key] = found
        return found

    def _summary(
        self, visit: Visit, first: int, last: int, gone: frozenset[int], above: tuple[str, ...] = ()
    ) -> int:
        """What the items first..last-1, without those that are `gone`, make of a packet; NEXT: nothing."""
        key = (visit.chain, visit.fixed, visit.onward, first, last, self._ask.names, gone)
        found = self._summaries.get(key)
        if found is None:
            found = NEXT
            if last - first > 1:
                middle = (first + last) // 2
                found = self.diagrams.then(
                    self._summary(visit, first, middle, gone, above),
                    self._summary(visit, middle, last, gone, above),
                )
            elif last > first and self.chains[visit.chain][first].unit.number not in gone:
                found = self._alone(visit, self.chains[visit.chain][first], gone, above)
            self._summaries[key] = found
        return found

    def _alone(self, visit: Visit, item: Item, gone: frozenset[int], above: tuple[str, ...]) -> int:
        def inside(target: str, rule: Rule) -> int:
            refuse_depth(target, (*above, visit.chain), rule.where)
            if target not in self.chains:
                raise NotModelledError(f"there is no chain {target}", rule.where)
            inner = Visit(target, visit.fixed, visit.onward, True)
            return self._summary(inner, 0, len(self.chains[target]), gone, (*above, visit.chain))

        return self._item(visit, item, inside)

    def _item(self, visit: Visit, item: Item, inside: Callable[[str, Rule], int]) -> int:
        """What an item makes of a packet. `inside` says what the chain does that a rule jumps to."""
        found = NEXT
        for rule in reversed(item.rules):
            match rule.action:
                case Jump(target, goto):
                    action = self._come_back(inside(target, rule))
                    if goto:
                        action = self.diagrams.then(action, self._decided(RETURN, rule, visit.chain))
                case Return():
                    action = self._decided(RETURN, item.rules[0], visit.chain)
                case Verdict(kind):
                    action = self._mapped(self._decided(kind, item.rules[0], visit.chain), visit.onward)
            found = self.diagrams.choose(self.build.condition(rule.guard, visit.fixed), action, found)
        return found

    # Each item in its context.

    def _is_asked(self, chain: str, first: int, last: int) -> bool:
        """Whether one of the items first..last-1, or of the chains that they jump to, is asked about."""
        if self._ask.wanted is None:
            return True
        if chain not in self._asked:
            counts = [0]
            for item in self.chains[chain]:
                own = item.unit.number in self._ask.wanted or any(map(self._leads_there, item.rules))
                counts.append(counts[-1] + own)
            self._asked[chain] = counts
        return self._asked[chain][last] > self._asked[chain][first]

    def _leads_there(self, rule: Rule) -> bool:
        if not isinstance(rule.action, Jump):
            return False
        return self._is_asked(rule.action.chain, 0, len(self.chains[rule.action.chain]))

    def _visit(self, visit: Visit, before: int, end: int) -> int:
        """What the chain does, without what was removed. `end`: what happens to what leaves it."""
        size = len(self.chains[visit.chain])
        return self._stretch(visit, 0, size, before, end, end, size)

    def _stretch(
        self, visit: Visit, first: int, last: int, before: int, after: int, end: int, size: int
    ) -> int:
        if last == first or not self._is_asked(visit.chain, first, last):
            return self._summary(visit, first, last, self._ask.gone)
        self._stretches += 1
        if self._stretches > _MOST_STRETCHES:
            raise TooLargeError
        if last - first == 1 or (last - first) * _SHRINK <= size:
            care, size = self.guard(visit.chain, visit.fixed, first, last), last - first
            within = self.diagrams.within
            before = within(care, before) if before >= TERMINALS or size == 1 else before
            after = within(care, after) if after >= TERMINALS else after
            end = within(care, end) if end >= TERMINALS else end
        if last - first == 1:
            return self._one(visit, first, before, after, end)
        middle = (first + last) // 2
        taken = before
        if self._is_asked(visit.chain, middle, last):
            here = Visit(visit.chain, visit.fixed, self._silent, True)
            taken = self.diagrams.then(before, self._summary(here, first, middle, self._absent))
        right = self._stretch(visit, middle, last, taken, after, end, size)
        left = self._stretch(visit, first, middle, before, self.diagrams.then(right, after), end, size)
        return self.diagrams.then(left, right)

    def _one(self, visit: Visit, place: int, before: int, after: int, end: int) -> int:
        item = self.chains[visit.chain][place]
        if item.unit.number in self._ask.gone and not self._ask.names:
            return NEXT
        without = self._ended(after, end)
        takers = self.diagrams.terminals(before) - {NO}
        reached = NEXT in takers

        def inside(target: str, rule: Rule) -> int:
            inner = Visit(target, visit.fixed, visit.onward, visit.entered and reached)
            stop = end if isinstance(rule.action, Jump) and rule.action.goto else without
            return self._visit(inner, before, stop)

        here = self._item(visit, item, inside)
        if not reached:
            seen = Seen(
                visit.entered,
                bool(takers),
                False,
                False,
                self._fewest(visit, word_of(item.rules[0]), before, takers),
            )
        else:
            seen = self._reached(
                visit, item, before, self._ended(self.diagrams.then(here, after), end), without
            )
        return NEXT if self._ask.removes(item.unit, seen) else here

    def _reached(self, visit: Visit, item: Item, before: int, whole: int, without: int) -> Seen:
        reached = self.diagrams.where(before, lambda each: each == NEXT)
        whole, without = self.diagrams.within(reached, whole), self.diagrams.within(reached, without)
        if not self._ask.names:
            return Seen(visit.entered, True, True, whole != without)
        # Those that came before it and did the same are named, too, and one that does all is enough.
        own = word_of(item.rules[0])
        alike = {each for each in self.diagrams.terminals(before) if word(self.kind(each)) == own}
        alike |= self.diagrams.terminals(without) - {NO}
        both = self.diagrams.choose(reached, without, before)
        return Seen(visit.entered, True, True, False, self._fewest(visit, own, both, alike))

    def _fewest(self, visit: Visit, own: str, taken: int, takers: Iterable[int]) -> tuple[Decided, ...]:
        """Those of `takers` to be named for what `taken` says they took: one that matches all of it and does
        what the item does (`own`), or as few as match all of it if they are rules of one chain with one
        verdict, or all."""
        if not self._ask.names:
            return ()
        decided = {each: outcome for each in takers if isinstance(outcome := self.build.keys[each], Decided)}
        decided = {each: it for each, it in decided.items() if not is_background(it)} or decided
        found = [decided[each] for each in sorted(decided)]
        places = [self._places.get(id(each.rule), ("", 0)) for each in found]
        if not 1 < len(found) <= _PRUNED or {name for name, _ in places} != {visit.chain}:
            return tuple(found)
        packets = self.diagrams.where(taken, lambda each: each in decided)
        guards = [self.guard(visit.chain, visit.fixed, place, place + 1) for _, place in places]
        for each, guard in zip(found, guards, strict=True):
            if word(each.kind) == own and self.diagrams.choose(guard, NO, packets) == NO:
                return (each,)
        if len({word(each.kind) for each in found}) > 1:
            return tuple(found)
        return tuple(found[number] for number in self._needed(packets, guards))

    def _needed(self, packets: int, guards: list[int]) -> list[int]:
        """Of `guards` those that hold for all of `packets` together, and none that can be left out."""
        kept = list(range(len(guards)))
        for number in range(len(guards)):
            left = packets
            for other in kept:
                left = self.diagrams.choose(guards[other], NO, left) if other != number else left
            if left == NO:
                kept.remove(number)
        return kept


def _returns(rule: Rule) -> bool:
    return isinstance(rule.action, Return) or (isinstance(rule.action, Jump) and rule.action.goto)
