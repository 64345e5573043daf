"""Statements that change something: which of them the model may pass over, and which it has to name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Json = Any

# Neither a verdict nor what a later rule sees depends on these.
SILENT = frozenset(("counter", "log", "last", "continue"))
# They change the packet, its way, or what later rules see of it.
NAMED = frozenset(("notrack", "tproxy", "dup", "fwd", "flow", "synproxy", "queue", "reset", "xt"))
_SILENT_META = frozenset(("priority", "nftrace"))
_SILENT_CT = frozenset(("helper", "timeout", "expectation", "event"))
_MARKS: dict[str, Json] = {"mark": {"meta": {"key": "mark"}}, "ctmark": {"ct": {"key": "mark"}}}
ALWAYS = "always"


def of_mangle(key: Json) -> str | None:
    """What a change of `key` is to the model: None for nothing, ALWAYS, or the mark that must not be matched
    anywhere."""
    for name, mark in _MARKS.items():
        if key == mark:
            return name
    if "tcp option" in key:
        return None
    if key.get("meta", {}).get("key") in _SILENT_META or key.get("ct", {}).get("key") in _SILENT_CT:
        return None
    return ALWAYS


def matched(statements: Iterable[Json]) -> frozenset[str]:
    """What rules look at of that which rules can change: marks, and "set FAMILY TABLE NAME"."""
    found: set[str] = set()
    for statement in statements:
        ((kind, of),) = statement.items()
        looked_at = of.get("key") if kind == "vmap" else of.get("left") if kind == "match" else None
        if kind == "counter" and isinstance(of, dict) and "map" in of:
            looked_at = of["map"]["key"]
        found |= _marks(looked_at)
    return frozenset(found)


def _marks(tree: Json) -> set[str]:
    if isinstance(tree, list):
        return {name for part in tree for name in _marks(part)}
    if not isinstance(tree, dict):
        return set()
    found = {name for name, mark in _MARKS.items() if tree == mark}
    if "fib" in tree and "mark" in tree["fib"]["flags"]:
        found.add("mark")
    return found.union(*(_marks(part) for part in tree.values())) if tree else found
