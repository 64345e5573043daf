"""A policy against invariants, for every packet: a set of packets that must be empty, as a diagram."""

from __future__ import annotations

from fwpolicy.model import fields, hooks, witness
from fwpolicy.model.build import Build
from fwpolicy.model.concrete import to_packet
from fwpolicy.model.conditions import legs, mode, port
from fwpolicy.model.diagram import NO
from fwpolicy.model.of_policy import essential, of_policy
from fwpolicy.model.program import ACCEPT, And, Lit, Not, Or, used_fields
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.fleet.invariants import Invariant
    from fwpolicy.model.program import Expr, Program, Rule
    from fwpolicy.policy.model import Match, Policy

UDP, NTP, CLIENT = 17, 123, 3
LATER = (1 << 63) - 1


@record
class Violation:
    """A packet that shows that invariant number `number` does not hold: its verdict and the rule that gives
    it (None: nothing of the policy does). `packet` is None where no packet is what the line is about."""

    number: int
    packet: str | None
    verdict: str
    rule: Rule | None


def violations(policy: Policy, invariants: Sequence[Invariant], now: int) -> Iterator[Violation]:
    """Each invariant that does not hold from `now` (Unix time) on, with a packet. Raises NotModelledError."""
    program = of_policy(policy)
    for hook in hooks.PASSED:
        own = [(number, each) for number, each in enumerate(invariants) if each.hook == hook]
        if own:
            yield from _of_hook(program, hook, own, now)


def _of_hook(
    program: Program, hook: str, own: Sequence[tuple[int, Invariant]], now: int
) -> Iterator[Violation]:
    regions = [region(each, program, now) for _, each in own]
    build = Build((program,), hook, regions)
    diagrams = build.diagrams
    outcome = build.outcome(0)
    let_through = diagrams.where(outcome, lambda end: build.kind(end) == ACCEPT.kind)
    stopped = diagrams.both(build.possible, diagrams.negated(let_through))
    for (number, each), asked in zip(own, map(build.condition, regions), strict=True):
        if diagrams.both(asked, build.possible) == NO:
            yield Violation(number, None, "", None)
            continue
        wrong = diagrams.both(asked, stopped if each.always else let_through)
        found = diagrams.difference(wrong, NO, witness.preferred(build.atoms))
        if found is not None:
            packet = witness.packet(build.atoms, found[0])
            verdict, rule = hooks.decide(program, hook, packet)
            yield Violation(number, str(to_packet(hook, packet)), verdict.kind, rule)


def region(invariant: Invariant, program: Program, now: int) -> Expr:
    """The packets that the invariant is about.

    Never: of new connections and untracked ones, whatever else is true of them. Always: of new connections
    that nobody redirected, with every limit unspent and in no group that is filled at run time, as PACKET
    has them (docs/cli.md).
    """
    parts = [
        _matching(invariant.match),
        *(Not(_matching(hole)) for hole in invariant.holes),
        *_not_over_lo(invariant.hook),
    ]
    used = _used(program)
    if "time" in used:
        parts.append(Lit("time", ((now, LATER),)))
    if invariant.everything and not invariant.always:
        parts.append(Not(Or(tuple(essential(invariant.hook)))))
    parts += _ordinary(used) if invariant.always else [_states("new", "untracked")]
    return And(tuple(parts))


def _matching(match: Match) -> Expr:
    return Or(tuple(leg for family in (4, 6) for leg in legs(match, family, False)))


def _not_over_lo(hook: str) -> Iterator[Expr]:
    if hook != "forward":
        yield Not(Lit("iif" if hook == "input" else "oif", hooks.LO))


def _states(*names: str) -> Lit:
    return Lit("ctstate", fields.states(*names))


def _ordinary(used: frozenset[str]) -> list[Expr]:
    parts: list[Expr] = [_states("new"), Lit("dnat", ((0, 0),)), Lit("snat", ((0, 0),))]
    parts.append(Or((Not(port(UDP, "dport", NTP)), mode(CLIENT))))
    for field in sorted(used):
        if field.startswith(fields.limiter("")):
            parts.append(Lit(field, ((1, 1),)))
        elif field.startswith("member:"):
            parts.append(Lit(field, ((0, 0),)))
    return parts


def _used(program: Program) -> frozenset[str]:
    """The fields that its rules look at."""
    rules = (rule for chain in program.chains.values() for rule in chain.rules)
    return frozenset(field for rule in rules for field in used_fields(rule.guard))
