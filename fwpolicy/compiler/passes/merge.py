"""Neighbours of one line that differ in one match become one rule.

Only of one line: rules of several would no longer count apart. Never fields of bits (NtpMode): a set
of flag values is not the union of the flags (`nft -o` makes that mistake).
"""

from __future__ import annotations

from fwpolicy.addresses import merge, subtract
from fwpolicy.compiler.passes.chains import each_chain, each_table
from fwpolicy.ir.ruleset import (
    Accept,
    Address,
    AnyPort,
    CtCount,
    Drop,
    IcmpType,
    Interface,
    L4Proto,
    Match,
    OriginalPort,
    Port,
    Rate,
    Reject,
    Rule,
    WithMemory,
)
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.addresses import Intervals
    from fwpolicy.errors import Span
    from fwpolicy.ir.ruleset import Ruleset, Table

NAME = "merge"
ABOUT = "neighbouring rules of one line that differ in one match join"


def run(ruleset: Ruleset) -> Ruleset:
    """Two rules become one before the next looks at them, so that any number of them does."""
    return each_table(ruleset, _table)


def _table(table: Table) -> Table:
    return each_chain(table, _rules)


def _rules(rules: Sequence[Rule]) -> list[Rule]:
    merged: list[Rule] = []
    for rule in rules:
        joined = _joined(merged[-1], rule) if merged else None
        if joined is None:
            merged.append(rule)
        else:
            merged[-1] = joined
    return merged


def _joined(one: Rule, other: Rule) -> Rule | None:
    if not _of_one_line(one.origin, other.origin):
        return None
    if _leaves_nothing(one, other):
        return one
    if len(one.matches) != len(other.matches) or replace(one, matches=()) != replace(other, matches=()):
        return None
    different = [index for index, match in enumerate(one.matches) if match != other.matches[index]]
    # A limiter of one rule: two of them let twice as much through.
    if any(isinstance(match, Rate | CtCount) for match in one.matches) or len(different) != 1:
        return None
    (index,) = different
    both = union(one.matches[index], other.matches[index])
    if not _ends(one) and not _apart(one.matches[index], other.matches[index]):
        return None
    if both is None or (_of_several_protocols(both) and _asks_the_original_port(one)):
        return None
    return replace(one, matches=(*one.matches[:index], both, *one.matches[index + 1 :]))


def _of_several_protocols(match: Match) -> bool:
    return isinstance(match, AnyPort | L4Proto) and len(match.protocols) > 1


def _asks_the_original_port(rule: Rule) -> bool:
    """Of one protocol only: behind `meta l4proto { tcp, udp }` nft 1.0.6 has no type for it, lists
    `ct original proto-dst 0x35 [invalid type]`, and does not read that again."""
    return any(isinstance(match, OriginalPort) for match in rule.matches)


def _of_one_line(one: Span | None, other: Span | None) -> bool:
    """Numbers first: most neighbours are of two lines."""
    return one is not None and other is not None and one.line == other.line and one == other


def _leaves_nothing(one: Rule, other: Rule) -> bool:
    """Whatever `other` matches has met its end in `one`: the ICMP error behind a line's TCP reset."""
    if not _ends(one):
        return False
    protocols = {L4Proto((match.protocol,)) for match in one.matches if isinstance(match, Port)}
    there = set(other.matches)
    return all(match in there or match in protocols for match in one.matches)


def _ends(rule: Rule) -> bool:
    """Whatever it matches goes no further; else a packet could meet, and count in, both of two rules."""
    remembers = any(isinstance(match, WithMemory) for match in rule.matches)
    return isinstance(rule.verdict, Accept | Drop | Reject) and not remembers


def _apart(one: Match, other: Match) -> bool:
    match one, other:
        case Port(protocol, _, ports), Port(also, _, more):
            return protocol != also or subtract(merge(ports), merge(more)) == merge(ports)
        case AnyPort(protocols), Port(protocol):
            return protocol not in protocols
        case Address(_, _, members), Address(_, _, more):
            return subtract(merge(members), merge(more)) == merge(members)
        case (IcmpType(_, some), IcmpType(_, others)) | (L4Proto(some), L4Proto(others)):
            return not set(some) & set(others)
        case Interface(_, names), Interface(_, others_):
            return not set(names) & set(others_)
        case _:
            return False


def union(one: Match, other: Match) -> Match | None:
    """The match that holds where one of the two does; None where there is none."""
    match one, other:
        case Port(protocol, side, ports), Port(also, other_side, more) if side == other_side:
            return _ports(protocol, also, side, ports, more)
        case AnyPort(protocols, side, ports), Port(protocol, other_side, more):
            alike = side == other_side and merge(ports) == merge(more)
            return AnyPort(tuple(sorted({*protocols, protocol})), side, ports) if alike else None
        case IcmpType(protocol, types), IcmpType(also, more_types) if protocol == also:
            return IcmpType(protocol, tuple(sorted({*types, *more_types})))
        case L4Proto(protocols), L4Proto(more_protocols):
            return L4Proto(tuple(sorted({*protocols, *more_protocols})))
        case Interface(key, names), Interface(other_key, more_names) if key == other_key:
            plain = not (one.negated or other.negated)
            prefix = any(name.endswith("*") for name in (*names, *more_names))
            return (
                Interface(key, tuple(dict.fromkeys((*names, *more_names)))) if plain and not prefix else None
            )
        case Address(), Address():
            return _addresses(one, other)
        case _:
            return None


def _ports(protocol: int, also: int, side: str, ports: Intervals, more: Intervals) -> Match | None:
    if protocol == also:
        return Port(protocol, side, merge((*ports, *more)))
    return (
        AnyPort(tuple(sorted((protocol, also))), side, merge(ports)) if merge(ports) == merge(more) else None
    )


def _addresses(one: Address, other: Address) -> Match | None:
    """Members in place only: a named set is a group of the policy, and keeps its name."""
    named = one.set_name or other.set_name
    if named or one.negated or other.negated:
        return None
    joined = merge((*one.intervals, *other.intervals))
    same = replace(one, intervals=()) == replace(other, intervals=())
    return replace(one, intervals=joined) if same else None
