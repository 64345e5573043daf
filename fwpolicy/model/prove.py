"""Whether two programs do the same to every packet, and if not, to which they do not."""

from __future__ import annotations

import gc

from fwpolicy.model import hooks, witness
from fwpolicy.model.build import Build
from fwpolicy.model.segments import slices
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.model.program import Program, Rule
    from fwpolicy.model.segments import Slice


@record
class Difference:
    """A packet of `hook` (field -> value) that the two programs treat differently: the verdicts' kinds, and
    the rules that decide (None: the end of a chain)."""

    hook: str
    packet: dict[str, int]
    one: str
    other: str
    one_rule: Rule | None
    other_rule: Rule | None


def differences(one: Program, other: Program) -> Iterator[Difference]:
    """A difference of each hook, and of each translation, that has one; nothing where the programs are
    equal for every packet.

    Raises NotModelledError where a program jumps in a circle or to a chain that is not there.
    """
    for hook in (*hooks.PASSED, *hooks.TRANSLATED):
        found = difference(one, other, hook)
        if found is not None:
            yield found


def difference(one: Program, other: Program, hook: str) -> Difference | None:
    """A packet of `hook` that tells the programs apart."""
    for each in slices((one, other), hook):
        found = _packet(each, hook)
        if each.within:
            # Functions inside functions hold each other, and the diagrams with them.
            gc.collect()
        if found is not None:
            packet, *kinds = found
            rules = [hooks.decide(program, hook, packet)[1] for program in (one, other)]
            return Difference(hook, packet, kinds[0], kinds[1], rules[0], rules[1])
    return None


def _packet(whole: Slice, hook: str) -> tuple[dict[str, int], str, str] | None:
    """A packet that the two programs of a slice treat differently, and how each does."""
    build = Build(whole.programs, hook, within=whole.within)
    left = build.outcome(0)
    build.keep(left)
    found = build.diagrams.difference(left, build.outcome(1), witness.preferred(build.atoms))
    if found is None:
        return None
    path, one, other = found
    return witness.packet(build.atoms, path), build.kind(one), build.kind(other)
