"""Rules in a row with places to go on at, and the row cut into chains.

A packet that is in the hole of one line goes on behind it; where the lines in between are about other
packets, it may as well go on behind those, and one cut serves many lines.
"""

from __future__ import annotations

from fwpolicy.backends.iptables.disjoint import Index
from fwpolicy.ir.ruleset import Accept, Continue, Drop, Match, Reject, Return, Rule, Verdict
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    # (name, its steps, each with the chain where it goes on)
    Part = tuple[str, list[tuple["Step", str | None]]]


@record
class Goto:
    """Go on in a chain, and never come back to this one."""

    chain: str


@record
class Line:
    """A rule of one of our chains. `rule`: where it comes from, with its counter, comment and log."""

    matches: tuple[Match, ...]
    verdict: Verdict | Goto
    rule: Rule


@record
class Step:
    """A rule among others. `label`: where packets go on that it sends there; `through`: by way of a chain."""

    matches: tuple[Match, ...]
    rule: Rule
    label: int | None = None
    through: str | None = None


_ONWARDS = Rule((), Continue(), "onwards")


class Steps:
    """Steps in order; labels are numbers, of which 0 is the end."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._places: dict[int, int] = {}
        self._labels = 0

    def add(self, step: Step) -> None:
        self._steps.append(step)

    def label(self) -> int:
        """A new place, still to be placed."""
        self._labels += 1
        return self._labels

    def place(self, label: int) -> None:
        """The label is here, before what is added next."""
        self._places[label] = len(self._steps)

    def parts(self, name: str, onwards: str | None) -> Iterator[Part]:
        """The chains: the first is called `name`; at the end of the last one comes `onwards` (None: the end
        of what is ours)."""
        index = Index([step.matches for step in self._steps])
        places = [None if step.label is None else self._places[step.label] for step in self._steps]
        spans = [
            None if first is None else (first, index.first(step.matches, first))
            for step, first in zip(self._steps, places, strict=True)
        ]
        cuts = _cuts([span for span in spans if span is not None], len(self._steps))
        named = {place: f"{name}.{number}" for number, place in enumerate(cuts, 2)}
        ends = [*cuts, len(self._steps)]
        for first, last in zip([0, *cuts], ends, strict=True):
            lines = [(self._steps[i], _landing(spans[i], named, onwards)) for i in range(first, last)]
            to = named.get(last, onwards)
            if to is not None and not (lines and _ends(lines[-1][0])):
                lines.append((Step((), _ONWARDS, -1), to))
            yield named.get(first, name), lines


def _cuts(spans: list[tuple[int, int]], end: int) -> list[int]:
    """The fewest places of which each span has one; the end is none, it is there anyway. A step's span: its
    packets may go on anywhere from its label to the first rule that could be about one of them."""
    found: list[int] = []
    for first, last in sorted(spans, key=lambda span: span[1]):
        if last < end and not (found and found[-1] >= first):
            found.append(last)
    return found


def _landing(span: tuple[int, int] | None, named: dict[int, str], onwards: str | None) -> str | None:
    if span is None:
        return None
    return next((named[place] for place in named if span[0] <= place <= span[1]), onwards)


def _ends(step: Step) -> bool:
    """Whether nothing comes after it."""
    if step.matches:
        return False
    return step.label is not None or isinstance(step.rule.verdict, Accept | Drop | Reject | Return)
