"""What is dropped before connection tracking looks up the host's own addresses, and asks for them seldom.

The kernel takes 300 to 500 ns to find out of what kind an address is (`fib daddr type`), a lookup in a hash
set of a few addresses 100. So an address that the kernel has called local is remembered for a moment, and in
a flood that is a quarter less a packet. What is passed on is never in the set: only the kernel's own answer
puts an address there, and it leaves by itself. Not one of IPv6's link-local ones: such an address may be this
host's on one interface, and somebody else's on another.
"""

from __future__ import annotations

from functools import partial
from itertools import chain as chained

from fwpolicy.compiler.passes.chains import each_table
from fwpolicy.ir.ruleset import (
    LOCAL,
    RAW,
    Address,
    Chain,
    Continue,
    DestinationType,
    Drop,
    DynamicSet,
    Jump,
    Remember,
    Return,
    Rule,
    WithMemory,
)
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.ir.ruleset import Ruleset, Table

NAME = "ownaddress"
ABOUT = "what is dropped before connection tracking remembers the host's own addresses for a moment"

# Seconds that an address is remembered: as long, at most, what is passed on to an address that was this
# host's a moment ago is dropped too. model/nft/local.py takes no longer ones.
REMEMBERED = 10
# Addresses of each family; of a host with more, those beyond are asked for each time.
MOST = 1024
# fe80::/10
_ELSEWHERE = Address(6, "daddr", ((0xFE80 << 112, (0xFEC0 << 112) - 1),), negated=True)
_KINDS = tuple(DestinationType((kind,)) for kind in LOCAL)


def run(ruleset: Ruleset) -> Ruleset:
    """Of neighbours that differ in the kind of the destination alone, all of LOCAL, one jump to a chain."""
    return each_table(ruleset, lambda table: _OwnAddress(table).table())


class _OwnAddress:
    """One table, and what is made for it."""

    def __init__(self, table: Table) -> None:
        self.old = table
        self.names = {each.name for each in chained(table.chains, table.sets, table.maps)}
        self.made: dict[Rule, Chain] = {}
        self.sets: dict[int, DynamicSet] = {}

    def table(self) -> Table:
        chains = tuple(map(self.chain, self.old.chains))
        # First: in the order in which sets are made the kernel lists them, and these stay when others go.
        sets = (*self.sets.values(), *self.old.sets)
        return replace(self.old, chains=(*self.made.values(), *chains), sets=sets)

    def chain(self, chain: Chain) -> Chain:
        if chain.base is None or (chain.base.hook, chain.base.priority) != ("prerouting", RAW):
            return chain
        done: list[Rule] = []
        rest = list(chain.rules)
        while rest:
            number = len(_KINDS) if self.are_one(rest[: len(_KINDS)]) else 1
            done.append(self.jump(rest[0]) if number > 1 else rest[0])
            del rest[:number]
        return replace(chain, rules=tuple(done))

    def are_one(self, rules: Sequence[Rule]) -> bool:
        """Do they differ in the kind of the destination alone, and is it each of LOCAL, and dropped?"""
        if tuple(rule.matches[-1] for rule in rules if rule.matches) != _KINDS:
            return False
        alike = len({replace(rule, matches=rule.matches[:-1]) for rule in rules}) == 1
        return alike and self.drops(rules[0]) and not any(isinstance(m, WithMemory) for m in rules[0].matches)

    def drops(self, rule: Rule) -> bool:
        """By itself, or in a chain that nothing leaves otherwise, such as one that logs."""
        if not isinstance(rule.verdict, Jump):
            return isinstance(rule.verdict, Drop)
        to = rule.verdict.chain
        *others, last = next(chain.rules for chain in self.old.chains if chain.name == to) or (rule,)
        quiet = all(isinstance(each.verdict, Continue) for each in others)
        return quiet and isinstance(last.verdict, Drop) and not last.matches

    def jump(self, rule: Rule) -> Rule:
        """To the chain that does what `rule` does with what is for this host."""
        last = replace(rule, matches=())
        if last not in self.made:
            self.made[last] = Chain(self.named("own_address"), self.rules(last))
        to = Jump(self.made[last].name)
        return replace(rule, matches=rule.matches[:-1], verdict=to, counter=None, log=None)

    def rules(self, last: Rule) -> tuple[Rule, ...]:
        known = [
            replace(last, matches=(Address(family, "daddr", set_name=self.known(family)),))
            for family in (4, 6)
        ]
        quiet = partial(Rule, step=last.step, origin=last.origin, comment=last.comment)
        others = quiet((DestinationType(LOCAL, negated=True),), Return())
        new = [
            quiet((*where, _KINDS[0], Remember(family, self.known(family))), Continue())
            for family, where in ((4, ()), (6, (_ELSEWHERE,)))
        ]
        return (*known, others, *new, last)

    def known(self, family: int) -> str:
        if family not in self.sets:
            name = self.named(f"own_address_v{family}")
            self.sets[family] = DynamicSet(name, family, REMEMBERED, MOST)
        return self.sets[family].name

    def named(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.names:
            number += 1
            name = f"{wanted}_{number}"
        self.names.add(name)
        return name
