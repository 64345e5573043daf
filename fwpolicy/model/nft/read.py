"""A document of libnftables-json(5) -> the program that it is.

Order. Among base chains of one hook and priority the kernel runs the one that was registered last first. A
listing has tables, and chains within each, in the order in which they were made, so they stand in the program
the other way round. A chain added later to an older table is the one case that a listing does not show.
"""

from __future__ import annotations

from fwpolicy.model.fields import Where
from fwpolicy.model.nft import effects, render, rules
from fwpolicy.model.nft.matches import Missing, Scope
from fwpolicy.model.nft.tables import statements, tables
from fwpolicy.model.program import (
    Base,
    Chain,
    Jump,
    NotModelledError,
    Program,
    Verdict,
    refuse_loops,
    used_fields,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fwpolicy.model.nft.rules import Effect
    from fwpolicy.model.nft.tables import Table
    from fwpolicy.model.program import Rule

    Json = Any

FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


# What reading a tree that is not as nft prints it comes to.
BROKEN = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)


def program(document: Json, file: str) -> Program:
    """NotModelledError with the place of what is not understood."""
    try:
        return _program(document, file)
    except BROKEN as error:
        if isinstance(error, NotModelledError):
            raise
        message = f"this is no listing of a ruleset: {error!r}"
        raise NotModelledError(message, Where(file, 0, "", "")) from None


def _program(document: Json, file: str) -> Program:
    everything = tables(document, file)
    limiters: dict[str, str] = {}
    chains: dict[str, Chain] = {}
    done: list[Effect] = []
    unmodelled: list[Where] = []
    for table in reversed(everything):
        if table.family not in FAMILIES:
            unmodelled += _named(table, table.chains, file)
            continue
        if table.unclear:
            unmodelled.append(Where(file, 0, table.name, "its flags cannot be read: it may be dormant"))
        scope = Scope(table, frozenset(_written(table)), {}, limiters)
        others = [name for name, of in table.chains.items() if of.get("hook", HOOKS[0]) not in HOOKS]
        unmodelled += _named(table, others, file)
        for name in reversed(table.chains):
            if name not in others:
                chain, effect = _chain(scope, name, file)
                chains[chain.name] = chain
                done += effect
    _check_jumps(chains)
    unmodelled += _that_matter(done, everything, chains)
    return Program(chains, tuple(dict.fromkeys(unmodelled)), limiters)


def _that_matter(done: list[Effect], everything: list[Table], chains: dict[str, Chain]) -> list[Where]:
    """Of what rules change, that which rules also look at; and all that is more than a mark or a set."""
    if all(each.what == effects.ALWAYS for each in done):
        return [each.where for each in done]
    matched = effects.matched(statements(everything)) | _looked_up(everything)
    matched |= {
        field for chain in chains.values() for rule in chain.rules for field in used_fields(rule.guard)
    }
    return [each.where for each in done if each.what == effects.ALWAYS or each.what in matched]


def _named(table: Table, names: Any, file: str) -> Iterator[Where]:
    """Chains that are not followed, if they have rules or drop."""
    for name in names:
        found = table.rules.get(name, ())
        if found or table.chains[name].get("policy") == "drop":
            hook = table.chains[name].get("hook", "")
            line = found[0].get("line", 0) if found else 0
            yield Where(file, line, f"{table.name} {name}", f"chain of {table.family} {hook}".strip())


def _written(table: Table) -> Iterator[str]:
    """The names of the sets that rules fill."""
    for statement in statements([table]):
        if "set" in statement:
            yield statement["set"]["set"].removeprefix("@")


def _looked_up(everything: list[Table]) -> frozenset[str]:
    """ "FAMILY TABLE SET" of the sets that matches look up."""
    return frozenset(
        f"{table.name} {statement['match']['right'][1:]}"
        for table in everything
        for statement in statements([table])
        if "match" in statement and str(statement["match"]["right"])[:1] == "@"
    )


def _chain(scope: Scope, name: str, file: str) -> tuple[Chain, list[Effect]]:
    whole = f"{scope.table.name} {name}"
    found: list[Rule] = []
    done: list[Effect] = []
    for index, body in enumerate(scope.table.rules[name]):
        text = body["text"] if "text" in body else render.rule(body["expr"])
        where = Where(file, body.get("line", 0), whole, text)
        try:
            of_rule, effect = rules.read(scope, body["expr"], where, index)
        except Missing as error:
            raise NotModelledError(str(error), where) from None
        except BROKEN as error:
            if isinstance(error, NotModelledError):
                raise
            raise NotModelledError("this is not understood", where) from error
        found += of_rule
        done += effect
    return Chain(whole, tuple(found), _base(scope.table, name)), done


def _base(table: Table, name: str) -> Base | None:
    of = table.chains[name]
    if "hook" not in of or table.dormant:
        return None
    policy = Verdict(of.get("policy", "accept"))
    return Base(of["hook"], of["prio"], of["type"], policy, FAMILIES[table.family])


def _check_jumps(chains: dict[str, Chain]) -> None:
    for chain in chains.values():
        for rule in chain.rules:
            if isinstance(rule.action, Jump) and rule.action.chain not in chains:
                raise NotModelledError(f"no chain {rule.action.chain}", rule.where)
    refuse_loops(chains)
