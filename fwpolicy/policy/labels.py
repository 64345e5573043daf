"""What a line says of itself (`id`, `owner`, `ticket`, `expires`), its log and its limits."""

from __future__ import annotations

import re

from fwpolicy.policy import values
from fwpolicy.policy.model import Limit
from fwpolicy.policy.reader import boolean_hint, kind
from fwpolicy.policy.syntax import LabelText
from fwpolicy.source import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import Word
    from fwpolicy.source import Node

# It names a counter in the ruleset.
ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}\Z")
# nft(8): the burst where none is given.
BURST = 5
_NANOSECONDS = {"second": 10**9, "minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86400 * 10**9}
_LONGEST_BURST = (1 << 63) - 1
LONGEST_COMMENT = 100
SAYS = ("comment", "owner", "ticket")


def label(reader: Reader, node: Node, found: dict[str, Node]) -> LabelText:
    """The keys of LABEL_KEYS and LIMIT_KEYS, and `comment`."""
    midnight = values.midnight(reader, found.get("expires"), "'expires'")
    said = {key: word.text for key in SAYS if (word := reader.comment(found.get(key), f"'{key}'"))}
    return LabelText(
        _id(reader, found.get("id")),
        _comment(reader, node, said, midnight),
        _log(reader, found.get("log")),
        _limit(reader, found),
        None if midnight is None else midnight + 86400,
        said.get("owner"),
        said.get("ticket"),
    )


def _id(reader: Reader, node: Node | None) -> Word | None:
    word = reader.word(node, "'id'")
    if word and not ID.match(word.text):
        hint = "a letter first, then letters, digits, '_' and '-', at most 48"
        reader.error(f"'{word.text}' cannot be a line's id", word.span, hint)
        return None
    return word


def _comment(reader: Reader, node: Node, said: dict[str, str], midnight: int | None) -> str | None:
    """One text: a ruleset has one comment a rule."""
    parts = [text if key == "comment" else f"{key}: {text}" for key, text in said.items()]
    if midnight is not None:
        parts.append(f"expires: {values.day_text(midnight)}")
    text = "; ".join(parts)
    if len(text.encode()) > LONGEST_COMMENT:
        message = "comment, owner, ticket and expires together are longer than 100 bytes"
        reader.error(message, node, f'they become one comment of the ruleset: "{text}"')
    return text or None


def _log(reader: Reader, node: Node | None) -> str | None:
    if isinstance(node, Scalar) and node.plain and node.value in ("true", "false"):
        return "" if node.value == "true" else None
    if node is not None and (said := boolean_hint(node)):
        message = f"'log' is {kind(node)}: it is true, or what its lines begin with"
        reader.error(message, node, said.replace("write false", "leave 'log' out"))
        return None
    word = values.prefix(reader, node, "'log'")
    return word.text if word else None


def _limit(reader: Reader, found: dict[str, Node]) -> Limit | None:
    rate = values.rate(reader, found.get("limit"), "'limit'")
    burst = values.count(reader, found.get("burst"), "'burst'")
    per = reader.choice(found.get("per"), "'per'", ("source",))
    maximum = values.count(reader, found.get("max"), "'max'")
    if "burst" in found and "limit" not in found:
        reader.error("'burst' belongs to 'limit', which is missing", found["burst"], "limit: 10/minute")
    if "per" in found and not ("limit" in found or "max" in found):
        hint = "per: source counts each source's own"
        reader.error("'per' belongs to 'limit' or 'max', and both are missing", found["per"], hint)
    if rate is None and maximum is None:
        return None
    amount, unit = rate or (0, "second")
    if rate and burst:
        _countable(reader, amount, unit, burst, found["burst"])
    return Limit(amount, unit, (burst or BURST) if rate else 0, per is not None, maximum or 0)


def _countable(reader: Reader, amount: int, unit: str, burst: int, node: Node) -> None:
    """What is left of a burst is a signed number of nanoseconds (nft_limit.c): half of what Linux 6.18 does
    not refuse lets nothing through at all."""
    most = _LONGEST_BURST // (_NANOSECONDS[unit] // amount)
    if burst > most:
        said = f"'burst' of {burst} at {amount}/{unit} is more than the kernel counts: centuries' worth"
        reader.error(said, node, f"at most {most}")
