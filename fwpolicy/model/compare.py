"""What two programs do differently, as few classes of packets, each with who decides and one example."""

from __future__ import annotations

from itertools import islice

from fwpolicy.model import hooks, witness
from fwpolicy.model.build import Build
from fwpolicy.model.describe import NOTHING, cubes, words
from fwpolicy.model.diagram import NO
from fwpolicy.model.pairing import alike
from fwpolicy.model.steps import Step
from fwpolicy.model.widening import nested
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.model.describe import Cube
    from fwpolicy.model.program import Decided, Program
    from fwpolicy.policy.vocabulary import Vocabulary

ALLOWED, DENIED, OTHERWISE, SENT = "allowed", "denied", "denied otherwise", "translated otherwise"


@record
class Change:
    """Packets of `hook` that are newly `what` (ALLOWED, DENIED, or still denied but OTHERWISE; of
    a translation SENT).

    `classes`: them in words, disjoint; `cubes` by field. `old` and `new`: who decides; `packet`: one of
    them, by field.
    """

    what: str
    hook: str
    classes: tuple[str, ...]
    old: Decided
    new: Decided
    packet: dict[str, int]
    cubes: tuple[Cube, ...]


def changes(
    old: Program, new: Program, names: Vocabulary = NOTHING, most: int | None = None
) -> Iterator[Change]:
    """Every difference, by hook, direction and deciding rules. No packet is in two of them. `most`: classes
    of one that are put into words; of thousands, each beside thousands of addresses, all take minutes."""
    old, new = nested(old, alike(old, new))
    for hook in (*hooks.PASSED, *hooks.TRANSLATED):
        plain = Build((old, new), hook)
        if plain.outcome(0) != plain.outcome(1):
            yield from _of_hook(Build((old, new), hook, by_rule=True), names, most)


def _of_hook(build: Build, names: Vocabulary, most: int | None) -> Iterator[Change]:
    pairs: dict[int, tuple[Decided, Decided]] = {}
    groups: dict[tuple[object, ...], list[int]] = {}

    def pair(one: int, other: int) -> int:
        old, new = build.keys[one], build.keys[other]
        if isinstance(old, str) or isinstance(new, str) or old.kind == new.kind:
            return NO
        terminal = build.terminal(f"{one} {other}")
        if terminal not in pairs:
            pairs[terminal] = old, new
            key = (_what(build.hook, old.kind, new.kind), _decider(old), _decider(new))
            groups.setdefault(key, []).append(terminal)
        return terminal

    diagrams = build.diagrams
    differing = diagrams.pairs(build.outcome(0), build.outcome(1), pair)
    likely = witness.preferred(build.atoms)
    order = (ALLOWED, DENIED, OTHERWISE, SENT)
    for (what, _, _), terminals in sorted(groups.items(), key=lambda item: order.index(str(item[0][0]))):
        region = diagrams.where(differing, frozenset(terminals).__contains__)
        found = diagrams.difference(region, NO, likely)
        if found is None:
            continue
        old, new = pairs[terminals[0]]
        parts = tuple(islice(cubes(build, region), most))
        classes = tuple(dict.fromkeys(words(build.hook, cube, names) for cube in parts))
        yield Change(str(what), build.hook, classes, old, new, witness.packet(build.atoms, found[0]), parts)


def _what(hook: str, old: str, new: str) -> str:
    if hook in hooks.TRANSLATED:
        return SENT
    if new == "accept":
        return ALLOWED
    return DENIED if old == "accept" else OTHERWISE


def _decider(decided: Decided) -> object:
    """What one group has in common: a policy's line, whatever its legs; a rule; a chain's policy."""
    if decided.rule is None:
        return decided.chain
    origin = decided.rule.origin
    if isinstance(origin, Step):
        return (origin.step, origin.origin)
    return id(decided.rule)
