"""Rules that are needed, each by a packet that shows it: the quick half of lint.

A packet that something else happens to without a rule proves that the rule counts, whoever thought of it. It
is looked for where the rule's own text points; where none is found the diagrams (`walk`) are asked, who know.
"""

from __future__ import annotations

from itertools import zip_longest

from fwpolicy.model import hooks, witness
from fwpolicy.model.fields import NO_INTERFACE
from fwpolicy.model.meeting import box
from fwpolicy.model.program import And, Lit, Return, Verdict, holds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.meeting import Index
    from fwpolicy.model.program import Base, Expr, Program, Rule
    from fwpolicy.model.units import Unit

    Packet = dict[str, int]

# Packets of one rule.
_TRIES = 6
# Rules that packets are held against, for each rule that there is: where one port is everybody's, searching
# costs more than the diagrams.
_PATIENCE = 40
_LOCAL = {"input": 2, "forward": 1, "output": 1}
_FAMILIES = {4: ("saddr6", "daddr6"), 6: ("saddr4", "daddr4")}


class Search:
    """Looks for packets in a program without jumps."""

    def __init__(self, program: Program, index: Index) -> None:
        self._index = index
        self._left = _PATIENCE * sum(len(chain.rules) for chain in program.chains.values())
        self._stages = {hook: list(hooks.stages(program, hook)) for hook in hooks.PASSED}
        self._possible = {hook: hooks.possible(hook) for hook in hooks.PASSED}

    def is_needed(self, unit: Unit) -> bool:
        """Whether a packet shows that something else happens without the unit; if not, nobody knows."""
        own = {id(rule) for rule in unit.rules}
        for rule in unit.rules:
            for hook, stages in self._stages.items():
                if any(stage.chain.name == self._index.chain_of(rule) for stage in stages):
                    tried = _packets(rule.guard, hook)
                    if any(self._counts(own, hook, packet) for packet in tried if self._left > 0):
                        return True
        return False

    def _counts(self, own: set[int], hook: str, packet: Packet) -> bool:
        if not (_is_linked(packet) and holds(self._possible[hook], packet)):
            return False
        whole, without = self._outcomes(own, hook, packet)
        return whole != without

    def _outcomes(self, own: set[int], hook: str, packet: Packet) -> tuple[str, str]:
        """What happens to the packet with all rules, and without those of `own`."""
        whole = without = ""
        for stage in self._stages[hook]:
            base = stage.chain.base
            if base is None or packet["nfproto"] not in base.families:
                continue
            seen = {**packet, **stage.fixed}
            first = other = None
            for rule in self._index.candidates(stage.chain.name, packet):
                self._left -= 1
                if holds(rule.guard, seen):
                    first = first or rule
                    if id(rule) not in own:
                        other = rule
                        break
            whole, without = whole or _final(first, base), without or _final(other, base)
        return whole or "accept", without or "accept"


def _final(rule: Rule | None, base: Base) -> str:
    """What the base chain says for good; "" where it accepts."""
    action = base.policy if rule is None or isinstance(rule.action, Return) else rule.action
    return action.kind if isinstance(action, Verdict) and action.kind != "accept" else ""


def _packets(guard: Expr, hook: str) -> Iterator[Packet]:
    """Packets that the guard points to; of each field's values the first, then others."""
    found = box(guard) or _certain(guard)
    values = {field: _some(field, intervals) for field, intervals in found.items()}
    for number, row in enumerate(zip_longest(*values.values())):
        if number == _TRIES:
            return
        chosen = {
            field: own[0] if value is None else value
            for (field, own), value in zip(values.items(), row, strict=True)
        }
        yield _whole(hook, chosen)
    if not values:
        yield _whole(hook, {})


def _certain(guard: Expr) -> dict[str, Intervals]:
    """What must hold beside what is more than one set of values a field."""
    parts = guard.parts if isinstance(guard, And) else (guard,)
    return {part.field: part.intervals for part in parts if isinstance(part, Lit) and part.intervals}


def _some(field: str, intervals: Intervals) -> list[int]:
    likely = [value for value in witness.LIKELY.get(field, ()) if any(a <= value <= b for a, b in intervals)]
    ends = [intervals[0][0], intervals[-1][1], intervals[len(intervals) // 2][0], intervals[0][1]]
    return list(dict.fromkeys((*likely[:1], *ends)))[:_TRIES]


def _whole(hook: str, chosen: Mapping[str, int]) -> Packet:
    """A value for each field that rules look at: those that are chosen, and likely ones."""
    packet = {field: likely[0] for field, likely in witness.LIKELY.items()}
    kind = _LOCAL[hook]
    packet |= {"daddrtype": kind, "daddrtype_iif": kind}
    packet |= {"iif": NO_INTERFACE} if hook == "output" else {}
    packet |= {"oif": NO_INTERFACE} if hook == "input" else {}
    packet |= chosen
    if "nfproto" not in chosen and any(field in chosen for field in _FAMILIES[4]):
        packet["nfproto"] = 6
    if not packet["dnat"]:
        v = packet["nfproto"]
        packet |= {"origport": packet["dport"], f"origdaddr{v}": packet[f"daddr{v}"]}
        packet |= {
            f"{field.removesuffix(':daddr')}:origdaddr": value
            for field, value in chosen.items()
            if field.endswith(":daddr")
        }
    return packet


def _is_linked(packet: Packet) -> bool:
    """What a connection that nobody redirected first asked for is what its packet asks for (Build)."""
    if packet["dnat"] or packet["ctdir"]:
        return True
    pairs = [("dport", "origport"), ("daddr4", "origdaddr4"), ("daddr6", "origdaddr6")]
    pairs += [(f"{f.removesuffix(':origdaddr')}:daddr", f) for f in packet if f.endswith(":origdaddr")]
    return all(packet.get(one, 0) == packet.get(other, packet.get(one, 0)) for one, other in pairs)
