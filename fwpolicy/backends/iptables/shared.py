"""Limits that are one for both families, which have nothing in common in iptables: two would let twice as
much through."""

from __future__ import annotations

from fwpolicy.backends.iptables.matches import concerns
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.ir.ruleset import Accept, CtCount, Jump, LimitName, Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.backends.iptables.refusal import Refusals
    from fwpolicy.ir.ruleset import Chain, Rule, Table

_MESSAGE = "this limit is one for both families, which iptables counts apart"
_BURST = 5  # where a line has none


def refuse_shared(table: Table, refusals: Refusals) -> None:
    """Adds a refusal for each line whose limit packets of both families would use up."""
    chains = {chain.name: chain for chain in table.chains}
    met: dict[object, set[int]] = {}
    for family in (4, 6):
        for chain in table.chains:
            if chain.base is not None:
                _walk(chain, family, chains, met, set())
    for chain in table.chains:
        for rule in chain.rules:
            if any(met.get(_key(rule, match)) == {4, 6} for match in rule.matches):
                refusals.add(CannotSayError(_MESSAGE, _hint(table, rule)), rule.origin)


def _walk(
    chain: Chain, family: int, chains: dict[str, Chain], met: dict[object, set[int]], seen: set[str]
) -> None:
    """Note which limits packets of the family come to. A log's is none: it decides nothing."""
    if chain.name in seen:
        return
    seen.add(chain.name)
    for rule in chain.rules:
        if not concerns(rule.matches, family):
            continue
        if isinstance(rule.verdict, Jump):
            _walk(chains[rule.verdict.chain], family, chains, met, seen)
        if isinstance(rule.verdict, Accept | Jump):
            for key in filter(None, (_key(rule, match) for match in rule.matches)):
                met.setdefault(key, set()).add(family)


def _key(rule: Rule, match: object) -> object:
    """What is one limit: a named one, or one of a rule's own."""
    match match:
        case LimitName(name):
            return name
        case CtCount() | Rate():
            return id(rule)
        case _:
            return None


def _hint(table: Table, rule: Rule) -> str:
    """The two lines to write in place of the one."""
    limits = {limit.name: limit.rate for limit in table.limits}
    keys = ", ".join(filter(None, (_written(match, limits) for match in rule.matches)))
    lines = [f"          - {{..., {keys}, family: ipv{family}}}" for family in (4, 6)]
    head = "a line for each family, which then has its own; or 'per: source' in this one:"
    return "\n".join((head, *lines))


def _written(match: object, limits: dict[str, Rate]) -> str | None:
    """The keys of a line that a limit is written with."""
    match match:
        case LimitName(name):
            return _written(limits[name], limits)
        case Rate(rate, unit, burst):
            return f"limit: {rate}/{unit}" + ("" if burst == _BURST else f", burst: {burst}")
        case CtCount(maximum):
            return f"max: {maximum}"
        case _:
            return None
