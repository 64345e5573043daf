"""nft rulesets as programs of the model: from text, or from what `nft -n -j list ruleset` prints.

Independent of what emits them: nothing of backends/, compiler/ or ir/ is used here.

What stays opaque, equal only to the same words: matches on fields that the model has not (`ether`, `vlan`,
`ip6 nexthdr`, `ct helper`, `fib ... oif`, `socket`, raw payloads, marks under masks with large holes, ...).
What is named in `Program.unmodelled`: see effects.py, and chains of other hooks and families.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.model.program import Program


def of_text(text: str, file: str) -> Program:
    """The program of a ruleset's text, listed or emitted; NotModelledError for what is not understood.

    `meta time` as a date is read as UTC: list with TZ=UTC. Tables that iptables-nft made are to be listed
    as JSON, or read with iptables-save: the text shows translations that lose negations (seen, 1.0.6).
    """
    from fwpolicy.model.nft.parser import parse  # noqa: PLC0415
    from fwpolicy.model.nft.read import program  # noqa: PLC0415

    return program(parse(text, file), file)


def of_json(document: dict[str, Any], file: str = "live") -> Program:
    """The program of a listing as JSON; NotModelledError for what is not understood."""
    from fwpolicy.model.nft.read import program  # noqa: PLC0415

    return program(document, file)
