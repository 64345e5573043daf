"""The NTP role on hosts without the u32 match: replies are told by their state and port alone.

What that leaves open: a query that a conntrack entry of the host's own makes "established" passes, so entries
from before must be deleted when the rules arrive, and forged packets of a server that was asked get through.
"""

from __future__ import annotations

from fwpolicy.ir.ruleset import RAW, NtpMode
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.ir.ruleset import Chain, Rule, Table


def without_modes(table: Table) -> Table:
    """The table that asks no packet for its NTP mode."""
    return replace(table, chains=tuple(map(_chain, table.chains)))


def _chain(chain: Chain) -> Chain:
    early = chain.base is not None and chain.base.priority == RAW
    # What is dropped early for its mode is not dropped early; without it, it would be dropped for nothing.
    kept = (rule for rule in chain.rules if not (early and _modes(rule)))
    return replace(chain, rules=tuple(map(_without, kept)))


def _modes(rule: Rule) -> tuple[NtpMode, ...]:
    return tuple(match for match in rule.matches if isinstance(match, NtpMode))


def _without(rule: Rule) -> Rule:
    modes = _modes(rule)
    return replace(rule, matches=tuple(m for m in rule.matches if m not in modes)) if modes else rule
