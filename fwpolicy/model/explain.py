"""What a program does to the packets of a question, and who says so: one case where that is all."""

from __future__ import annotations

from fwpolicy.model import fields, witness
from fwpolicy.model.build import IMPOSSIBLE, Build
from fwpolicy.model.describe import NOTHING, Cube, cubes, words
from fwpolicy.model.diagram import NO, YES
from fwpolicy.model.program import ACCEPT, And, used_fields
from fwpolicy.model.question import at, of_memory
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.program import Decided, Program
    from fwpolicy.model.question import Question
    from fwpolicy.policy.vocabulary import Vocabulary

# Where a packet's destination may be changed before it comes to a hook, and whose it is then.
BEFORE = {"input": ("dstnat", "local"), "output": ("output-dstnat", "unicast")}


@record
class Case:
    """`when`: which of the question's packets, in words (() where it is all); `packet`: one, by field."""

    decided: Decided
    when: tuple[str, ...]
    packet: dict[str, int]


def cases(program: Program, question: Question, names: Vocabulary = NOTHING) -> tuple[Case, ...]:
    """Each end that a packet of the question can come to; () where no such packet can be."""
    return _of_parts(program, question, question.hook, names)


def redirections(program: Program, question: Question, names: Vocabulary = NOTHING) -> tuple[Case, ...]:
    """Each translation that sends a connection of the question elsewhere before it comes to the hook."""
    if question.packet.state != "new" or question.hook not in BEFORE:
        return ()
    hook, kind = BEFORE[question.hook]
    sent = {"daddrtype": fields.ADDRESS_TYPES.index(kind)}
    others = tuple(replace(other, fixed=other.fixed | sent) for other in question.others)
    asked = replace(question, fixed=question.fixed | sent, others=others)
    found = _of_parts(program, asked, hook, names)
    return tuple(case for case in found if case.decided.kind != ACCEPT.kind)


def _of_parts(program: Program, question: Question, hook: str, names: Vocabulary) -> tuple[Case, ...]:
    """The cases of each part of the service; one that has a single end is named by itself."""
    found: list[Case] = []
    for part in (question, *question.others):
        own = _cases(program, part, hook, names)
        alone = question.others and len(own) == 1
        found += (replace(case, when=(_named(part, names),)) for case in own) if alone else own
    return tuple(found)


def today(
    program: Program, question: Question, now: int, names: Vocabulary = NOTHING
) -> tuple[Case, ...] | None:
    """The cases as they are `now`, where the question says no time and a line has expired that decides;
    None where that makes no difference."""
    if question.packet.time is not None or not _looks_at_the_clock(program):
        return None
    before, after = (cases(program, at(question, time), names) for time in (0, now))
    return None if _ends(before) == _ends(after) else after


def _looks_at_the_clock(program: Program) -> bool:
    rules = (rule for chain in program.chains.values() for rule in chain.rules)
    return any("time" in used_fields(rule.guard) for rule in rules)


def _ends(found: tuple[Case, ...]) -> list[tuple[object, ...]]:
    return [(case.decided.kind, id(case.decided.rule), case.decided.chain, case.when) for case in found]


def _named(part: Question, names: Vocabulary) -> str:
    return words("", Cube({each.field: each.intervals for each in part.what}), names).strip()


def _cases(program: Program, question: Question, hook: str, names: Vocabulary) -> tuple[Case, ...]:
    fixed = of_memory(question, program)
    wanted = And((question.region, *question.what))
    build = Build((program,), hook, (wanted,), fixed, by_rule=True)
    diagrams = build.diagrams
    asked = build.condition(wanted, tuple(fixed.items()))
    root = diagrams.choose(asked, build.outcome(0), build.terminal(IMPOSSIBLE))
    ends = [end for end in sorted(diagrams.terminals(root)) if build.kind(end) != IMPOSSIBLE]
    found = []
    for end in ends:
        region = diagrams.where(root, end.__eq__)
        path = diagrams.difference(region, NO, witness.preferred(build.atoms))
        decided = build.keys[end]
        if path is None or isinstance(decided, str):
            continue
        when = () if len(ends) == 1 or region == YES else _when(build, region, names)
        found.append(Case(decided, when, {**witness.packet(build.atoms, path[0]), **fixed}))
    return tuple(found)


def _when(build: Build, region: int, names: Vocabulary) -> tuple[str, ...]:
    """Only what tells the cases apart: the rest is in the question."""
    lines = (words("", cube, names).removeprefix("anything").strip() for cube in cubes(build, region))
    return tuple(line or "otherwise" for line in lines)
