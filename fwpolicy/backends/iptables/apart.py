"""What takes a chain of its own: a count that several rules share, and "none of these interfaces"."""

from __future__ import annotations

from fwpolicy.ir.ruleset import (
    Chain,
    CtCount,
    Interface,
    Jump,
    LimitName,
    Match,
    PerSource,
    Rate,
    Return,
    Rule,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def set_apart(chains: Iterable[Chain]) -> dict[str, Chain]:
    """The chains by name, those that are made here among them."""
    given = list(chains)
    work = _Apart({chain.name for chain in given})
    changed = [Chain(chain.name, tuple(map(work.rule, chain.rules)), chain.base) for chain in given]
    return {chain.name: chain for chain in (*changed, *work.made.values())}


def remembers(rule: Rule) -> bool:
    """Whether it answers once for each packet, so that it must not be written twice."""
    return any(isinstance(match, Rate | LimitName | CtCount | PerSource) for match in rule.matches)


def counts(rule: Rule) -> bool:
    """Whether it counts connections, which connlimit does for each rule by itself."""
    return any(
        isinstance(match, CtCount) or (isinstance(match, PerSource) and isinstance(match.bound, CtCount))
        for match in rule.matches
    )


class _Apart:
    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self.made: dict[object, Chain] = {}

    def rule(self, rule: Rule) -> Rule:
        """The rule, or a jump to what it does."""
        unwanted = [match for match in rule.matches if isinstance(match, Interface) and match.negated]
        if sum(len(match.names) for match in unwanted) > 1:
            return self._none_of(rule, unwanted)
        sources = [match for match in rule.matches if isinstance(match, PerSource)]
        return self._counted(rule, sources[0].set_name) if sources and counts(rule) else rule

    def _counted(self, rule: Rule, name: str) -> Rule:
        memory = tuple(m for m in rule.matches if isinstance(m, Rate | LimitName | CtCount | PerSource))
        way = tuple(match for match in rule.matches if match not in memory)
        inside = (_with(rule, memory),)
        return self._jump(rule, way, name, inside, (memory, rule.verdict, rule.counter, rule.log))

    def _none_of(self, rule: Rule, unwanted: list[Interface]) -> Rule:
        rest = tuple(match for match in rule.matches if match not in unwanted)
        returns = [
            Rule((Interface(match.key, (name,)),), Return(), rule.step, rule.origin)
            for match in unwanted
            for name in match.names
        ]
        inside = (*returns, _with(rule, ()))
        return self._jump(rule, rest, f"{rule.counter or rule.step}_others", inside, (rule.origin, inside))

    def _jump(
        self, rule: Rule, way: tuple[Match, ...], name: str, inside: tuple[Rule, ...], key: object
    ) -> Rule:
        if key not in self.made:
            self.made[key] = Chain(self._fresh(name), inside)
        return Rule(way, Jump(self.made[key].name), rule.step, rule.origin)

    def _fresh(self, wanted: str) -> str:
        number, name = 1, wanted
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def _with(rule: Rule, matches: tuple[Match, ...]) -> Rule:
    return Rule(matches, rule.verdict, rule.step, rule.origin, rule.counter, rule.comment, rule.log)
