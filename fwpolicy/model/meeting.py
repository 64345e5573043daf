"""Which rules can meet: a packet that both match. Lint looks at a rule among those only.

Told by the values of fields that no base chain sees otherwise than another; of what is no plain set of values
a field nothing is told, and it may meet anybody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from operator import itemgetter

from fwpolicy.addresses import common, merge
from fwpolicy.model.program import And, Jump, Lit, Program
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.program import Expr, Rule
    from fwpolicy.model.units import Item, Unit

    Box = dict[str, Intervals]

_PORT = "dport"
# Not interfaces, states and translations: a base chain may see them all alike (hooks.Stage.fixed).
_TELLING = (_PORT, "l4proto", "icmptype", "sport", "saddr4", "daddr4", "saddr6", "daddr6", "nfproto")
# A rule about more ports than these is looked at for each.
_MANY = 64
# Pairs that are looked at for each unit; all others are taken to meet.
_PAIRS = 10
_LAST = itemgetter(1)


def has_jumps(program: Program) -> bool:
    return any(isinstance(rule.action, Jump) for chain in program.chains.values() for rule in chain.rules)


def box(guard: Expr) -> Box | None:
    """The guard as one set of values a field; None where it is more than that, or never holds."""
    found: Box = {}
    for part in guard.parts if isinstance(guard, And) else (guard,):
        if isinstance(part, And):
            inner = box(part)
            if inner is None:
                return None
            literals = tuple(inner.items())
        elif isinstance(part, Lit):
            literals = ((part.field, part.intervals),)
        else:
            return None
        for field, intervals in literals:
            found[field] = common(found[field], intervals) if field in found else intervals
            if not found[field]:
                return None
    return found


def _told(guard: Expr) -> Box:
    """What a guard surely says of the telling fields."""
    whole = box(guard)
    if whole is None:
        parts = guard.parts if isinstance(guard, And) else (guard,)
        whole = {part.field: part.intervals for part in parts if isinstance(part, Lit)}
    return {field: intervals for field, intervals in whole.items() if field in _TELLING}


class Index:
    """The rules of a program without jumps, by the ports that they are about."""

    def __init__(self, program: Program, chains: Mapping[str, list[Item]]) -> None:
        self._program, self._chains = program, chains
        self._told = {
            id(rule): _told(rule.guard) for chain in program.chains.values() for rule in chain.rules
        }
        self._chain_of = {id(rule): chain.name for chain in program.chains.values() for rule in chain.rules}
        self._head = {
            id(rule): id(item.rules[0]) for items in chains.values() for item in items for rule in item.rules
        }
        self._of_port: dict[str, dict[int, list[int]]] = {}
        self._of_any: dict[str, list[int]] = {}
        for chain in program.chains.values():
            self._of_port[chain.name], self._of_any[chain.name] = self._places(chain.rules)

    def _places(self, rules: Sequence[Rule]) -> tuple[dict[int, list[int]], list[int]]:
        of_port, of_any = defaultdict[int, list[int]](list), list[int]()
        for place, rule in enumerate(rules):
            ports = self._told[id(rule)].get(_PORT)
            if ports is None or sum(last - first + 1 for first, last in ports) > _MANY:
                of_any.append(place)
                continue
            for first, last in ports:
                for port in range(first, last + 1):
                    of_port[port].append(place)
        return of_port, of_any

    def chain_of(self, rule: Rule) -> str:
        return self._chain_of[id(rule)]

    def candidates(self, chain: str, packet: Mapping[str, int]) -> list[Rule]:
        """The rules of a chain that may match the packet, in order."""
        rules = self._program.chains[chain].rules
        places = self._of_port[chain].get(packet[_PORT])
        own = sorted((*places, *self._of_any[chain])) if places else self._of_any[chain]
        return [rules[place] for place in own]

    def part(self, units: Iterable[Unit]) -> tuple[Program, dict[str, list[Item]]]:
        """The program, and its items, without the lines that meet none of these units' packets."""
        wanted = list(units)
        boxes = _boxes([self._told[id(rule)] for unit in wanted for rule in unit.rules])
        chosen, near = {unit.number for unit in wanted}, self._near(wanted)
        chains = {
            name: [
                item
                for item in items
                if not item.unit.reported
                or item.unit.number in chosen
                or ((near is None or id(item.rules[0]) in near) and self._meets(item.rules, boxes))
            ]
            for name, items in self._chains.items()
        }
        kept = {
            name: replace(chain, rules=tuple(rule for item in chains[name] for rule in item.rules))
            for name, chain in self._program.chains.items()
        }
        return replace(self._program, chains=kept), chains

    def _near(self, units: Iterable[Unit]) -> set[int] | None:
        """By id, the first rules of all items that may be about a port of the units'; None: of all."""
        ports: set[int] = set()
        for unit in units:
            own = self.ports(unit)
            if len(own) > _MANY:
                return None
            ports.update(own)
        found: set[int] = set()
        for name, chain in self._program.chains.items():
            places = {place for port in ports for place in self._of_port[name].get(port, ())}
            found.update(self._head[id(chain.rules[place])] for place in (*places, *self._of_any[name]))
        return found

    def _meets(self, rules: Iterable[Rule], boxes: Mapping[int, Box]) -> bool:
        return any(
            family in _families(told) and all(_meet(told.get(f), own.get(f)) for f in _TELLING)
            for told in (self._told[id(rule)] for rule in rules)
            for family, own in boxes.items()
        )

    def together(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """The units in groups such that no two of different groups meet."""
        leaders = list(range(len(units)))

        def leader(place: int) -> int:
            while leaders[place] != place:
                leaders[place] = leaders[leaders[place]]
                place = leaders[place]
            return place

        boxes = [_boxes([self._told[id(rule)] for rule in unit.rules]) for unit in units]
        most = _PAIRS * len(units)
        for number, (one, other) in enumerate(self._neighbours(units)):
            if leader(one) == leader(other):
                continue
            if number > most or self._meets(units[one].rules, boxes[other]):
                leaders[leader(one)] = leader(other)
        groups: dict[int, list[Unit]] = {}
        for place, unit in enumerate(units):
            groups.setdefault(leader(place), []).append(unit)
        return list(groups.values())

    def _neighbours(self, units: Sequence[Unit]) -> Iterable[tuple[int, int]]:
        """Pairs, by place, among which are all that meet."""
        of_port = defaultdict[int, list[int]](list)
        for place, unit in enumerate(units):
            ports = self.ports(unit)
            if len(ports) > _MANY:
                yield from ((place, other) for other in range(len(units)) if other != place)
                continue
            for port in ports:
                yield from ((other, place) for other in of_port[port])
                of_port[port].append(place)

    def ports(self, unit: Unit) -> list[int]:
        """The ports that the unit is about, as far as they are not too many (_MANY)."""
        found: set[int] = set()
        for rule in unit.rules:
            for first, last in self._told[id(rule)].get(_PORT, ((0, 65535),)):
                found.update(range(first, min(last, first + _MANY) + 1))
                if len(found) > _MANY:
                    return sorted(found)[: _MANY + 1]
        return sorted(found)


def _families(told: Box) -> tuple[int, ...]:
    allowed = told.get("nfproto", ((4, 4), (6, 6)))
    return tuple(family for family in (4, 6) if any(a <= family <= b for a, b in allowed))


def _boxes(told: Sequence[Box]) -> dict[int, Box]:
    """For each family what is true of all its packets that one of the rules matches."""
    found = {}
    for family in (4, 6):
        own = [each for each in told if family in _families(each)]
        if own:
            fields = set(own[0]).intersection(*own[1:]) - {"nfproto"}
            found[family] = {f: merge({i for each in own for i in each[f]}) for f in fields}
    return found


def _meet(one: Intervals | None, other: Intervals | None) -> bool:
    """Whether a value is in both; None has them all."""
    if one is None or other is None:
        return True
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    for first, last in few:
        place = bisect_left(many, first, key=_LAST)
        if place < len(many) and many[place][0] <= last:
            return True
    return False
