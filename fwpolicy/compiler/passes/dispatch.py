"""Many rules in a row, each about one protocol, family or interface, move to a chain for each.

A packet of another kind then takes one step over all of them, instead of one each.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from fwpolicy.compiler.passes.chains import each_table, step_by_step
from fwpolicy.ir.ruleset import (
    Address,
    Chain,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    Match,
    Nfproto,
    PerSource,
    Port,
    Return,
    Rule,
)
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwpolicy.ir.ruleset import Ruleset, Table

    Kind = Callable[[Rule], Match | None]

NAME = "dispatch"
ABOUT = "many rules about one protocol, family or interface move to a chain of their own"

# A jump and the way back cost about two rules; less than this in a row saves too little to be worth reading.
ENOUGH = 16
# The largest kind may hold so much of them: else most packets gain nothing.
_SHARE = 0.8
_WORDS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp"}


def run(ruleset: Ruleset) -> Ruleset:
    """Kinds exclude each other, so that rules of different ones may change places."""
    return each_table(ruleset, lambda table: _Dispatch(table).table())


def _protocol(rule: Rule) -> Match | None:
    for match in rule.matches:
        match match:
            case Port(protocol) | IcmpType(protocol) | L4Proto((protocol,)):
                return L4Proto((protocol,))
    return None


def _family(rule: Rule) -> Match | None:
    for match in rule.matches:
        match match:
            case Nfproto(family) | Address(family) | PerSource(family):
                return Nfproto(family)
            case IcmpType(protocol):
                return Nfproto(4 if protocol == 1 else 6)
    return None


def _interface(key: str) -> Kind:
    def kind(rule: Rule) -> Match | None:
        for match in rule.matches:
            match match:
                case Interface(found, (name,), False) if found == key and not name.endswith("*"):
                    return match
        return None

    return kind


KINDS: tuple[Kind, ...] = (_protocol, _family, _interface("iifname"), _interface("oifname"))


class _Dispatch:
    """One table, and the chains made for it."""

    def __init__(self, table: Table) -> None:
        self.old = table
        self.names = {chain.name for chain in table.chains}
        self.made: list[Chain] = []

    def table(self) -> Table:
        chains = [self.chain(chain) for chain in self.old.chains]
        return replace(self.old, chains=(*self.made, *chains))

    def chain(self, chain: Chain) -> Chain:
        if not chain.base or chain.base.type != "filter" or len(chain.rules) < ENOUGH:
            return chain
        return replace(chain, rules=step_by_step(chain.rules, partial(self.step, chain.name)))

    def step(self, chain: str, rules: Sequence[Rule]) -> list[Rule]:
        """The rules of one step: in the best of the kinds, run by run."""
        best = min(KINDS, key=lambda kind: _steps(rules, kind))
        done: list[Rule] = []
        for run_ in _runs(rules, best):
            done += self.spread(chain, run_, best)
        return done

    def spread(self, chain: str, rules: Sequence[Rule], kind: Kind) -> Sequence[Rule]:
        groups = _groups(rules, kind)
        if groups is None:
            return rules
        done: dict[object, Rule] = {}
        for index, rule in enumerate(rules):
            match = kind(rule)
            if match is None or len(groups[match]) < ENOUGH // 2:
                done[index] = rule
            elif match not in done:
                done[match] = self.jump(chain, match, groups[match])
        return list(done.values())

    def jump(self, chain: str, match: Match, rules: list[Rule]) -> Rule:
        wanted = f"{rules[0].step}_{chain}_{_word(match)}".replace(":", "_")
        name, number = wanted, 1
        while name in self.names:
            number += 1
            name = f"{wanted}_{number}"
        self.names.add(name)
        self.made.append(Chain(name, tuple(rules)))
        return Rule((match,), Jump(name), rules[0].step)


def _runs(rules: Sequence[Rule], kind: Kind) -> list[list[Rule]]:
    """Neighbours that are all of some kind, or all of none."""
    runs: list[list[Rule]] = []
    before = None
    for rule in rules:
        known = _known(rule, kind)
        if known != before:
            runs.append([])
        runs[-1].append(rule)
        before = known
    return runs


def _known(rule: Rule, kind: Kind) -> bool:
    """A return would end the new chain, not this one."""
    return kind(rule) is not None and not isinstance(rule.verdict, Return)


def _groups(rules: Sequence[Rule], kind: Kind) -> dict[Match, list[Rule]] | None:
    """The rules of each kind; None where there is nothing to gain."""
    if len(rules) < ENOUGH or not _known(rules[0], kind):
        return None
    groups: dict[Match, list[Rule]] = {}
    for rule in rules:
        match = kind(rule)
        if match is not None:
            groups.setdefault(match, []).append(rule)
    largest = max(map(len, groups.values()))
    return groups if largest <= _SHARE * len(rules) and largest >= ENOUGH // 2 else None


def _steps(rules: Sequence[Rule], kind: Kind) -> int:
    """How many of `rules` a packet goes by at most."""
    steps = 0
    for each in _runs(rules, kind):
        groups = _groups(each, kind)
        sizes = Counter({match: len(group) for match, group in (groups or {}).items()})
        steps += len(sizes) + max(sizes.values()) if sizes else len(each)
    return steps


def _word(match: Match) -> str:
    match match:
        case L4Proto((protocol,)):
            return _WORDS.get(protocol, f"ip_{protocol}")
        case Nfproto(family):
            return f"ipv{family}"
        case Interface(_, (name,)):
            return "".join(letter if letter.isalnum() else "_" for letter in name)
        case _:
            raise AssertionError(f"no kind: {match}")
