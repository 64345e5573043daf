"""Programs too large for one comparison, cut into slices of the packet space (docs/proof.md).

A slice is where a port or an address has some of its values; all slices together are every packet. In a
slice a program is what it is once that is known of packets: rules about other values are gone. Each slice is
compared by itself, with diagrams that are gone before the next.
"""

from __future__ import annotations

from bisect import bisect_left

from fwpolicy.addresses import common
from fwpolicy.model.fields import universe
from fwpolicy.model.gather import literals
from fwpolicy.model.hooks import stages
from fwpolicy.model.program import ALWAYS, NEVER, And, Jump, Lit, Not, Or, Tuples
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.model.program import Chain, Expr, Program, Rule

# Rules of both programs; more are sliced. As many as 12,000 lines of a policy and what they compile to.
MOST_RULES = 60_000
# The first of these that helps is cut: a node has an edge for each atom of a port, and thousands of them make
# the diagrams large. Fields that a hook gives one value are not among them.
_CANDIDATES = ("dport", "sport", "nfproto", "l4proto", "saddr4", "daddr4", "saddr6", "daddr6")
# A cut that leaves more than this part of the rules on both sides is none.
_WORTH = 0.85


@record
class Slice:
    """`programs` as they are where all of `within` holds."""

    programs: tuple[Program, ...]
    within: tuple[Lit, ...] = ()


def slices(programs: tuple[Program, ...], hook: str, most: int | None = None) -> Iterator[Slice]:
    """The whole, or slices that make it up, each of at most `most` rules where a cut by some field helps."""
    yield from _halved(Slice(tuple(_reached(each, hook) for each in programs)), most or MOST_RULES)


def _halved(whole: Slice, most: int) -> Iterator[Slice]:
    cut = _cut(whole, most)
    if cut is None:
        yield whole
        return
    field, halves = cut
    for half in halves:
        inside = (*(each for each in whole.within if each.field != field), Lit(field, half))
        known = Known(Lit(field, half))
        programs = tuple(_where(each, known) for each in whole.programs)
        yield from _halved(Slice(programs, inside), most)


def _cut(whole: Slice, most: int) -> tuple[str, tuple[Intervals, Intervals]] | None:
    """A field and its halves; None where the slice is small enough, or nothing helps."""
    rules = [rule for program in whole.programs for chain in program.chains.values() for rule in chain.rules]
    if len(rules) <= most:
        return None
    for field, own in _bounds(rules).items():
        known = next((each.intervals for each in whole.within if each.field == field), universe(field))
        halves = _in_two(known, sorted(first for first, _ in own))
        if halves is None:
            continue
        middle = halves[1][0][0]
        low = sum(first < middle for first, _ in own)
        high = sum(last >= middle for _, last in own)
        if len(rules) - len(own) + max(low, high) < len(rules) * _WORTH:
            return field, halves
    return None


def _bounds(rules: Sequence[Rule]) -> dict[str, list[Interval]]:
    """For each field the least and the greatest value of it that each rule names."""
    found: dict[str, list[Interval]] = {field: [] for field in _CANDIDATES}
    for rule in rules:
        own: dict[str, Interval] = {}
        for field, intervals in literals(rule.guard):
            if field in found and intervals:
                first, last = intervals[0][0], intervals[-1][1]
                least, most = own.get(field, (first, last))
                own[field] = min(first, least), max(last, most)
        for field, each in own.items():
            found[field].append(each)
    return found


def _in_two(whole: Intervals, firsts: Sequence[int]) -> tuple[Intervals, Intervals] | None:
    """Below the middle of `firsts`, and the rest."""
    begin, end = whole[0][0], whole[-1][1]
    middle = firsts[len(firsts) // 2] if firsts else begin
    if middle <= begin:
        above = bisect_left(firsts, begin + 1)
        middle = firsts[above] if above < len(firsts) else begin
    if not begin < middle <= end:
        return None
    return common(whole, ((begin, middle - 1),)), common(whole, ((middle, end),))


def _reached(program: Program, hook: str) -> Program:
    """The program with the chains alone that the hook's packets come to."""
    found: dict[str, Chain] = {}
    waiting = [stage.chain.name for stage in stages(program, hook)]
    while waiting:
        name = waiting.pop()
        if name not in found and name in program.chains:
            found[name] = program.chains[name]
            waiting += (r.action.chain for r in found[name].rules if isinstance(r.action, Jump))
    return replace(program, chains={name: each for name, each in program.chains.items() if name in found})


def _where(program: Program, known: Known) -> Program:
    chains = {
        name: replace(chain, rules=tuple(_kept(chain.rules, known))) for name, chain in program.chains.items()
    }
    return replace(program, chains=chains)


def _kept(rules: Sequence[Rule], known: Known) -> Iterator[Rule]:
    for rule in rules:
        guard = known.left(rule.guard)
        if guard is NEVER:
            continue
        yield rule if guard is rule.guard else replace(rule, guard=guard)


class Known:
    """Something that is true of all packets, a literal, and what is then left to ask of them."""

    def __init__(self, known: Lit) -> None:
        self._field, self._intervals = known.field, known.intervals
        # Thousands of rules look into one group of thousands of addresses.
        self._cut: dict[Intervals, Expr] = {}

    def left(self, expr: Expr) -> Expr:
        """The condition itself where the literal says nothing of it."""
        match expr:
            case Lit(field, intervals):
                return expr if field != self._field else self._values(intervals)
            case Tuples(fields):
                return self._rows(expr, fields.index(self._field)) if self._field in fields else expr
            case And(parts):
                return _joined(expr, parts, [self.left(part) for part in parts], And, NEVER)
            case Or(parts):
                return _joined(expr, parts, [self.left(part) for part in parts], Or, ALWAYS)
            case Not(part):
                inner = self.left(part)
                return expr if inner is part else _inverse(inner)

    def _values(self, intervals: Intervals) -> Expr:
        found = self._cut.get(intervals)
        if found is None:
            left = common(intervals, self._intervals)
            whole = ALWAYS if left == self._intervals else NEVER
            found = self._cut[intervals] = Lit(self._field, left) if left and whole is NEVER else whole
        return found

    def _rows(self, expr: Tuples, place: int) -> Expr:
        rows = tuple(
            (*row[:place], part, *row[place + 1 :])
            for row in expr.rows
            for part in common((row[place],), self._intervals)
        )
        return Tuples(expr.fields, rows) if rows else NEVER


def _joined(
    expr: Expr, parts: Sequence[Expr], left: Sequence[Expr], kind: type[And] | type[Or], end: Expr
) -> Expr:
    """`end`: the part that decides alone; its opposite is left out."""
    if any(each is end for each in left):
        return end
    if all(one is other for one, other in zip(parts, left, strict=True)):
        return expr
    neutral = ALWAYS if end is NEVER else NEVER
    rest = tuple(part for part in left if part is not neutral)
    if not rest:
        return neutral
    return rest[0] if len(rest) == 1 else kind(rest)


def _inverse(expr: Expr) -> Expr:
    return NEVER if expr is ALWAYS else ALWAYS if expr is NEVER else Not(expr)
