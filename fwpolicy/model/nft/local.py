"""Sets that hold this host's own addresses: those that the kernel has just called local, and nothing else.

`fib daddr type local add @own { ip daddr }`, in a set whose elements leave by themselves, fills one. A match
with it is read as what it is: the destination is in the set, and local. That an address which was this
host's is still there for as long as it is remembered is what this passes over (docs/proof.md).
"""

from __future__ import annotations

import re

from fwpolicy.model import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fwpolicy.model.nft.tables import Table

    Json = Any

# Seconds; longer is no moment.
LONGEST = 60
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)([dhms])")
_TIME = re.compile(r"(\d+[dhms])+")
# As a word, or the number that `nft -n` lists.
_IS_LOCAL = [
    {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": kind}}
    for kind in ("local", fields.ADDRESS_TYPES.index("local"))
]
_DESTINATION = {
    kind: {"payload": {"protocol": protocol, "field": "daddr"}}
    for kind, protocol in (("ipv4_addr", "ip"), ("ipv6_addr", "ip6"))
}


def own_addresses(table: Table) -> frozenset[str]:
    """The names of a table's sets that hold nothing but addresses which were local a moment ago."""
    rules = [rule["expr"] for chain in table.rules.values() for rule in chain]
    return frozenset(name for name, of in table.sets.items() if _is_short(of) and _fills(table, rules, name))


def _is_short(of: Json) -> bool:
    """No element stays for longer than a moment, whoever put it there."""
    flags = of.get("flags", ())
    timed = "timeout" in ((flags,) if isinstance(flags, str) else flags)
    return timed and "map" not in of and all(0 < each <= LONGEST for each in _timeouts(of))


def _timeouts(of: Json) -> Iterator[int]:
    yield _seconds(of.get("timeout", 0))
    for member in of.get("elem", ()):
        if isinstance(member, dict) and "timeout" in member.get("elem", {}):
            yield _seconds(member["elem"]["timeout"])


def _seconds(time: int | str) -> int:
    """A number in nft's JSON, `1m30s` in its text; 0 for one that is not understood."""
    if isinstance(time, int) or time.isdigit():
        return int(time)
    parts = _PART.findall(time)
    return sum(int(number) * _UNITS[unit] for number, unit in parts) if _TIME.fullmatch(time) else 0


def _fills(table: Table, rules: list[list[Json]], name: str) -> bool:
    """Do rules fill it with local addresses, and none with anything else?"""
    destination = _DESTINATION.get(str(table.sets[name].get("type")))
    filling = [rule for rule in rules if any(_names(statement, name) for statement in rule)]
    return bool(filling) and all(_fills_it(rule, name, destination) for rule in filling)


def _names(statement: Json, name: str) -> bool:
    return str(statement.get("set", {}).get("set")) == f"@{name}"


def _fills_it(rule: list[Json], name: str, destination: Json) -> bool:
    """Only what the kernel called local, and nothing after it: where there is no room the rule ends there."""
    added = {"set": {"op": "add", "elem": destination, "set": f"@{name}"}}
    return rule[-1] == added and any(each in _IS_LOCAL for each in rule[:-1])
