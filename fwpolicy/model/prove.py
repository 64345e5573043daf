"""Whether two programs do the same to every packet, and if not, to which they do not."""

from __future__ import annotations

from fwpolicy.model import hooks, witness
from fwpolicy.model.build import Build
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.model.program import Program, Rule


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
    build = Build((one, other), hook)
    left = build.outcome(0)
    build.keep(left)
    roots = left, build.outcome(1)
    found = build.diagrams.difference(*roots, witness.preferred(build.atoms))
    if found is None:
        return None
    path, one_end, other_end = found
    packet = witness.packet(build.atoms, path)
    rules = (hooks.decide(program, hook, packet)[1] for program in (one, other))
    return Difference(hook, packet, build.kind(one_end), build.kind(other_end), *rules)
