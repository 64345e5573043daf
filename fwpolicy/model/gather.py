"""Conditions made fewer before they become diagrams, without changing what they say.

Rules in a row with one verdict are alternatives, in whatever order; alternatives that differ in one field
only are one, with the union of its values. Thousands of lines are then a handful of conditions, and the
diagrams are cut by their unions only.
"""

from __future__ import annotations

from itertools import chain

from fwpolicy.addresses import common, merge
from fwpolicy.model.fields import rank
from fwpolicy.model.program import And, Lit, Not, Or, Tuples, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.program import Action, Expr, Rule

    # A conjunction of literals: field -> values.
    Conjunction = dict[str, Intervals]


def literals(expr: Expr) -> Iterator[tuple[str, Intervals]]:
    """(field, intervals) of each literal in a simplified condition."""
    match expr:
        case Lit(field, intervals):
            yield field, intervals
        case And(parts) | Or(parts):
            for part in parts:
                yield from literals(part)
        case Not(part):
            yield from literals(part)
        case Tuples():
            yield from literals(simplified(expr))


def simplified(expr: Expr) -> Expr:
    """The condition without `Tuples`."""
    match expr:
        case Lit():
            return expr
        case And(parts):
            return And(tuple(simplified(part) for part in parts))
        case Or(parts):
            return Or(tuple(simplified(part) for part in parts))
        case Not(part):
            return Not(simplified(part))
        case Tuples(fields, rows):
            return Or(tuple(_joined([{f: (i,) for f, i in zip(fields, row, strict=True)} for row in rows])))


def alternatives(rules: Iterable[Rule]) -> tuple[tuple[Expr, Action], ...]:
    """The rules as (condition, action), those in a row with one verdict as one."""
    found: list[tuple[Expr, Action]] = []
    together: list[Expr] = []
    verdict: Verdict | None = None
    for rule in rules:
        if verdict is not None and rule.action != verdict:
            found.append((one_of(together), verdict))
            verdict, together = None, []
        if isinstance(rule.action, Verdict):
            verdict = rule.action
            together.append(rule.guard)
        else:
            found.append((simplified(rule.guard), rule.action))
    if verdict is not None:
        found.append((one_of(together), verdict))
    return tuple(found)


def one_of(conditions: list[Expr]) -> Expr:
    """One of the conditions holds."""
    if len(conditions) == 1:
        return simplified(conditions[0])
    plain: list[Conjunction] = []
    rest: list[Expr] = []
    for each in conditions:
        if isinstance(each, Tuples):
            names = each.fields
            plain += ({f: (i,) for f, i in zip(names, row, strict=True)} for row in each.rows)
            continue
        conjunction = _conjunction(each)
        if conjunction is None:
            rest.append(simplified(each))
        elif all(conjunction.values()):
            plain.append(conjunction)
    return Or((*_joined(plain), *rest))


def _conjunction(expr: Expr) -> Conjunction | None:
    """The condition as one value set a field; None where it is more than that."""
    if isinstance(expr, Lit):
        return {expr.field: expr.intervals}
    if not isinstance(expr, And):
        return None
    found: Conjunction = {}
    for part in expr.parts:
        own = _conjunction(part)
        if own is None:
            return None
        for field, intervals in own.items():
            found[field] = common(found[field], intervals) if field in found else intervals
    return found


class _Values:
    """Value sets by number: comparing thousands of them as numbers costs nothing."""

    def __init__(self) -> None:
        self.all: list[Intervals] = []
        self._numbers: dict[Intervals, int] = {}

    def number(self, intervals: Intervals) -> int:
        found = self._numbers.setdefault(intervals, len(self.all))
        if found == len(self.all):
            self.all.append(intervals)
        return found

    def union(self, numbers: list[int]) -> int:
        unique = dict.fromkeys(numbers)
        if len(unique) == 1:
            return numbers[0]
        return self.number(merge(chain.from_iterable([self.all[number] for number in unique])))


def _joined(conjunctions: list[Conjunction]) -> Iterator[Expr]:
    """Those that differ in one field only joined, field by field, addresses first: they have most values."""
    values = _Values()
    items = [{field: values.number(each[field]) for field in each} for each in conjunctions]
    for field in sorted({field for each in items for field in each}, key=rank, reverse=True):
        items = _joined_in(field, items, values)
    for each in items:
        parts = tuple(Lit(field, values.all[number]) for field, number in each.items())
        yield parts[0] if len(parts) == 1 else And(parts)


def _joined_in(field: str, items: list[dict[str, int]], values: _Values) -> list[dict[str, int]]:
    groups: dict[frozenset[tuple[str, int]], list[int]] = {}
    joined = []
    for each in items:
        if field in each:
            key = frozenset(pair for pair in each.items() if pair[0] != field)
            groups.setdefault(key, []).append(each[field])
        else:
            joined.append(each)
    for key, members in groups.items():
        joined.append({**dict(key), field: values.union(members)})
    return joined
