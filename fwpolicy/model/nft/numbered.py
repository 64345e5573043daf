"""Interfaces by their number: `iif` is looked up when the rule is loaded, and means nobody's once that
interface is made anew, where `iifname` goes on (nft(8), "META EXPRESSIONS"). To the model both are names.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.fields import Where
    from fwpolicy.model.program import Program

# `lo` has the same number for ever.
_NUMBERED = re.compile(r'\b[io]if\b(?! (?:== )?(?:"lo"|lo\b|!= "lo"|!= lo\b))')
_SAID = re.compile(r'(?:comment|prefix) "[^"]*"|fib \S+(?: \. \S+)*')


def numbered(one: Program, other: Program) -> tuple[Where, ...]:
    """The rules of either that know an interface by its number, and that the other does not have."""
    mine, its = _by_number(one), _by_number(other)
    texts = {(where.chain, where.text) for where in mine} & {(where.chain, where.text) for where in its}
    return tuple(where for where in (*mine, *its) if (where.chain, where.text) not in texts)


def _by_number(program: Program) -> list[Where]:
    rules = (rule.where for chain in program.chains.values() for rule in chain.rules)
    return [where for where in rules if _NUMBERED.search(_SAID.sub("", where.text))]
