"""The commands of a document carried out: which tables, chains, rules and sets are there at the end."""

from __future__ import annotations

from fwpolicy.model.fields import Where
from fwpolicy.model.program import NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Json = Any

_SETS = ("set", "map")
# What has no effect on any verdict, or only through a rule that names it.
_WITHOUT_RULES = ("metainfo", "counter", "secmark", "synproxy", "flowtable")
_WITHOUT_RULES_CT = ("ct helper", "ct timeout", "ct expectation")


class Table:
    """One table; `chains` in the order in which they were made."""

    def __init__(self, family: str, name: str) -> None:
        self.family = family
        self.name = f"{family} {name}"
        self.dormant = False
        self.unclear = False
        self.chains: dict[str, Json] = {}
        self.rules: dict[str, list[Json]] = {}
        self.sets: dict[str, Json] = {}
        self.limits: dict[str, Json] = {}
        self.quotas: dict[str, Json] = {}


def tables(document: Json, file: str) -> list[Table]:
    """All tables, in the order in which they were made."""
    found: dict[tuple[str, str], Table] = {}
    for command in document["nftables"]:
        ((kind, body),) = command.items()
        _carry_out(found, kind, body, file)
    return list(found.values())


def _carry_out(found: dict[tuple[str, str], Table], kind: str, body: Json, file: str) -> None:
    if kind in ("add", "create"):
        ((kind, body),) = body.items()
    if kind in _WITHOUT_RULES or kind in _WITHOUT_RULES_CT:
        return
    if kind == "flush" and "ruleset" in body:
        found.clear()
    elif kind == "table":
        table = found.setdefault((body["family"], body["name"]), Table(body["family"], body["name"]))
        flags = set(_flags(body))
        # A declaration without the flag wakes the table (seen).
        table.dormant = "dormant" in flags
        # For a table's only flag `nft -j` of 1.0.6 prints freed memory, any name of the listing (seen);
        # others print a word, too.
        doubtful = isinstance(body.get("flags"), str) or bool(flags - {"dormant", "owner", "persist"})
        table.unclear = doubtful or table.unclear
    elif kind in ("delete", "destroy", "flush"):
        _undo(found, kind, body, file)
    else:
        _declare(found, kind, body, file)


def _declare(found: dict[tuple[str, str], Table], kind: str, body: Json, file: str) -> None:
    front = kind == "insert"
    if front:
        ((kind, body),) = body.items()
    table = _table(found, body, file)
    if kind == "chain":
        table.chains[body["name"]] = table.chains.get(body["name"], {}) | body
        table.rules.setdefault(body["name"], [])
    elif kind == "rule":
        rules = table.rules.get(body["chain"])
        if rules is None:
            raise _unknown(body, f"chain {body['chain']}", file)
        rules.insert(0 if front else len(rules), body)
    elif kind in _SETS:
        before = table.sets.get(body["name"], {})
        table.sets[body["name"]] = before | body | {"elem": [*before.get("elem", ()), *body.get("elem", ())]}
    elif kind == "element":
        if body["name"] not in table.sets:
            raise _unknown(body, f"set {body['name']}", file)
        table.sets[body["name"]]["elem"] += body["elem"]
    elif kind == "limit":
        table.limits[body["name"]] = body
    elif kind == "quota":
        table.quotas[body["name"]] = body
    else:
        raise NotModelledError(f"'{kind}' is not modelled", Where(file, 0, "", kind))


def _undo(found: dict[tuple[str, str], Table], verb: str, body: Json, file: str) -> None:
    ((kind, of),) = body.items()
    if kind == "table":
        if (of["family"], of["name"]) not in found:
            if verb == "destroy":
                return
            raise NotModelledError(f"no table {of['family']} {of['name']}", Where(file, 0, "", verb))
        if verb == "flush":
            table = found[of["family"], of["name"]]
            table.rules = {name: [] for name in table.rules}
        else:
            del found[of["family"], of["name"]]
        return
    table = _table(found, of, file)
    if kind == "chain":
        table.rules[of["name"]] = []
        if verb != "flush":
            table.rules.pop(of["name"], None), table.chains.pop(of["name"], None)
    elif kind in _SETS and verb == "flush":
        table.sets[of["name"]]["elem"] = []
    else:
        {"limit": table.limits, "quota": table.quotas}.get(kind, table.sets).pop(of["name"], None)


def _table(found: dict[tuple[str, str], Table], body: Json, file: str) -> Table:
    table = found.get((body["family"], body["table"]))
    if table is None:
        raise _unknown(body, f"table {body['family']} {body['table']}", file)
    return table


def _unknown(body: Json, what: str, file: str) -> NotModelledError:
    return NotModelledError(f"no {what}", Where(file, body.get("line", 0), "", body.get("text", "")))


def _flags(body: Json) -> list[str]:
    flags = body.get("flags", ())
    return [flags] if isinstance(flags, str) else list(flags)


def filled_at_run_time(of: Json) -> bool:
    """Whether a set's members are no content of the ruleset.

    `nft -j` of 1.0.6 leaves "dynamic" out of the flags (seen); such a set has a size and no elements.
    """
    flags = _flags(of)
    if "timeout" in flags or "dynamic" in flags:
        return True
    return "size" in of and not of.get("elem")


def statements(all_tables: Iterable[Table]) -> Iterator[Json]:
    """Every statement of every rule."""
    for table in all_tables:
        for rules in table.rules.values():
            for rule in rules:
                yield from rule["expr"]
