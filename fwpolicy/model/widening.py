"""Of two limits of one line, before and after a change: what the narrower lets through the wider does, too.

To the diagrams limiters are free, each of its own. Without this a limit that becomes wider would also deny:
what is within the old one and beyond the new one. Of `max` there is no such packet; of a rate, whose wider
bucket a packet more has emptied, some, and never more in all than the wider one lets through besides. For
`diff`; proofs believe nothing of the kind.
"""

from __future__ import annotations

import re

from fwpolicy.model.fields import YES
from fwpolicy.model.program import And, Lit, Not, Or, used_fields, with_literals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.model.program import Action, Expr, Program, Rule

    # A rule without its limiters: (chain, condition, what then happens).
    Bare = tuple[str, tuple[Expr, ...], Action]

_RATE = re.compile(r"rate (\d+)/(second|minute|hour|day|week) burst (\d+)(.*)")
_COUNT = re.compile(r"count (\d+)(.*)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def nested(one: Program, other: Program) -> tuple[Program, Program]:
    """Both, where the wider of two limiters that a rule has on either side holds where the narrower does.
    Limiters that let the same through have one name (alike)."""
    within: tuple[dict[str, Lit], dict[str, Lit]] = ({}, {})
    for mine, its in _twins(one, other).items():
        said = one.limiters[mine], other.limiters[its]
        if is_wider(*said):
            within[0][mine] = Lit(its, YES)
        elif is_wider(*reversed(said)):
            within[1][its] = Lit(mine, YES)
    return _opened(one, within[0]), _opened(other, within[1])


def is_wider(one: str, other: str) -> bool:
    """Whether limiter `one`, in words, lets through all that `other` does."""
    for pattern, of in ((_RATE, _of_rate), (_COUNT, _of_count)):
        mine, its = pattern.fullmatch(one), pattern.fullmatch(other)
        if mine and its:
            (sizes, each), (others, their_each) = of(mine), of(its)
            return each == their_each and all(a >= b for a, b in zip(sizes, others, strict=True))
    return False


def _of_rate(found: re.Match[str]) -> tuple[tuple[float, ...], str]:
    return (int(found[1]) / _SECONDS[found[2]], int(found[3])), found[4]


def _of_count(found: re.Match[str]) -> tuple[tuple[float, ...], str]:
    return (int(found[1]),), found[2]


def _twins(one: Program, other: Program) -> dict[str, str]:
    """Limiters that only `one` has -> those that only `other` has, which stand in their place."""
    gone, new = one.limiters.keys() - other.limiters.keys(), other.limiters.keys() - one.limiters.keys()
    if not gone or not new:
        return {}
    places = {_bare(chain, rule): rule for chain, rule in _limited(other, new)}
    found: dict[str, str] = {}
    for chain, rule in _limited(one, gone):
        twin = places.get(_bare(chain, rule))
        for mine, its in _pairs(rule, twin, one, other) if twin else ():
            if mine in gone and its in new and its not in found.values():
                found.setdefault(mine, its)
    return found


def _limited(program: Program, limiters: set[str]) -> Iterator[tuple[str, Rule]]:
    for chain in program.chains.values():
        for rule in chain.rules:
            if not limiters.isdisjoint(used_fields(rule.guard)):
                yield chain.name, rule


def _bare(chain: str, rule: Rule) -> Bare:
    return chain, tuple(part for part in _parts(rule) if not _is_limiter(part)), rule.action


def _pairs(rule: Rule, twin: Rule, one: Program, other: Program) -> Iterator[tuple[str, str]]:
    """Of a rate and a count each with its own kind."""
    for mine in filter(_is_limiter, _parts(rule)):
        for its in filter(_is_limiter, _parts(twin)):
            if isinstance(mine, Lit) and isinstance(its, Lit) and mine.intervals == its.intervals:
                kinds = one.limiters[mine.field].partition(" "), other.limiters[its.field].partition(" ")
                if kinds[0][0] == kinds[1][0]:
                    yield mine.field, its.field


def _parts(rule: Rule) -> tuple[Expr, ...]:
    return rule.guard.parts if isinstance(rule.guard, And) else (rule.guard,)


def _is_limiter(part: Expr) -> bool:
    return isinstance(part, Lit) and part.field.startswith("limit:")


def _opened(program: Program, within: Mapping[str, Lit]) -> Program:
    """The program where each of these limiters also holds where the other one does."""

    def either(literal: Lit) -> Expr:
        if literal.field not in within:
            return literal
        both = Or((Lit(literal.field, YES), within[literal.field]))
        return both if literal.intervals == YES else Not(both)

    return with_literals(program, either) if within else program
