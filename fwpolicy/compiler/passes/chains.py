"""What passes share: a ruleset with its chains done anew."""

from __future__ import annotations

from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwpolicy.ir.ruleset import Rule, Ruleset, Table


def each_table(ruleset: Ruleset, change: Callable[[Table], Table]) -> Ruleset:
    """`ruleset` with `change` made to its tables."""
    return replace(ruleset, tables=tuple(change(table) for table in ruleset.tables))


def each_chain(table: Table, change: Callable[[Sequence[Rule]], Sequence[Rule]]) -> Table:
    """`table` with `change` made to the rules of its chains."""
    return replace(
        table, chains=tuple(replace(chain, rules=tuple(change(chain.rules))) for chain in table.chains)
    )
