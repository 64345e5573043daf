"""What every kind of ruleset is to the model: chains of rules, each a condition and what then happens.

A policy, an nft listing and iptables-save text are read into this, each by a front end of its own
(`of_policy`, `of_nft`, `of_iptables`) that shares no code with what emits them.
"""

from __future__ import annotations

from fwpolicy.errors import FwpolicyError
from fwpolicy.model.fields import Where, universe
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from fwpolicy.addresses import Interval, Intervals


# Chains that decide; `route` ones also look the route up again (nft(8), "CHAINS").
FILTERS = ("filter", "route")
EMPTY: Mapping[str, str] = {}

# Conditions.


@record
class Lit:
    """`field` is in one of `intervals` (sorted, disjoint). Nothing is implied: front ends write guards."""

    field: str
    intervals: Intervals


@record
class Tuples:
    """A concatenation: one of `rows` has, for each of `fields`, an interval with its value."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Interval, ...], ...]


@record
class And:
    """All of `parts`; of none: always."""

    parts: tuple[Expr, ...]


@record
class Or:
    """One of `parts`; of none: never."""

    parts: tuple[Expr, ...]


@record
class Not:
    """Not `part`."""

    part: Expr


Expr = Lit | Tuples | And | Or | Not
ALWAYS = And(())
NEVER = Or(())


# What happens then.


@record
class Verdict:
    """`kind`: "accept" (ends its base chain), or final: "drop", "reject:KIND", "queue", or in a chain of
    type nat what the translation is, as in "dnat 192.0.2.10:8443"."""

    kind: str


@record
class Jump:
    """Go on in a chain and come back, or, with `goto`, end where that chain ends."""

    chain: str
    goto: bool = False


@record
class Return:
    """Back to where the chain was jumped from; in a base chain, its policy."""


Action = Verdict | Jump | Return
ACCEPT, DROP = Verdict("accept"), Verdict("drop")


@record
class Rule:
    """What happens to a packet that `guard` holds for. `where`: its place and text.

    `origin`: the policy's line behind it, as said by a comment or by the policy itself; never proof.
    """

    guard: Expr
    action: Action
    where: Where
    origin: object = None


@record
class Base:
    """`hook`: prerouting, input, forward, output or postrouting. `families`: those whose packets come.

    `policy`: what happens at the end. Among chains of one priority the kernel's order is the order of
    registration, last first; `Program.bases` are in order.
    """

    hook: str
    priority: int
    type: str
    policy: Verdict
    families: tuple[int, ...] = (4, 6)


@record
class Chain:
    """`name` is unique in a program, as in "inet fwpolicy input" or "ip filter INPUT"."""

    name: str
    rules: tuple[Rule, ...]
    base: Base | None = None


@record
class Program:
    """Chains by name. `unmodelled`: statements whose effect the model does not follow, each by its place:
    whoever proves or explains names them. `limiters`: what each limiter lets through, as in
    "rate 10/second burst 5 per ipv4 source" or "count 20"; by field."""

    chains: Mapping[str, Chain]
    unmodelled: tuple[Where, ...] = ()
    limiters: Mapping[str, str] = EMPTY

    def bases(self, hook: str, types: tuple[str, ...] = FILTERS) -> list[Chain]:
        """The base chains of `hook`, first run first."""
        found = [
            chain
            for chain in self.chains.values()
            if chain.base and chain.base.hook == hook and chain.base.type in types
        ]
        return sorted(found, key=lambda chain: chain.base.priority if chain.base else 0)


@record
class Decided:
    """An outcome with what said so: a rule, or, where `rule` is None, the end of base chain `chain`."""

    kind: str
    rule: Rule | None
    chain: str


_LONGEST = 300


class NotModelledError(FwpolicyError, ValueError):
    """What the model refuses, by name; `where` is its place."""

    def __init__(self, message: str, where: Where | None = None) -> None:
        place = str(where) if where else ""
        # A line of a map may be thousands of elements long.
        shown = place if len(place) <= _LONGEST else f"{place[:_LONGEST]} ..."
        super().__init__(f"{shown}: {message}" if where else message)
        self.where = where


# Jumps.

# The kernel stops at 16 of nft's; of iptables', which it does not count, more than these are too many frames.
_DEEPEST = 64


def refuse_loops(chains: Mapping[str, Chain]) -> None:
    """Raises NotModelledError for jumps in a circle, which the kernel refuses. Without recursion: chains may
    be nested deeper than Python's stack. Each target is there."""
    done: set[str] = set()
    for start in chains:
        # The chains on the way here, each with the jumps in it that are still to follow.
        path = {} if start in done else {start: _jumps(chains, start)}
        while path:
            name = next(reversed(path))
            target, where = next(path[name], ("", None))
            if not target:
                done.add(name)
                del path[name]
            elif target in path:
                raise NotModelledError("this leads in a circle", where)
            elif target not in done:
                path[target] = _jumps(chains, target)


def refuse_depth(chain: str, above: tuple[str, ...], where: Where | None = None) -> None:
    """Raises NotModelledError where `chain` stands below itself, or below too many others."""
    if chain in above:
        raise NotModelledError(f"chain {chain} jumps in a circle", where)
    if len(above) > _DEEPEST:
        raise NotModelledError(f"chain {chain} is below more than {_DEEPEST} others", where)


def _jumps(chains: Mapping[str, Chain], name: str) -> Iterator[tuple[str, Where | None]]:
    return ((rule.action.chain, rule.where) for rule in chains[name].rules if isinstance(rule.action, Jump))


def spoken(kind: str) -> str:
    """A verdict's kind in words: "reject with tcp-reset"."""
    return kind.replace("reject:", "reject with ", 1)


class TooLargeError(NotModelledError):
    """More combinations than anybody waits for; nothing is concluded."""

    def __init__(self) -> None:
        super().__init__(
            "too many combinations for the packet model: groups filled at run time, limits and chains that "
            "are reached by many ways multiply; check, compile, plan and apply take --no-prove"
        )


# One packet, the slow and obvious way: the tests' yardstick for the diagrams.


def holds(expr: Expr, packet: Mapping[str, int]) -> bool:
    """Whether the condition holds for `packet`: a value for each field that matters; 0 where it is left out
    (for families the first of the universe)."""
    match expr:
        case Lit(field, intervals):
            return _within(_value(packet, field), intervals)
        case Tuples(fields, rows):
            values = [_value(packet, field) for field in fields]
            return any(
                all(first <= value <= last for value, (first, last) in zip(values, row, strict=True))
                for row in rows
            )
        case And(parts):
            return all(holds(part, packet) for part in parts)
        case Or(parts):
            return any(holds(part, packet) for part in parts)
        case Not(part):
            return not holds(part, packet)


def _value(packet: Mapping[str, int], field: str) -> int:
    return packet[field] if field in packet else universe(field)[0][0]


def _within(value: int, intervals: Intervals) -> bool:
    return any(first <= value <= last for first, last in intervals)


def used_fields(expr: Expr) -> Iterator[str]:
    """The fields that a condition looks at."""
    match expr:
        case Lit(field):
            yield field
        case Tuples(fields):
            yield from fields
        case And(parts) | Or(parts):
            for part in parts:
                yield from used_fields(part)
        case Not(part):
            yield from used_fields(part)


def with_fields(program: Program, names: Mapping[str, str]) -> Program:
    """The program with other names for some fields."""
    if not names:
        return program
    chains = {
        name: Chain(
            name,
            tuple(replace(rule, guard=_with_fields(rule.guard, names)) for rule in chain.rules),
            chain.base,
        )
        for name, chain in program.chains.items()
    }
    limiters = {names.get(field, field): what for field, what in program.limiters.items()}
    return Program(chains, program.unmodelled, limiters)


def _with_fields(expr: Expr, names: Mapping[str, str]) -> Expr:
    match expr:
        case Lit(field, intervals):
            return Lit(names[field], intervals) if field in names else expr
        case Tuples():
            return expr
        case And(parts):
            return And(tuple(_with_fields(part, names) for part in parts))
        case Or(parts):
            return Or(tuple(_with_fields(part, names) for part in parts))
        case Not(part):
            return Not(_with_fields(part, names))


def with_literal(program: Program, field: str, instead: Expr) -> Program:
    """The program with `instead` in the place of every condition on `field`."""
    return with_literals(program, lambda literal: instead if literal.field == field else literal)


def from_time(program: Program, now: int) -> Program:
    """A program that does the same from `now` (Unix time) on, and in which nothing is left of what is over by
    then: a condition on a time counts as far as it reaches beyond."""

    def ahead(literal: Lit) -> Expr:
        if literal.field != "time":
            return literal
        intervals = tuple(each for each in literal.intervals if each[1] >= now)
        return Lit("time", intervals) if intervals else Or(())

    return with_literals(program, ahead)


def with_literals(program: Program, instead: Callable[[Lit], Expr]) -> Program:
    """The program with `instead(literal)` in the place of every literal of its conditions."""

    def changed(expr: Expr) -> Expr:
        match expr:
            case Lit():
                return instead(expr)
            case And(parts):
                return And(tuple(map(changed, parts)))
            case Or(parts):
                return Or(tuple(map(changed, parts)))
            case Not(part):
                return Not(changed(part))
            case Tuples():
                return expr

    chains = {
        name: Chain(name, tuple(replace(rule, guard=changed(rule.guard)) for rule in chain.rules), chain.base)
        for name, chain in program.chains.items()
    }
    return Program(chains, program.unmodelled, program.limiters)


def of_table(program: Program, table: str) -> Program:
    """Only the chains of one table ("inet fwpolicy")."""
    return of_tables(program, {table})


def of_tables(program: Program, tables: Container[str]) -> Program:
    """Only the chains of these tables."""
    chains = {name: chain for name, chain in program.chains.items() if name.rpartition(" ")[0] in tables}
    unmodelled = tuple(where for where in program.unmodelled if _is_in(where, tables))
    return Program(chains, unmodelled, program.limiters)


def _is_in(where: Where, tables: Container[str]) -> bool:
    """Of one of their chains, or of a table as a whole."""
    return where.chain in tables or where.chain.rpartition(" ")[0] in tables


def run(program: Program, name: str, packet: Mapping[str, int]) -> tuple[Verdict | None, Rule | None]:
    """(verdict, the rule that gave it) of chain `name`; (None, None) where its end is reached, or a return.
    A base chain's policy is not applied."""
    for rule in program.chains[name].rules:
        if not holds(rule.guard, packet):
            continue
        match rule.action:
            case Verdict():
                return rule.action, rule
            case Return():
                return None, None
            case Jump(target, goto):
                verdict, decider = run(program, target, packet)
                if verdict is not None or goto:
                    return verdict, decider
    return None, None
