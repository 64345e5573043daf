"""What a question names that no line knows: most often a word that was misspelt."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.gather import literals
from fwpolicy.model.question import group_names, side_of
from fwpolicy.policy.reader import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.program import Program
    from fwpolicy.model.question import Question
    from fwpolicy.policy.vocabulary import Vocabulary

_CLAUSES = {"saddr": "source-in", "daddr": "destination-in"}


def unknown_group(program: Program, question: Question, declared: Collection[str]) -> str | None:
    """Why one of the question's groups is none: neither `declared` nor of the program; None where all are."""
    of_rules = {name for field in _members(program) for name in group_names(field)}
    known = sorted(declared or {min(group_names(field), key=len) for field in _members(program)})
    for _, wanted in question.members:
        for name in wanted:
            if name not in of_rules and name not in declared:
                every = f"dynamic groups: {', '.join(known) or 'none is declared'}"
                return f"'{name}' is not a dynamic group; {nearest(name, known) or every}"
    return None


def notes(program: Program, question: Question, names: Vocabulary) -> Iterator[str]:
    """What of the question no line looks at."""
    looked_at = {(side_of(field), name) for field in _members(program) for name in group_names(field)}
    for side, wanted in question.members:
        for name in wanted:
            if (side, name) not in looked_at:
                yield f"no line looks at {_CLAUSES[side]} {name}"
    zones = dict(names.zones)
    for field, given in (("iif", question.packet.incoming), ("oif", question.packet.outgoing)):
        if given and given not in zones and not _is_named(program, field, given, names):
            near = nearest(given, [*zones, *(each for zone in zones.values() for each in zone)])
            yield f"no line and no zone names the interface '{given}'{f'; {near}' if near else ''}"


def _members(program: Program) -> set[str]:
    return {field for field, _ in _literals(program) if field.startswith("member:")}


def _is_named(program: Program, field: str, name: str, names: Vocabulary) -> bool:
    patterns = (fields.interface(pattern) for _, zone in names.zones for pattern in zone)
    of_lines = (intervals for used, intervals in _literals(program) if used == field)
    ((value, _),) = fields.interface(name)
    return any(first <= value <= last for each in (*patterns, *of_lines) for first, last in each)


def _literals(program: Program) -> Iterator[tuple[str, Intervals]]:
    for chain in program.chains.values():
        for rule in chain.rules:
            yield from literals(rule.guard)
