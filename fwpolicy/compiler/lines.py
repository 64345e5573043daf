"""A line of `allow` or `block` as rules: holes, expiry, limits, logs and the verdict.

A line whose parts fit into one rule is one; else its rules stand in a chain of the line's name, so
that a limiter is one, however many rules lead to it.
"""

from __future__ import annotations

from fwpolicy.compiler.denial import Denial, log_prefix
from fwpolicy.compiler.matches import legs
from fwpolicy.ir.ruleset import (
    Before,
    Chain,
    Continue,
    CtCount,
    DynamicSet,
    IcmpType,
    Jump,
    L4Proto,
    LimitName,
    LimitObject,
    Log,
    Match,
    Nfproto,
    PerSource,
    Port,
    Rate,
    Return,
    Rule,
)
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.compiler.names import Names
    from fwpolicy.compiler.sets import Sets
    from fwpolicy.policy import model

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
# An element that is this young is no burden, and renewing it less often no gain.
_SHORTEST = 60


class Lines:
    """Collects the chains and limits behind a table's lines."""

    def __init__(self, sets: Sets, denial: Denial, names: Names) -> None:
        self.sets = sets
        self.denial = denial
        self.names = names
        self.chains: list[Chain] = []
        self._called: set[str] = set()
        self.limits: dict[str, LimitObject] = {}
        self._cores: dict[str, tuple[Rule, ...]] = {}

    def add(self, chain: Chain) -> None:
        self.chains.append(chain)
        self._called.add(chain.name)

    def rules(self, line: model.Rule, step: str, name: str, redirected: bool = False) -> list[Rule]:
        """The rules of `line`; `redirected`: those of the forward hook that a `published` line has, too."""
        ways = legs(self.sets, line.match, line.families, redirected)
        if line.expires is not None:
            ways = [(*way, Before(line.expires)) for way in ways]
        if not ways:
            return []
        if _is_simple(line):
            return self._simple(line, step, name, ways)
        core = self._core(line, step, name, several=len(ways) > 1)
        if line.holes:
            jump = Jump(self._excepted(line, step, name, core, redirected))
            core = (Rule((), jump, step, line.origin),)
        return [_behind(way, rule) for way in ways for rule in core if not _contradicts(way, rule.matches)]

    def _simple(self, line: model.Rule, step: str, name: str, ways: list[tuple[Match, ...]]) -> list[Rule]:
        """Of a line that is nothing but its matches and its verdict."""
        pairs = self.denial.verdicts(line.verdict)
        return [
            Rule((*way, *guard), verdict, step, line.origin, name, line.comment)
            for way in ways
            for guard, verdict in pairs
            if not _contradicts(way, guard)
        ]

    def _excepted(
        self, line: model.Rule, step: str, name: str, core: tuple[Rule, ...], redirected: bool
    ) -> str:
        """The chain that lets the packets in a hole go on, and ends in `core`."""
        holes = [replace(hole, published=True) if line.match.published else hole for hole in line.holes]
        returns = [
            Rule(way, Return(), step, line.origin)
            for hole in holes
            for way in legs(self.sets, hole, (4, 6), redirected)
        ]
        chain = self._chain_name(name, "forward" if redirected else "except")
        self.add(Chain(chain, (*returns, *core)))
        return chain

    def _chain_name(self, name: str, suffix: str) -> str:
        """The line's own name for its first chain. What is made of a name may be another line's name: two
        chains of one name would be one chain, with the holes and limits of one of the lines."""
        own = suffix != "forward" and name not in self._called
        return name if own else self.names.take(f"{name}_{suffix}")

    def _core(self, line: model.Rule, step: str, name: str, *, several: bool) -> tuple[Rule, ...]:
        """What happens to a packet that the line matches."""
        if name in self._cores:
            return self._cores[name]
        rules = self._ending(line, step, name)
        gates = self._gates(line.limit, line.families, name) if line.limit else []
        if gates:
            if len(rules) > 1:
                rules = self._in_chain(self.names.take(f"{name}_pass"), rules, step, line)
            rules = tuple(_behind(gate, rule) for gate in gates for rule in rules)
        # A published line comes twice, and a limiter of one rule would be two.
        if (several or line.match.published) and _counts_alone(rules):
            rules = self._in_chain(self._chain_name(name, "limit"), rules, step, line)
        self._cores[name] = rules
        return rules

    def _in_chain(self, name: str, rules: tuple[Rule, ...], step: str, line: model.Rule) -> tuple[Rule, ...]:
        self.add(Chain(name, rules))
        return (Rule((), Jump(name), step, line.origin),)

    def _ending(self, line: model.Rule, step: str, name: str) -> tuple[Rule, ...]:
        pairs = self.denial.verdicts(line.verdict, logged=line.log is None)
        ends = tuple([Rule(guard, v, step, line.origin, name, line.comment) for guard, v in pairs])
        if line.log is None:
            return ends
        log = Log(log_prefix(line.log or f"{self.denial.prefix} {name}"), self.denial.group)
        return Rule((self.denial.rate,), Continue(), step, line.origin, None, None, log), *ends

    def _gates(self, limit: model.Limit, families: tuple[int, ...], name: str) -> list[tuple[Match, ...]]:
        """The conditions of a limit: first the one that a packet beyond it must not use up."""
        rate = Rate(limit.rate, limit.unit, limit.burst) if limit.rate else None
        if limit.per_source:
            return [self._each_source(limit, rate, family, name) for family in families]
        count: tuple[Match, ...] = (CtCount(limit.maximum),) if limit.maximum else ()
        if rate is None:
            return [count]
        self.limits[name] = LimitObject(name, rate)
        return [(*count, LimitName(name))]

    def _each_source(
        self, limit: model.Limit, rate: Rate | None, family: int, name: str
    ) -> tuple[Match, ...]:
        gate: list[Match] = []
        if limit.maximum:
            counted = self.sets.fresh(DynamicSet(f"{name}_conn_v{family}", family, None))
            gate.append(PerSource(family, counted, CtCount(limit.maximum)))
        if rate is not None:
            # Forgotten only when full again, or the forgetting would be a gift.
            refill = -(-rate.burst * _SECONDS[rate.unit] // rate.rate)
            timed = DynamicSet(f"{name}_rate_v{family}", family, max(_SHORTEST, refill))
            gate.append(PerSource(family, self.sets.fresh(timed), rate))
        return tuple(gate)


def _is_simple(line: model.Rule) -> bool:
    """What most are: no part of it needs a chain, or is another line's, too."""
    return not (line.holes or line.limit or line.match.published) and line.log is None


def _behind(matches: tuple[Match, ...], rule: Rule) -> Rule:
    """`rule` where `matches` hold, too. Not by replace(): there is one for each line at least."""
    return Rule(
        (*matches, *rule.matches), rule.verdict, rule.step, rule.origin, rule.counter, rule.comment, rule.log
    )


def _counts_alone(rules: tuple[Rule, ...]) -> bool:
    return any(isinstance(match, CtCount | Rate) for rule in rules for match in rule.matches)


def _contradicts(way: tuple[Match, ...], more: tuple[Match, ...]) -> bool:
    """A rule on UDP ports needs no TCP reset, nor one of IPv4 a limit for each IPv6 source."""
    if not more:
        return False
    protocols = {match.protocol for match in way if isinstance(match, Port | IcmpType)}
    for match in more:
        if isinstance(match, L4Proto) and protocols and not protocols & set(match.protocols):
            return True
        if isinstance(match, PerSource) and _families(way) - {match.family}:
            return True
    return False


def _families(way: tuple[Match, ...]) -> set[int]:
    said = {match.family for match in way if isinstance(match, Nfproto)}
    said |= {getattr(match, "family", 0) for match in way if hasattr(match, "side")} - {0}
    return said | {4 if match.protocol == 1 else 6 for match in way if isinstance(match, IcmpType)}
