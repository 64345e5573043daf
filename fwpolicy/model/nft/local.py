"""Sets that hold this host's own addresses: those that the kernel has just called local, and nothing else.

`fib daddr type local add @own { ip daddr }`, in a set whose elements leave by themselves, fills one. A match
with it is read as what it is: the destination is in the set, and local. That an address which was this
host's is still there for as long as it is remembered is what this passes over (docs/proof.md).

No packet meets what it has put there itself: one chain alone has to do with the set, looks it up, then fills
it, and drops all that it has filled it with.
"""

from __future__ import annotations

import re

from fwpolicy.model import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.model.nft.tables import Table

    Json = Any

# Seconds; longer is no moment.
LONGEST = 60
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)([dhms])(?!s)")
_TIME = re.compile(r"(\d+[dhms])*(\d+ms)?")
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
    return frozenset(name for name, of in table.sets.items() if _is_short(of) and _is_filled(table, name))


def _is_short(of: Json) -> bool:
    """No element stays for longer than a moment, whoever put it there."""
    flags = of.get("flags", ())
    if "timeout" not in ((flags,) if isinstance(flags, str) else flags) or "map" in of:
        return False
    members = [each["elem"] for each in of.get("elem", ()) if isinstance(each, dict) and "elem" in each]
    given = [of.get("timeout", 0), *(each["timeout"] for each in members if "timeout" in each)]
    left = [each["expires"] for each in members if "expires" in each]
    return all(0 < _seconds(each) <= LONGEST for each in given) and all(
        0 <= _seconds(each) <= LONGEST for each in left
    )


def _seconds(time: int | str) -> int:
    """A number in nft's JSON, `1m30s` or `9s996ms` in its text; -1 for one that is not understood."""
    if isinstance(time, int) or time.isdigit():
        return int(time)
    if not time or not _TIME.fullmatch(time):
        return -1
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(time))


def _is_filled(table: Table, name: str) -> bool:
    """Does one chain look it up, then fill it with local addresses alone, and then drop what comes so far?"""
    bodies = {chain: [rule["expr"] for rule in rules] for chain, rules in table.rules.items()}
    using = [body for body in bodies.values() if any(_kind(rule, name) for rule in body)]
    if len(using) != 1:
        return False
    kinds = [_kind(rule, name) for rule in using[0]]
    if "fills" not in kinds:
        return False
    first = kinds.index("fills")
    destination = _DESTINATION.get(str(table.sets[name].get("type")))
    *middle, last = using[0][first:]
    fills = [rule for rule in middle if _kind(rule, name)]
    right = bool(fills) and all(_fills_it(rule, name, destination) for rule in fills)
    return right and all(map(_goes_on, middle)) and _drops(last, bodies)


def _kind(rule: list[Json], name: str) -> str:
    """What a rule has to do with the set: "looks", "fills" or nothing."""
    found = ""
    for statement in rule:
        if (
            statement.get("set", {}).get("set") == f"@{name}"
            or statement.get("meter", {}).get("name") == name
        ):
            return "fills"
        if statement.get("match", {}).get("right") == f"@{name}":
            found = "looks"
    return found


def _fills_it(rule: list[Json], name: str, destination: Json) -> bool:
    """With the destination, which the kernel called local, and nothing else."""
    added = {"set": {"op": "add", "elem": destination, "set": f"@{name}"}}
    fills = [each for each in rule if _kind([each], name)]
    return fills == [added] and rule[-1] == added and any(each in _IS_LOCAL for each in rule)


def _goes_on(rule: list[Json]) -> bool:
    """Whatever comes to the rule comes to the next."""
    return all(next(iter(statement)) in ("match", "set", "counter", "log", "limit") for statement in rule)


def _drops(rule: list[Json], bodies: dict[str, list[list[Json]]]) -> bool:
    """All that comes to the rule: by itself, or in a chain that nothing leaves otherwise."""
    *before, last = rule or [{}]
    if not all(map(_says_nothing, before)):
        return False
    if "jump" not in last:
        return "drop" in last
    *others, end = bodies.get(last["jump"]["target"]) or [[]]
    return all(map(_goes_on, others)) and not any("jump" in each for each in end) and _drops(end, bodies)


def _says_nothing(statement: Json) -> bool:
    """A counter that a map names holds for what is in the map."""
    ((kind, of),) = statement.items()
    return kind == "log" or (kind == "counter" and not (isinstance(of, dict) and "map" in of))
