"""One more base chain beside a program: what it takes from new connections, and what it cannot give them."""

from __future__ import annotations

from itertools import islice

from fwpolicy.model.build import Build
from fwpolicy.model.describe import NOTHING, Cube, cubes, words
from fwpolicy.model.diagram import NO
from fwpolicy.model.hooks import LO, PASSED
from fwpolicy.model.program import ACCEPT, And, Decided, Jump, Lit, Not, Program
from fwpolicy.model.reach import fixed_new
from fwpolicy.model.units import is_background
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.program import Chain, Expr
    from fwpolicy.policy.vocabulary import Vocabulary

# More classes than these nobody reads.
MOST = 3


@record
class Overlap:
    """Classes of new connections in words, at most MOST and one more of each: `taken`, which the program
    accepts by a rule and the chain does not; `refused`, which a rule of the chain accepts and the program
    does not."""

    taken: tuple[str, ...]
    refused: tuple[str, ...]


def overlap(program: Program, others: Program, name: str, now: int, names: Vocabulary = NOTHING) -> Overlap:
    """What base chain `name` of `others` does, beside `program`, to the packets of every hook that pass it;
    those over `lo` aside. Raises NotModelledError."""
    alone = _alone(others, name)
    base = alone.chains[name].base
    taken: list[str] = []
    refused: list[str] = []
    for hook in PASSED:
        if base is None or base.hook not in PASSED[hook]:
            continue
        asked = _not_over_lo(hook)
        build = Build((program, alone), hook, (asked,), fixed_new((program, alone), now), by_rule=True)
        region = build.diagrams.both(build.possible, build.condition(asked))
        region = build.diagrams.both(region, build.diagrams.negated(_background(build)))
        taken += _between(build, region, 0, names)
        refused += _between(build, region, 1, names)
    return Overlap(tuple(dict.fromkeys(taken)), tuple(dict.fromkeys(refused)))


def _alone(program: Program, name: str) -> Program:
    """Only that base chain, and the chains that it leads to."""
    wanted = [name]
    for each in wanted:
        wanted += [
            rule.action.chain
            for rule in program.chains[each].rules
            if isinstance(rule.action, Jump) and rule.action.chain not in wanted
        ]
    chains: dict[str, Chain] = {each: program.chains[each] for each in dict.fromkeys(wanted)}
    return Program(chains, program.unmodelled, program.limiters)


def _not_over_lo(hook: str) -> Expr:
    keys = {"input": ("iif",), "output": ("oif",), "forward": ("iif", "oif")}[hook]
    own = tuple(Lit(key, ((0, 0),)) for key in ("dnat", "ctdir"))
    return And((*own, *(Not(Lit(key, LO)) for key in keys)))


def _between(build: Build, region: int, index: int, names: Vocabulary) -> list[str]:
    """What a rule of programs[index] accepts and the other one does not."""
    both = build.diagrams.both
    contested = both(_accepted(build, index), build.diagrams.negated(_passes(build, 1 - index)))
    return _classes(build, both(region, contested), region, names)


def _background(build: Build) -> int:
    """What becomes of these packets no line of a policy says: they are not worth a word."""
    return build.diagrams.where(build.outcome(0), lambda end: is_background(build.keys[end]))


def _accepted(build: Build, index: int) -> int:
    """What a rule accepts, not only a chain's policy."""

    def is_it(end: int) -> bool:
        outcome = build.keys[end]
        return isinstance(outcome, Decided) and outcome.kind == ACCEPT.kind and outcome.rule is not None

    return build.diagrams.where(build.outcome(index), is_it)


def _passes(build: Build, index: int) -> int:
    return build.diagrams.where(build.outcome(index), lambda end: build.kind(end) == ACCEPT.kind)


def _classes(build: Build, region: int, given: int, names: Vocabulary) -> list[str]:
    if region == NO:
        return []
    found = [_without_silent(cube) for cube in islice(cubes(build, region, given), MOST + 1)]
    return [words(build.hook, cube, names) for cube in found]


def _without_silent(cube: Cube) -> Cube:
    """Without the conditions that the model does not look into and that do not hold."""
    return Cube(
        {
            field: values
            for field, values in cube.values.items()
            if values != ((0, 0),) or not field.startswith("opaque:")
        }
    )
