"""Rules that differ in addresses and ports, and in whose counter they count, become one lookup.

Each line keeps its counter: the map names it (`counter name ip saddr . tcp dport map @NAME accept`),
so no chain for each line is needed, and 10,000 lines load in half the time that chains take. Rules that
jump to a chain of their line become a verdict map. Where keys overlap, the first line in file order
owns them; a rule moves before another only where no packet meets both.
"""

from __future__ import annotations

from functools import partial

from fwpolicy.compiler.passes.chains import each_table, step_by_step
from fwpolicy.compiler.passes.conflicts import Passed, reach
from fwpolicy.compiler.passes.keys import Keyed, Room, crowded, keyed, shared
from fwpolicy.ir.maps import CounterMap, Element, Map, VerdictMap, type_of
from fwpolicy.ir.ruleset import Accept, Chain, Continue, Drop, Jump, Reject, Return, Rule
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwpolicy.addresses import Interval
    from fwpolicy.compiler.passes.conflicts import Reach
    from fwpolicy.compiler.passes.keys import Key
    from fwpolicy.ir.ruleset import Ruleset, Table

NAME = "verdictmap"
ABOUT = "rules that differ in addresses and ports become one lookup in a map"

# How many rules a map must stand for, by (exact, a single field): a linear rule takes 27 ns, a hash 105,
# a concatenation 145, an interval tree 272 for ten elements and 562 for a thousand.
_ENOUGH = {(True, True): 4, (True, False): 6, (False, True): 12, (False, False): 30}
# Maps that are being filled at a time. More would make time quadratic where nothing fits together.
_OPEN = 16


def run(ruleset: Ruleset) -> Ruleset:
    """Chain by chain, step by step of the evaluation."""
    return each_table(ruleset, lambda table: _Maps(table).table())


class _Bucket:
    """Rules that one lookup may stand for."""

    def __init__(self, key: object, keyed_rule: Keyed, rule: Rule, *, final: bool) -> None:
        self.key = key
        self.shape = keyed_rule
        self.first = rule
        self.final = final
        # Where nothing comes after it, what overlaps is the earlier rule's; else the rule stays apart.
        self.owned = final and keyed_rule.exact
        self.room = Room(exact=keyed_rule.exact)
        self.passed: Passed | None = None
        self.members: list[tuple[int, Rule]] = []
        self.elements: list[Element] = []

    def has_room(self, found: Keyed) -> bool:
        return self.owned or not any(map(self.room.overlapped, found.keys))

    def add(self, index: int, rule: Rule, keys: Iterable[Key], *, alone: bool) -> None:
        """There is room for all `keys`, or those without are an earlier rule's; `alone`: no other rule's meet
        them."""
        self.members.append((index, rule))
        to = rule.counter if self.final else rule.verdict.chain if isinstance(rule.verdict, Jump) else None
        for key in keys:
            if not alone:
                if self.owned and self.room.overlapped(key):
                    continue
                self.room.take(key)
            self.elements.append(Element(key, str(to), rule.comment, rule.origin))

    def worthwhile(self) -> bool:
        return len(self.members) >= _ENOUGH[self.room.exact, len(self.shape.fields) == 1]

    def rule(self, name: str) -> Rule:
        first, fields = self.first, self.shape.fields
        if self.final:
            return Rule(self.shape.rest, first.verdict, first.step, None, CounterMap(fields, name))
        return Rule(self.shape.rest, VerdictMap(fields, name), first.step)


class _Maps:
    """One table, and the maps made for it."""

    def __init__(self, table: Table) -> None:
        self.old = table
        self.maps = list(table.maps)
        self.names = {each.name for each in (*table.sets, *table.maps)}
        self.ends = {chain.name for chain in table.chains if _ends(chain)}

    def table(self) -> Table:
        chains = tuple(self.chain(chain) for chain in self.old.chains)
        return replace(self.old, chains=chains, maps=tuple(self.maps))

    def chain(self, chain: Chain) -> Chain:
        if len(chain.rules) < min(_ENOUGH.values()):
            return chain
        return replace(chain, rules=step_by_step(chain.rules, partial(self.run, chain.name)))

    def run(self, chain: str, rules: Sequence[Rule]) -> Sequence[Rule]:
        """The rules of one step; order matters between them where they overlap only."""
        if len(rules) < min(_ENOUGH.values()):
            return rules
        kept: list[Rule | None] = [*rules]
        for bucket in _Filling(self.ends).buckets(rules):
            if bucket.worthwhile():
                for index, _ in bucket.members:
                    kept[index] = None
                first, _ = bucket.members[0]
                kept[first] = bucket.rule(self.map(chain, bucket))
        return [rule for rule in kept if rule is not None]

    def map(self, chain: str, bucket: _Bucket) -> str:
        fields = bucket.shape.fields
        words = "_".join((bucket.first.step, chain, *fields)).replace(" ", "_").replace(":", "_")
        name, number = words, 1
        while name in self.names:
            number += 1
            name = f"{words}_{number}"
        self.names.add(name)
        holds = "counter" if bucket.final else "verdict"
        self.maps.append(Map(name, tuple(map(type_of, fields)), holds, tuple(bucket.elements)))
        return name


class _Filling:
    """Fills buckets with the rules of one step, in order."""

    def __init__(self, ends: set[str]) -> None:
        self.ends = ends
        self.crowded: dict[tuple[str, ...], set[Interval]] = {}
        self.open: dict[object, list[_Bucket]] = {}
        self.filling: list[_Bucket] = []
        self.all: list[_Bucket] = []
        self.reached: tuple[Rule, Reach] | None = None

    def buckets(self, rules: Sequence[Rule]) -> list[_Bucket]:
        beside = shared(rules)
        taken_apart = [keyed(rule, beside) for rule in rules]
        self.crowded = _crowded(taken_apart)
        for index, (rule, found) in enumerate(zip(rules, taken_apart, strict=True)):
            self.put(index, rule, found)
        return self.all

    def put(self, index: int, rule: Rule, found: Keyed | None) -> None:
        final = None if found is None else self.final(rule)
        if found is None or final is None:
            self.pass_over(rule, None)
            return
        alone = not found.exact and self.crowded[found.fields].isdisjoint(found.firsts)
        shape = (found.fields, found.exact, found.rest, final, final and rule.verdict)
        for bucket in self.open.get(shape, ()):
            if (alone or bucket.has_room(found)) and self.admits(bucket, rule):
                break
        else:
            bucket = self.begin(shape, found, rule, final=final)
        bucket.add(index, rule, found.keys, alone=alone)
        self.pass_over(rule, bucket)

    def admits(self, bucket: _Bucket, rule: Rule) -> bool:
        return bucket.passed is None or not bucket.passed.meets(self.reach(rule))

    def reach(self, rule: Rule) -> Reach:
        """Once for all that ask of the rule at hand."""
        if self.reached is None or self.reached[0] is not rule:
            self.reached = rule, reach(rule)
        return self.reached[1]

    def final(self, rule: Rule) -> bool | None:
        """True: with a counter, and nothing comes after it. False: a jump. None: no rule for a map."""
        if rule.log:
            return None
        match rule.verdict:
            case Accept() | Drop() | Reject():
                return True if isinstance(rule.counter, str) else None
            case Jump(name) if rule.counter is None:
                return False
            case Jump(name) if isinstance(rule.counter, str) and name in self.ends:
                return True
            case _:
                return None

    def begin(self, shape: object, found: Keyed, rule: Rule, *, final: bool) -> _Bucket:
        """One more: what an open one of the same shape cannot take may still go together."""
        if len(self.filling) == _OPEN:
            least = min(self.filling, key=lambda bucket: len(bucket.members))
            self.filling.remove(least)
            self.open[least.key].remove(least)
        bucket = _Bucket(shape, found, rule, final=final)
        self.open.setdefault(shape, []).append(bucket)
        self.filling.append(bucket)
        self.all.append(bucket)
        return bucket

    def pass_over(self, rule: Rule, mine: _Bucket | None) -> None:
        """Whatever joins the other buckets after this moves before it."""
        if self.filling in ([], [mine]):
            return
        theirs = self.reach(rule)
        for bucket in self.filling:
            if bucket is mine:
                continue
            bucket.passed = bucket.passed or Passed(reach(bucket.first))
            bucket.passed.add(theirs)


def _crowded(rules: Iterable[Keyed | None]) -> dict[tuple[str, ...], set[Interval]]:
    """By the fields of keys: what of their first field meets that of another rule. The rest, which is most
    of a large policy, has room in any map."""
    firsts: dict[tuple[str, ...], list[Interval]] = {}
    for found in rules:
        if found is not None and not found.exact:
            firsts.setdefault(found.fields, []).extend(found.firsts)
    return {fields: crowded(intervals) for fields, intervals in firsts.items()}


def _ends(chain: Chain) -> bool:
    """Whether no packet comes back from it."""
    if not chain.rules or any(isinstance(rule.verdict, Return | VerdictMap) for rule in chain.rules):
        return False
    last = chain.rules[-1]
    jumps = any(isinstance(rule.verdict, Jump) for rule in chain.rules)
    stops = not isinstance(last.verdict, Continue | Jump) and last.counter.__class__ is not CounterMap
    return not jumps and not last.matches and stops
