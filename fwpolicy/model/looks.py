"""Rules that do more or less than their text makes one think, each with a packet that shows it.

The suspicion comes from how a rule is written; that it matters is proved, by comparing the program with what
the reader may have meant.
"""

from __future__ import annotations

from fwpolicy.model import fields, hooks, witness
from fwpolicy.model.build import Build, comes
from fwpolicy.model.concrete import SOME
from fwpolicy.model.diagram import NO, YES
from fwpolicy.model.gather import literals
from fwpolicy.model.hooks import LO
from fwpolicy.model.lint import Finding
from fwpolicy.model.program import ACCEPT, DROP, And, Decided, Lit, Not, Rule, Verdict
from fwpolicy.model.prove import difference
from fwpolicy.model.steps import Step
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.model.program import Chain, Expr, Program

TCP, UDP = 6, 17
_INVALID = fields.STATES.index("invalid")
_ADDRESSES = {f"{side}{family}": family for side in ("saddr", "daddr") for family in (4, 6)}
_TCP_FROM_OUTSIDE = (Lit("l4proto", ((TCP, TCP),)), Not(Lit("iif", LO)))


def looks(program: Program) -> tuple[Finding, ...]:
    """Such rules of a program that is no policy's: a policy's lines imply nothing.

    A negation that holds for one family or protocol only, where the other is treated otherwise. TCP packets
    that connection tracking calls invalid, accepted before the rule that drops them. A chain whose policy
    never applies, for a rule accepts all.
    """
    rules = [rule for chain in program.chains.values() for rule in chain.rules]
    if any(isinstance(rule.origin, Step) for rule in rules):
        return ()
    found: list[Finding] = []
    for chain in program.chains.values():
        for place, rule in enumerate(chain.rules):
            found += _of_rule(program, chain, place, rule)
    return tuple(found)


def _of_rule(program: Program, chain: Chain, place: int, rule: Rule) -> Iterator[Finding]:
    if not isinstance(rule.action, Verdict):
        return
    for meant in _meant(rule.guard):
        finding = _narrower(program, chain, place, replace(rule, guard=meant))
        if finding:
            yield finding
    if chain.base is None:
        return
    if rule.action == DROP and any(map(_is_invalid, _parts(rule.guard))):
        finding = _admits_invalid(program, chain, rule)
        if finding:
            yield finding
    if rule.action == ACCEPT and chain.base.policy != ACCEPT and _is_all(program, chain, rule):
        policy = Decided(chain.base.policy.kind, None, chain.name)
        yield Finding("wider", (rule,), (policy,))


def _parts(guard: Expr) -> tuple[Expr, ...]:
    """What must hold for the guard to hold."""
    if not isinstance(guard, And):
        return (guard,)
    return tuple(part for each in guard.parts for part in _parts(each))


def _meant(guard: Expr) -> Iterator[Expr]:
    """What a rule with a negation might be taken for: the same for all of the other family, and for the other
    protocol's ports."""
    parts = _parts(guard)
    for part in parts:
        if not isinstance(part, Not) or not isinstance(part.part, Lit):
            continue
        family = _ADDRESSES.get(part.part.field)
        rest = tuple(each for each in parts if each is not part)
        if family and _only("nfproto", family) in rest:
            others = tuple(each for each in rest if each != _only("nfproto", family))
            yield And((*others, _only("nfproto", 10 - family)))
        for protocol, other in ((TCP, UDP), (UDP, TCP)):
            if part.part.field in ("dport", "sport") and _only("l4proto", protocol) in rest:
                others = tuple(each for each in parts if each != _only("l4proto", protocol))
                yield And((*others, _only("l4proto", other)))


def _is_invalid(part: Expr) -> bool:
    return isinstance(part, Lit) and part.field == "ctstate" and part.intervals[:1] == ((_INVALID, _INVALID),)


def _only(field: str, value: int) -> Lit:
    return Lit(field, ((value, value),))


def _with(program: Program, chain: Chain, rules: tuple[Rule, ...]) -> dict[str, Chain]:
    return {**program.chains, chain.name: replace(chain, rules=rules)}


def _narrower(program: Program, chain: Chain, place: int, meant: Rule) -> Finding | None:
    """A packet to which something else would happen, did the rule also match what is `meant`."""
    rules = (*chain.rules[: place + 1], meant, *chain.rules[place + 1 :])
    changed = replace(program, chains=_with(program, chain, rules))
    for hook in hooks.PASSED:
        if not _reaches(program, hook, chain):
            continue
        found = difference(program, changed, hook)
        if found:
            instead = (
                _end(program, hook, found.packet) if found.one_rule is None else found.one_rule.where.chain
            )
            other = Decided(found.one, found.one_rule, instead)
            return Finding("narrower", (chain.rules[place],), (other,), hook, _shown(program, found.packet))
    return None


def _end(program: Program, hook: str, packet: dict[str, int]) -> str:
    """The chain whose policy decides on a packet that no rule does."""
    names = ""
    for stage in hooks.stages(program, hook):
        base = stage.chain.base
        if base and packet.get("nfproto", 4) in base.families:
            names = stage.chain.name
            if base.policy != ACCEPT:
                break
    return names


def _reaches(program: Program, hook: str, chain: Chain) -> bool:
    """Whether packets of the hook may come to the chain; not for certain, which is left to the comparison."""
    if chain.base is None:
        return any(hooks.stages(program, hook))
    return any(stage.chain is chain for stage in hooks.stages(program, hook))


def _admits_invalid(program: Program, chain: Chain, rule: Rule) -> Finding | None:
    """A TCP packet that the rule would drop as invalid, had not another accepted it before."""
    first = replace(rule, guard=And((rule.guard, *_TCP_FROM_OUTSIDE)))
    changed = replace(program, chains=_with(program, chain, (first, *chain.rules)))
    for hook in hooks.PASSED:
        packet = _admitted(program, changed, hook) if _reaches(program, hook, chain) else None
        culprit = hooks.decide(program, hook, packet)[1] if packet else None
        if packet and culprit:
            dropped = Decided(DROP.kind, rule, chain.name)
            return Finding("wider", (culprit,), (dropped,), hook, _shown(program, packet))
    return None


def _admitted(program: Program, changed: Program, hook: str) -> dict[str, int] | None:
    """A packet that the program accepts and the changed one does not."""
    build = Build((program, changed), hook)

    def admits(one: int, other: int) -> int:
        return YES if build.kind(one) == ACCEPT.kind != build.kind(other) else NO

    admitted = build.diagrams.pairs(build.outcome(0), build.outcome(1), admits)
    found = build.diagrams.difference(admitted, NO, witness.preferred(build.atoms))
    return witness.packet(build.atoms, found[0]) if found else None


def _shown(program: Program, packet: Mapping[str, int]) -> dict[str, int]:
    """The packet without what goes without saying: a time that no rule looks at, an interface that none
    names."""
    guards = (rule.guard for chain in program.chains.values() for rule in chain.rules)
    used = {field for guard in guards for field, _ in literals(guard)}
    dull = {field for field in ("iif", "oif") if packet.get(field) == SOME}
    return {field: value for field, value in packet.items() if field not in dull | ({"time"} - used)}


def _is_all(program: Program, chain: Chain, rule: Rule) -> bool:
    """Whether the rule matches every packet that there can be in its base chain."""
    alone = replace(program, chains={chain.name: replace(chain, rules=(rule,))})
    for hook in hooks.PASSED:
        for stage in hooks.stages(alone, hook):
            build = Build((alone,), hook)
            missed = build.diagrams.choose(
                build.condition(rule.guard, tuple(stage.fixed.items())), NO, build.possible
            )
            families = chain.base.families if chain.base else (4, 6)
            if families != (4, 6):
                missed = build.diagrams.within(build.condition(comes(families)), missed)
            if missed != NO:
                return False
    return True
