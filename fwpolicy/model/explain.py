"""What a program does to the packets of a question, and who says so: one case where that is all."""

from __future__ import annotations

from fwpolicy.model import fields, witness
from fwpolicy.model.build import IMPOSSIBLE, Build
from fwpolicy.model.describe import NOTHING, cubes, words
from fwpolicy.model.diagram import NO, YES
from fwpolicy.model.program import ACCEPT
from fwpolicy.model.question import of_limits
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
    return _cases(program, question, question.hook, names)


def redirections(program: Program, question: Question, names: Vocabulary = NOTHING) -> tuple[Case, ...]:
    """Each translation that sends a connection of the question elsewhere before it comes to the hook."""
    if question.packet.state != "new" or question.hook not in BEFORE:
        return ()
    hook, kind = BEFORE[question.hook]
    asked = replace(question, fixed={**question.fixed, "daddrtype": fields.ADDRESS_TYPES.index(kind)})
    found = _cases(program, asked, hook, names)
    return tuple(case for case in found if case.decided.kind != ACCEPT.kind)


def _cases(program: Program, question: Question, hook: str, names: Vocabulary) -> tuple[Case, ...]:
    fixed = of_limits(question, program)
    build = Build((program,), hook, (question.region,), fixed, by_rule=True)
    diagrams = build.diagrams
    asked = build.condition(question.region, tuple(fixed.items()))
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
