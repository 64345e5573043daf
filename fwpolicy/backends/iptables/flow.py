"""Chains of the ruleset as chains of iptables, in which an accept only leaves what is ours.

iptables' ACCEPT ends the whole table: a chain of ours that is jumped to first would let in whom another tool
has banned. So an accept is a RETURN, and stands at the top level only: a chain that may accept is written out
in place of the jump, or entered by goto, and what would come back from it goes on in another chain.
"""

from __future__ import annotations

from itertools import groupby

from fwpolicy.backends.iptables.apart import counts, remembers
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.backends.iptables.steps import Goto, Line, Step, Steps
from fwpolicy.ir.ruleset import Accept, Drop, Jump, Reject, Return, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwpolicy.errors import Span
    from fwpolicy.ir.ruleset import Chain, Match

# The kernel follows 16 chains for iptables-nft (NFT_JUMP_STACK_SIZE), gotos among them, the built-in one too.
DEEPEST = 15


class Flow:
    """The chains of one table of iptables: `chains`, by name, in the order in which they were met."""

    def __init__(self, regular: Mapping[str, Chain]) -> None:
        """`regular`: the chains of the ruleset that rules jump to."""
        self._regular = regular
        self._leaving: dict[str, bool] = {}
        # Copies of a chain, by what they go on with: the name of each.
        self._copies: dict[tuple[str, str | None], str] = {}
        self.chains: dict[str, list[Line]] = {}

    def base(self, chain: Chain) -> None:
        """Everything that the base chain leads to. Raises CannotSayError."""
        rules = [*chain.rules]
        if chain.base and chain.base.policy == "drop" and not _always_ends(rules):
            rules.append(Rule((), Drop(), "default"))
        self._top(chain.name, rules, None)
        depth = self._depth(chain.name, {})
        if depth > DEEPEST:
            raise CannotSayError(
                f"'{chain.name}' with its exceptions takes {depth} chains in a row, iptables-nft {DEEPEST}",
                "fewer lines with 'except' that are about the same packets",
                next((rule.origin for rule in reversed(rules) if self._leads_out(rule)), None),
            )

    def _top(self, name: str, rules: Sequence[Rule], onwards: str | None) -> None:
        """`rules` as the chain `name`, and others behind it; at their end comes `onwards`."""
        self.chains[name] = []
        steps = Steps()
        self._write_out(rules, (), 0, steps)
        steps.place(0)
        for part, lines in steps.parts(name, onwards):
            self.chains[part] = [self._line(each, to) for each, to in lines]

    def _line(self, step: Step, to: str | None) -> Line:
        """`to`: where the step's packets go on."""
        if step.through is not None:
            return Line(step.matches, Goto(self._entered(step.through, to, step.rule.origin)), step.rule)
        if step.label is not None:
            return Line(step.matches, Return() if to is None else Goto(to), step.rule)
        return Line(step.matches, step.rule.verdict, step.rule)

    def _write_out(self, rules: Sequence[Rule], given: tuple[Match, ...], end: int, steps: Steps) -> None:
        """The rules behind `given`; what returns from them goes on at the label `end`."""
        runs = [(target, list(run)) for target, run in groupby(rules, self._leads_out)]
        for number, (target, run) in enumerate(runs, 1):
            # Who came back from a chain would come back from it again: the rest of the run is skipped, too.
            label = end if target is None or number == len(runs) else steps.label()
            for rule in run:
                self._write(rule, (*given, *rule.matches), target, label, steps)
            if label != end:
                steps.place(label)

    def _write(
        self, rule: Rule, matches: tuple[Match, ...], target: str | None, label: int, steps: Steps
    ) -> None:
        if target is None:
            if isinstance(rule.verdict, Jump):
                self._plain(rule.verdict.chain)
            steps.add(Step(matches, rule, label if isinstance(rule.verdict, Return) else None))
            return
        inside = self._regular[target].rules
        if any(map(remembers, (rule, *(each for each in inside if counts(each))))):
            comes_back = not _always_ends(inside) or any(isinstance(r.verdict, Return) for r in inside)
            steps.add(Step(matches, rule, label if comes_back else None, target))
        else:
            self._write_out(inside, matches, label, steps)

    def _leads_out(self, rule: Rule) -> str | None:
        """The chain that the rule jumps to, if a packet may be accepted there."""
        if isinstance(rule.verdict, Jump) and self._leaves(rule.verdict.chain):
            return rule.verdict.chain
        return None

    def _leaves(self, name: str) -> bool:
        if name not in self._leaving:
            self._leaving[name] = any(
                isinstance(rule.verdict, Accept) or self._leads_out(rule)
                for rule in self._regular[name].rules
            )
        return self._leaving[name]

    def _plain(self, name: str) -> None:
        """A chain that never accepts, and those below it: they are jumped to and come back."""
        if name in self.chains:
            return
        self.chains[name] = []
        for rule in self._regular[name].rules:
            if isinstance(rule.verdict, Jump):
                self._plain(rule.verdict.chain)
            self.chains[name].append(Line(rule.matches, rule.verdict, rule))

    def _entered(self, target: str, to: str | None, origin: Span | None) -> str:
        """The chain `target`, which goes on with `to`. Two copies of a count of connections would be two."""
        if (target, to) in self._copies:
            return self._copies[target, to]
        rules = self._regular[target].rules
        others = sum(1 for name, _ in self._copies if name == target)
        if others and any(map(counts, rules)):
            message = "'max' would be counted twice: its packets come by two ways"
            raise CannotSayError(message, "a line for each", origin)
        name = self._copies[target, to] = f"{target}.{others + 1}" if others else target
        self._top(name, rules, to)
        return name

    def _depth(self, name: str, known: dict[str, int]) -> int:
        if name not in known:
            below = (
                line.verdict.chain for line in self.chains[name] if isinstance(line.verdict, Jump | Goto)
            )
            known[name] = 1 + max((self._depth(each, known) for each in below), default=0)
        return known[name]


def _always_ends(rules: Sequence[Rule]) -> bool:
    return bool(rules) and not rules[-1].matches and isinstance(rules[-1].verdict, Accept | Drop | Reject)
