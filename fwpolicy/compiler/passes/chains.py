"""What passes share: a ruleset with its chains done anew."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwpolicy.ir.ruleset import Rule, Ruleset, Table


def each_table(ruleset: Ruleset, change: Callable[[Table], Table]) -> Ruleset:
    """`ruleset` with `change` made to its tables."""
    return replace(ruleset, tables=tuple(change(table) for table in ruleset.tables))


def step_by_step(
    rules: Sequence[Rule], change: Callable[[Sequence[Rule]], Sequence[Rule]]
) -> tuple[Rule, ...]:
    """`rules` with `change` made to those of each step of the evaluation, which no rule leaves."""
    runs = (tuple(run) for _, run in groupby(rules, attrgetter("step")))
    return tuple(rule for run in runs for rule in change(run))


def each_chain(table: Table, change: Callable[[Sequence[Rule]], Sequence[Rule]]) -> Table:
    """`table` with `change` made to the rules of its chains."""
    return replace(
        table, chains=tuple(replace(chain, rules=tuple(change(chain.rules))) for chain in table.chains)
    )
