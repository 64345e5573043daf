"""What a policy lets in or through that a reviewer had better look at: what `diff` would call risky if it
were all new."""

from __future__ import annotations

from itertools import islice

from fwpolicy.addresses import merge
from fwpolicy.fleet.risk import of_cubes
from fwpolicy.fleet.telling import decider
from fwpolicy.model import fields
from fwpolicy.model.build import Build
from fwpolicy.model.describe import cubes, words
from fwpolicy.model.diagram import NO
from fwpolicy.model.hooks import LO
from fwpolicy.model.program import ACCEPT, And, Decided, Lit, Not
from fwpolicy.model.reach import fixed_new
from fwpolicy.model.steps import Step
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.addresses import Intervals
    from fwpolicy.fleet.unit import Reading
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy
    from fwpolicy.policy.vocabulary import Vocabulary

# Of one opening; nobody reads more.
_CLASSES = 3
# More classes than these of one line are no more telling.
_MOST = 500
# What every policy lets through is nobody's opening.
_NOBODYS = ("loopback", "essential", "established")
_BEGINS = (Lit("ctdir", ((0, 0),)), Not(Lit("iif", LO)))


@record
class Opening:
    """New connections that come in or pass. `level`, `risks`: how risky, and why (risk.py); `classes`: the
    packets in words; `by`: who lets them; `at`: the line's place, "" where it is none."""

    level: int
    risks: tuple[str, ...]
    hook: str
    classes: tuple[str, ...]
    by: str
    at: str


def openings(
    policy: Policy, program: Program, names: Vocabulary, reading: Reading, now: int
) -> Iterator[Opening]:
    """The risky ones at `now` (Unix time), limits unspent. Raises TooLargeError."""
    passes = policy.forward is not None or policy.nat is not None
    for hook in ("input", "forward") if passes else ("input",):
        fixed = fixed_new((program,), now)
        build = Build((program,), hook, _BEGINS, fixed, by_rule=True)
        begins = build.diagrams.both(build.possible, build.condition(And(_BEGINS), tuple(fixed.items())))
        outcome = build.outcome(0)
        for decided, terminals in _accepted(build, outcome):
            own = build.diagrams.where(outcome, terminals.__contains__)
            region = build.diagrams.both(begins, own)
            if region != NO:
                yield from _opening(build, region, begins, decided, names, reading, _outside(policy))


def _accepted(build: Build, outcome: int) -> Iterator[tuple[Decided, frozenset[int]]]:
    """Who lets packets through, with all the outcomes that are his."""
    found: dict[object, list[int]] = {}
    first: dict[object, Decided] = {}
    for terminal in sorted(build.diagrams.terminals(outcome)):
        decided = build.keys[terminal]
        if not isinstance(decided, Decided) or decided.kind != ACCEPT.kind:
            continue
        step = _step(decided)
        if step is None or step.step not in _NOBODYS:
            key = (step.step, step.origin) if step else None
            first.setdefault(key, decided)
            found.setdefault(key, []).append(terminal)
    return ((first[key], frozenset(terminals)) for key, terminals in found.items())


def _opening(
    build: Build,
    region: int,
    begins: int,
    decided: Decided,
    names: Vocabulary,
    reading: Reading,
    outside: Intervals | None,
) -> Iterator[Opening]:
    found = tuple(islice(cubes(build, region, begins), _MOST))
    level, why = of_cubes(found, outside)
    if not level:
        return
    classes = sorted({words("", cube, names) for cube in found[:_CLASSES]})
    more = ("and more",) if len(found) > _CLASSES else ()
    step = _step(decided)
    place = f"{step.origin.file}:{step.origin.line}" if step and step.origin else ""
    yield Opening(level, why, build.hook, (*classes, *more), decider(decided.rule, reading), place)


def _step(decided: Decided) -> Step | None:
    origin = decided.rule.origin if decided.rule else None
    return origin if isinstance(origin, Step) else None


def _outside(policy: Policy) -> Intervals | None:
    """The interfaces that addresses are translated at, on the way out: the Internet is behind them."""
    nat = policy.nat
    names = [name for each in (nat.masquerade if nat else ()) for name in each.outgoing]
    names += [name for each in (nat.snat if nat else ()) for name in each.outgoing]
    return merge(each for name in names for each in fields.interface(name)) if names else None
