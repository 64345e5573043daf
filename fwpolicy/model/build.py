"""From programs to diagrams: what happens to every packet of a hook, as one function for each program."""

from __future__ import annotations

from fwpolicy.model.atoms import Atoms
from fwpolicy.model.diagram import NEXT, NO, YES, Diagrams
from fwpolicy.model.gather import alternatives, literals, simplified
from fwpolicy.model.hooks import LO, possible, stages
from fwpolicy.model.program import (
    ACCEPT,
    And,
    Decided,
    Jump,
    Lit,
    Not,
    NotModelledError,
    Or,
    Return,
    Tuples,
    Verdict,
    refuse_depth,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.program import Action, Expr, Program, Rule

    Fixed = tuple[tuple[str, int], ...]
    Outcome = str | Decided
    Prepared = dict[str, Sequence[tuple[Expr, Action | Decided]]]

# "The same port as first asked for": compared atom by atom.
LINKED = (("dport", "origport"), ("daddr4", "origdaddr4"), ("daddr6", "origdaddr6"))
# The same of membership in a set that is filled at run time.
_FIRST = ":origdaddr"
REDIRECTED, REPLY = Lit("dnat", ((1, 1),)), Lit("ctdir", ((1, 1),))
IMPOSSIBLE = "impossible"
RETURN = "return"


class Build:
    """The diagrams of `programs` at `hook` (input, output, forward), all over the same atoms.

    `also`: conditions that will be asked about, beside the programs' own. `fixed`: fields of which only one
    value matters here. `by_rule`: outcomes are Decided, each rule's its own; else they are verdicts' kinds.
    `within`: packets for which one of these does not hold count as impossible.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        hook: str,
        also: Iterable[Expr] = (),
        fixed: Mapping[str, int] | None = None,
        *,
        by_rule: bool = False,
        within: Sequence[Expr] = (),
    ) -> None:
        self.hook = hook
        self.programs = programs
        self.by_rule = by_rule
        self.fixed = dict(fixed or {})
        self._prepared = [_prepared(program, hook, by_rule) for program in programs]
        self._possible = simplified(And((possible(hook), *within)))
        rarities = Lit("oif" if hook == "output" else "iif", LO), Lit("th", ((0, 0),))
        cuts = [literal for prepared in self._prepared for guard in _guards(prepared) for literal in guard]
        cuts += [
            literal
            for expr in (self._possible, *rarities, *map(simplified, also))
            for literal in literals(expr)
        ]
        cuts += [literal for program in programs for literal in _families(program, hook)]
        used = {field for field, _ in cuts}
        linked = [pair for pair in LINKED if pair[1] in used]
        linked += [(f"{name[: -len(_FIRST)]}:daddr", name) for name in sorted(used) if name.endswith(_FIRST)]
        if linked:
            cuts += [(literal.field, literal.intervals) for literal in (REDIRECTED, REPLY)]
        self.atoms = Atoms(cuts, linked)
        self.diagrams = Diagrams(self.atoms)
        self.keys: list[Outcome] = ["no", "yes", "next"]
        self._terminals: dict[Hashable, int] = {}
        self._literals: dict[tuple[str, Intervals], int] = {}
        self._summaries: dict[tuple[int, str, Fixed], int] = {}
        self.possible = self._linked(self.condition(self._possible, self._fixed({})), linked)
        # Packets that are not worth a word where no answer is about them.
        self.rarities = tuple(self.condition(each) for each in rarities)

    def terminal(self, outcome: Outcome) -> int:
        """The diagram that always ends in `outcome`; keys[terminal] is the way back."""
        key = outcome if isinstance(outcome, str) else (outcome.kind, id(outcome.rule), outcome.chain)
        if key not in self._terminals:
            self._terminals[key] = len(self.keys)
            self.keys.append(outcome)
        return self._terminals[key]

    def kind(self, terminal: int) -> str:
        """The verdict's kind behind a terminal; "impossible", "return" and "next" are none."""
        outcome = self.keys[terminal]
        return outcome if isinstance(outcome, str) else outcome.kind

    def outcome(self, index: int) -> int:
        """What happens to a packet of the hook under programs[index]; "impossible" where none can be."""
        return self.diagrams.choose(self.possible, self._whole(index), self.terminal(IMPOSSIBLE))

    def keep(self, *outcomes: int) -> None:
        """Let go of all diagrams but these, and of the way to them: of large programs most of the memory."""
        self._literals.clear()
        self._summaries.clear()
        self.diagrams.keep((*outcomes, self.possible, *self.rarities))

    def _whole(self, index: int) -> int:
        """All base chains in order: accept ends one and goes on to the next."""
        whole = self.terminal(Decided(ACCEPT.kind, None, "") if self.by_rule else ACCEPT.kind)
        for stage in reversed(list(stages(self.programs[index], self.hook))):
            base = stage.chain.base
            if base is None:
                continue
            policy = Decided(base.policy.kind, None, stage.chain.name) if self.by_rule else base.policy.kind
            end = self.terminal(policy)
            ends = {NEXT: end, self.terminal(RETURN): end}
            own = self.summary(index, stage.chain.name, self._fixed(stage.fixed))
            own = self.diagrams.renamed(own, lambda terminal, ends=ends: ends.get(terminal, terminal))  # type: ignore[misc]
            own, rest = self._of_families(base.families, own), whole
            whole = self._in_order(own, rest)
        return whole

    def _of_families(self, families: tuple[int, ...], own: int) -> int:
        if families == (4, 6):
            return own
        guard = comes(families)
        passes = self.terminal(Decided(ACCEPT.kind, None, "") if self.by_rule else ACCEPT.kind)
        return self.diagrams.choose(self.condition(guard, self._fixed({})), own, passes)

    def _in_order(self, own: int, rest: int) -> int:
        """One base chain, and after its accepts the others. The last rule that accepts has decided."""
        if not self.by_rule:
            accept = self.terminal(ACCEPT.kind)
            opened = self.diagrams.renamed(own, lambda terminal: NEXT if terminal == accept else terminal)
            return self.diagrams.then(opened, rest)

        def later(one: int, other: int) -> int:
            first, second = self.keys[one], self.keys[other]
            if not isinstance(first, Decided) or not isinstance(second, Decided):
                return one
            silent = second.rule is None and (first.rule is not None or not second.chain)
            return one if first.kind != ACCEPT.kind or (silent and second.kind == ACCEPT.kind) else other

        return self.diagrams.pairs(own, rest, later)

    def _fixed(self, here: Mapping[str, int]) -> Fixed:
        return tuple({**self.fixed, **here}.items())

    def summary(self, index: int, chain: str, fixed: Fixed = (), above: tuple[str, ...] = ()) -> int:
        """What a chain does: outcomes, NEXT at its end, RETURN. Raises NotModelledError for jumps in a
        circle, which the kernel refuses, and to chains that are not there."""
        key = (index, chain, fixed)
        if key not in self._summaries:
            refuse_depth(chain, above)
            if chain not in self._prepared[index]:
                raise NotModelledError(f"there is no chain {chain}")
            rules = [
                self.diagrams.choose(
                    self.condition(guard, fixed), self._action(index, action, fixed, (*above, chain)), NEXT
                )
                for guard, action in self._prepared[index][chain]
            ]
            self._summaries[key] = self.sequence(rules)
        return self._summaries[key]

    def _action(self, index: int, action: Action | Decided, fixed: Fixed, above: tuple[str, ...]) -> int:
        match action:
            case Decided():
                return self.terminal(action)
            case Verdict(kind):
                return self.terminal(kind)
            case Return():
                return self.terminal(RETURN)
            case Jump(chain, goto):
                summary = self.summary(index, chain, fixed, above)
                back = self.terminal(RETURN)
                ends = {NEXT: back} if goto else {back: NEXT}
                return self.diagrams.renamed(summary, lambda terminal: ends.get(terminal, terminal))

    def sequence(self, rules: Sequence[int]) -> int:
        """One after the other, by halves: from one end it took 35-54 s for 4,800 rules, by halves 0.5 s."""
        if len(rules) <= 1:
            return rules[0] if rules else NEXT
        middle = len(rules) // 2
        return self.diagrams.then(self.sequence(rules[:middle]), self.sequence(rules[middle:]))

    def condition(self, expr: Expr, fixed: Fixed = ()) -> int:
        """The diagram of a condition whose literals were cut by. `fixed`: what packets are known to have."""
        match expr:
            case Lit(field, intervals):
                for name, value in fixed:
                    if name == field:
                        return YES if any(a <= value <= b for a, b in intervals) else NO
                key = (field, intervals)
                if key not in self._literals:
                    level, mask = self.atoms.level[field], self.atoms.mask(field, intervals)
                    self._literals[key] = self.diagrams.split(level, mask, YES, NO)
                return self._literals[key]
            case And(parts):
                return self._all(parts, fixed)
            case Or(parts):
                return self._one([self.condition(part, fixed) for part in parts])
            case Not(part):
                return self.diagrams.negated(self.condition(part, fixed))
            case Tuples():
                return self.condition(simplified(expr), fixed)

    def _all(self, parts: tuple[Expr, ...], fixed: Fixed) -> int:
        """Literals are stacked without looking at what is below: most conditions are nothing else."""
        masks: dict[int, int] = {}
        found = YES
        for part in parts:
            if isinstance(part, Lit) and all(name != part.field for name, _ in fixed):
                level, mask = self.atoms.level[part.field], self.atoms.mask(part.field, part.intervals)
                masks[level] = masks.get(level, mask) & mask
            else:
                found = self.diagrams.both(found, self.condition(part, fixed))
        stacked = YES
        for level in sorted(masks, reverse=True):
            stacked = self.diagrams.split(level, masks[level], stacked, NO)
        return self.diagrams.both(stacked, found)

    def _one(self, conditions: Sequence[int]) -> int:
        if len(conditions) <= 1:
            return conditions[0] if conditions else NO
        middle = len(conditions) // 2
        return self.diagrams.either(self._one(conditions[:middle]), self._one(conditions[middle:]))

    def _linked(self, condition: int, linked: Iterable[tuple[str, str]]) -> int:
        """What a connection that nobody redirected first asked for is what its packet asks for."""
        for field, original in linked:
            same = self._same(field, original)
            free = self.condition(Or((REDIRECTED, REPLY)))
            condition = self.diagrams.both(condition, self.diagrams.either(free, same))
        return condition

    def _same(self, one: str, other: str) -> int:
        first, second = sorted((self.atoms.level[one], self.atoms.level[other]))
        children: dict[int, int] = {}
        for number in range(len(self.atoms.values[first])):
            bit = 1 << number
            child = self.diagrams.split(second, bit, YES, NO)
            children[child] = children.get(child, 0) | bit
        return self.diagrams.node(first, children)


def _prepared(program: Program, hook: str, by_rule: bool) -> Prepared:
    """The rules of each chain that the hook's packets can reach; those with one verdict joined, unless each
    is to answer for itself."""
    found: Prepared = {}
    waiting = [stage.chain.name for stage in stages(program, hook)]
    while waiting:
        name = waiting.pop()
        if name in found or name not in program.chains:
            continue
        rules = program.chains[name].rules
        found[name] = _each(name, rules) if by_rule else alternatives(rules)
        waiting += [action.chain for _, action in found[name] if isinstance(action, Jump)]
    return found


def _each(chain: str, rules: tuple[Rule, ...]) -> tuple[tuple[Expr, Action | Decided], ...]:
    return tuple(
        (
            simplified(rule.guard),
            Decided(rule.action.kind, rule, chain) if isinstance(rule.action, Verdict) else rule.action,
        )
        for rule in rules
    )


def comes(families: tuple[int, ...]) -> Lit:
    """Whether a packet is of one of the families of a base chain."""
    return Lit("nfproto", tuple((family, family) for family in families))


def _families(program: Program, hook: str) -> Iterable[tuple[str, Intervals]]:
    bases = (stage.chain.base for stage in stages(program, hook))
    literals = (comes(base.families) for base in bases if base and base.families != (4, 6))
    return ((literal.field, literal.intervals) for literal in literals)


def _guards(prepared: Prepared) -> Iterable[Iterable[tuple[str, Intervals]]]:
    return (literals(guard) for rules in prepared.values() for guard, _ in rules)
