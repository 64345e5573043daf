"""Which limiter and which run-time group of a ruleset is which of the policy's.

Names say nothing to the diagrams, so somebody must tell; but nobody is believed: a limiter is only ever
paired with one that lets the same through, and no two with the same one. A wrong guess can make a proof
fail, never hold.
"""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.conditions import limiter_of
from fwpolicy.model.program import used_fields, with_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.errors import Span
    from fwpolicy.model.program import Program, Rule


def paired(
    ruleset: Program, policy: Program, prefix: str, origin_of: Callable[[Rule], Span | None]
) -> Program:
    """`ruleset` with the policy's names for what has a memory. `origin_of`: the policy's text that a rule is
    said to come from; a dynamic group's sets are NAME_v4 and NAME_v6 (docs/language.md) behind `prefix`."""
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for chain in ruleset.chains.values():
        for rule in chain.rules:
            for field in used_fields(rule.guard):
                mine = _mine(field, rule, ruleset, prefix, origin_of)
                if mine is None or found.get(field, mine) != mine or taken.get(mine, field) != field:
                    continue
                if mine in policy.limiters or mine.startswith("member:"):
                    found[field], taken[mine] = mine, field
    return with_fields(ruleset, found)


def _mine(
    field: str, rule: Rule, ruleset: Program, prefix: str, origin_of: Callable[[Rule], Span | None]
) -> str | None:
    kind, _, name = field.partition(":")
    if kind == "member":
        set_name, _, side = name.rpartition(":")
        # A set that is called like the policy's own group, without our prefix, is another one.
        ours = set_name.startswith(prefix)
        return fields.member(set_name[len(prefix) :] if ours else f"another {set_name}", side)
    origin = origin_of(rule) if kind == "limit" else None
    return limiter_of(ruleset.limiters.get(field, ""), origin) if origin else None


def alike(one: Program, other: Program) -> Program:
    """`other` with the names of `one` for limiters that let the same through: those of one name in both are
    one, the rest are taken in order. For two texts of which neither came from the other. What lets something
    else through has a name of its own: an object's rate is no part of its name."""
    same = {field for field, what in other.limiters.items() if one.limiters.get(field) == what}
    left = [field for field in one.limiters if field not in same]
    names: dict[str, str] = {}
    for field, what in other.limiters.items():
        if field in same:
            continue
        mine = next((each for each in left if one.limiters[each] == what), None)
        if mine is not None:
            left.remove(mine)
            names[field] = mine
        elif field in one.limiters:
            names[field] = f"{field} ({what})"
    return with_fields(other, names)
