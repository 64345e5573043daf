"""Readings of the rarer kinds of value: rates, durations, dates, counts, port ranges, log prefixes."""

from __future__ import annotations

import re

from fwpolicy.policy import services
from fwpolicy.policy.services import ServiceError
from fwpolicy.record import replace
from fwpolicy.source import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import Word
    from fwpolicy.source import Node

UNITS = ("second", "minute", "hour", "day")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# The kernel counts in milliseconds of 32 bits in some versions.
LONGEST = 30 * 86400
MOST = 999_999
# iptables' LOG takes 29 bytes, and a separator follows.
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,25}[A-Za-z0-9._:/-]?\Z")
_PERIOD = re.compile(r"([1-9][0-9]{0,5}) *([a-z]+)\Z", re.ASCII)
_DATE = re.compile(r"(20\d\d)-(\d\d)-(\d\d)\Z", re.ASCII)
_EPOCH = 719163  # date(1970, 1, 1).toordinal()


def number(reader: Reader, word: Word, low: int, high: int, what: str) -> int | None:
    """A decimal number in low..high."""
    try:
        return services.number(word.text, low, high, what)
    except ServiceError as error:
        reader.error(str(error), word.span, error.hint)
        return None


def count(reader: Reader, node: Node | None, what: str, low: int = 1, high: int = MOST) -> int | None:
    word = reader.word(node, what, "write a number")
    return number(reader, word, low, high, what) if word else None


def rate(reader: Reader, node: Node | None, what: str) -> tuple[int, str] | None:
    """`N/second` .. `N/day` as (N, unit)."""
    word = reader.word(node, what, "write 5/minute")
    if word is None:
        return None
    amount, slash, unit = word.text.partition("/")
    if not slash or unit not in UNITS:
        hint = _rate_hint(amount, unit)
        reader.error(f"{what} is '{word.text}'; it must be N/{', N/'.join(UNITS)}", word.span, hint)
        return None
    value = number(reader, replace(word, text=amount), 1, MOST, what)
    return None if value is None else (value, unit)


def _rate_hint(amount: str, unit: str) -> str | None:
    """The same rate in a unit that there is; an example where it cannot be told which is meant."""
    times, said = found.groups() if (found := _PERIOD.match(unit)) else (None, unit)
    meant = said.removesuffix("s") if said else "minute"
    known = next((each for each in UNITS if each.startswith(meant)), None)
    if known is None:
        return None
    if not (amount.isascii() and amount.isdigit() and int(amount[:9])):
        return f"write 5/{known}"
    for longer in UNITS[UNITS.index(known) :]:
        many, rest = divmod(int(amount[:9]) * SECONDS[longer[0]], int(times or 1) * SECONDS[known[0]])
        if not rest:
            return f"write {many}/{longer}"
    return None


def duration(reader: Reader, node: Node | None, what: str) -> int | None:
    """`90s`, `30m`, `1h` or `7d` in seconds; `0` for no end."""
    hint = "write 90s, 30m, 1h or 7d; 0 is without end"
    word = reader.word(node, what, hint)
    if word is None or word.text == "0":
        return None if word is None else 0
    amount, unit = word.text[:-1], word.text[-1]
    if unit not in SECONDS or not (amount.isascii() and amount.isdigit()):
        reader.error(f"{what} is '{word.text}', not a duration", word.span, hint)
        return None
    value = number(reader, replace(word, text=amount), 1, MOST, what)
    if value is not None and value * SECONDS[unit] > LONGEST:
        reader.error(f"{what} is longer than 30 days", word.span, "0 is without end")
        return None
    return None if value is None else value * SECONDS[unit]


def midnight(reader: Reader, node: Node | None, what: str) -> int | None:
    """The first second (Unix time) of a day, `YYYY-MM-DD`, UTC."""
    word = reader.word(node, what, "a date is written 2027-01-31")
    if word is None:
        return None
    found = day(word.text)
    if found is None:
        reader.error(f"{what} is '{word.text}', not a date", word.span, "a date is written 2027-01-31")
    return found


def day(text: str) -> int | None:
    """The first second (Unix time, UTC) of a day of this century; None for what is no such date."""
    from datetime import date  # noqa: PLC0415  (2 ms that only a date pays)

    written = _DATE.match(text)
    try:
        return (date(*map(int, written.groups())).toordinal() - _EPOCH) * 86400 if written else None
    except ValueError:
        return None


def day_text(second: int) -> str:
    """The day (UTC) of a Unix time, as it is written."""
    from datetime import date  # noqa: PLC0415

    return date.fromordinal(second // 86400 + _EPOCH).isoformat()


def prefix(reader: Reader, node: Node | None, what: str) -> Word | None:
    """What a log line begins with."""
    if isinstance(node, Scalar) and (bare := node.value.strip()) and bare != node.value:
        hint = f"leave them out: a log line has '{bare}: '"
        reader.error(f"{what} has spaces around it: '{node.value}'", node, hint)
        return None
    word = reader.word(node, what)
    if word and not PREFIX.match(word.text):
        hint = "letters, digits, spaces and . _ : / -, at most 27"
        reader.error(f"{what} is '{word.text}', which no log line can begin with", word.span, hint)
        return None
    return word


def ports(words: tuple[Word, ...], names: Names) -> Intervals:
    """Ports and ranges, merged."""
    from fwpolicy.addresses import merge  # noqa: PLC0415

    found = []
    for word in words:
        try:
            found.append(services.ports(word.text))
        except ServiceError as error:
            names.error(str(error), word.span, error.hint)
    return merge(found)
