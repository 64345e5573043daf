"""Matches with a memory of their own: each is a free yes or no, and a rule's own.

They answer anew each time that they are asked, so two rules with one text are two questions: of two
`--probability 0.5` in a row, as kube-proxy writes them, the second would never match.
"""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.program import Lit, Not, NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.words import Match, Option, Options
    from fwpolicy.model.program import Expr

LIMITERS = ("limit", "hashlimit", "connlimit")
MODULES = (*LIMITERS, "statistic", "quota", "recent", "rateest", "nfacct")

# What iptables-save adds, or leaves out, where nothing else is asked for.
_DEFAULTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "limit": (("limit-burst", ("5",)),),
    "hashlimit": (("hashlimit-burst", ("5",)),),
    "connlimit": (("connlimit-saddr", ()),),
    "recent": (
        *(("rsource", ()), ("name", ("DEFAULT",)), ("mask", ("255.255.255.255",))),
        ("mask", ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",)),
    ),
}
# A mask that is the whole address.
_WHOLE = {4: ("connlimit-mask", ("32",)), 6: ("connlimit-mask", ("128",))}
_OPPOSITES = {"connlimit-above": "connlimit-upto", "connlimit-upto": "connlimit-above"}
_EXPIRE = "hashlimit-htable-expire"
_RATES = ("limit", "hashlimit-upto", "hashlimit-above", "hashlimit")
# Names and lengths of time in the unit of xt_limit, the ten-thousandth of a second.
_TIMES = {"day": 864_000_000, "hour": 36_000_000, "min": 600_000, "sec": 10_000}


def canonical(match: Match, family: int) -> Match:
    """The match as iptables-save prints it: the same rate, chance and defaults are the same words."""
    defaults = (*_DEFAULTS.get(match.module, ()), _WHOLE[family])
    options = [option for option in match.options if option[1] or (option[0], option[2]) not in defaults]
    said = tuple(_canonical(option) for option in options)
    if match.module == "hashlimit":
        said = _remembered(match.options, said)
    return type(match)(match.module, said)


def _remembered(given: Options, said: Options) -> Options:
    """How long hashlimit remembers: the unit of the rate that was given, unless it says, and not printed
    where it is that of the rate that is printed (libxt_hashlimit.c, hashlimit_mt_check, hashlimit_print)."""
    units = [_unit(options) for options in (given, said)]
    if None in units:
        return said
    stated = [values[0] for name, _, values in given if name == _EXPIRE and values]
    expire = stated[0] if stated else str(units[0])
    kept = tuple(option for option in said if option[0] != _EXPIRE)
    return kept if expire == str(units[1]) else (*kept, (_EXPIRE, False, (expire,)))


def _unit(options: Options) -> int | None:
    """The unit of a rate in milliseconds."""
    for name, _, values in options:
        unit = values[0].partition("/")[2][:1] if name in _RATES and values else ""
        found = [length for known, length in _TIMES.items() if unit and known[0] == unit]
        if found:
            return found[0] // 10
    return None


def _canonical(option: Option) -> Option:
    name, negated, values = option
    if name in _OPPOSITES and negated:
        return _OPPOSITES[name], False, values
    if len(values) == 1 and name in _RATES:
        return name, negated, (_rate(values[0]),)
    if len(values) == 1 and name == "probability":
        return name, negated, (_chance(values[0]),)
    return option


def _rate(text: str) -> str:
    """`5/minute` as `5/min`, `120/min` as `2/sec` (libxt_limit.c, print_rate)."""
    count_text, _, unit = text.partition("/")
    found = [length for name, length in _TIMES.items() if unit and name[0] == unit[0]]
    if not count_text.isdecimal() or int(count_text) == 0 or (unit and not found):
        # Bytes a second, which hashlimit counts too.
        return text
    period = max(1, (found[0] if found else _TIMES["sec"]) // int(count_text))
    names = list(_TIMES)
    fitting = names[0]
    for name in names[1:]:
        length = _TIMES[name]
        if period > length or length // period < length % period:
            break
        fitting = name
    return f"{_TIMES[fitting] // period}/{fitting}"


def _chance(text: str) -> str:
    """The kernel keeps 31 bits of it."""
    try:
        return f"{round(float(text) * (1 << 31)) / (1 << 31):.9g}"
    except (ValueError, OverflowError):
        raise NotModelledError(f"'{text}' is no probability") from None


def condition(match: Match, identity: str) -> Expr:
    """The free yes or no; `identity` tells it from all others."""
    if match.module not in LIMITERS:
        return Lit(fields.opaque(identity), fields.YES)
    room = Lit(fields.limiter(identity), fields.YES)
    return Not(room) if _above(match.options) else room


def _above(options: Options) -> bool:
    """`--hashlimit-above` and `--connlimit-above` hold where there is no room left."""
    bounds = [(name, negated) for name, negated, _ in options if name.endswith(("-above", "-upto"))]
    return any(name.endswith("-above") != negated for name, negated in bounds)
