"""What a limiter lets through, in words that a policy's limit can be compared with."""

from __future__ import annotations

from fwpolicy.model.iptables import stateful

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.words import Match

_UNITS = {"s": ("second", 1), "m": ("minute", 60), "h": ("hour", 3600), "d": ("day", 86400)}
# libxt_limit.c, libxt_hashlimit.c; how many milliseconds hashlimit remembers at least, if it is not said: old
# versions 10 seconds, new ones the rate's unit.
_BURST, _EXPIRE = "5", 1_000
_BITS = {4: "32", 6: "128"}
_EACH = {4: " per ipv4 source", 6: " per ipv6 source /64"}
_EACH_MASK = {4: "32", 6: "64"}
# What does not change what is let through: where it is kept, and how large that may grow.
_HOUSEKEEPING = ("name", "htable-max", "htable-size", "htable-gcinterval")


def words(match: Match, family: int) -> str:
    """ "rate 10/second burst 5 per ipv4 source", "count 20"; "" for what no policy asks for."""
    # A rate as it is written: save prints 120/minute as 2/second, which is the same only to the kernel.
    options = stateful.canonical(match, family).options if match.module == "connlimit" else match.options
    if any(negated for _, negated, _ in options):
        return ""
    given = {name: " ".join(values) for name, _, values in options}
    match match.module:
        case "limit":
            found = _rate(given.pop("limit", "3/hour"), given.pop("limit-burst", _BURST))
        case "hashlimit":
            given = {name.removeprefix("hashlimit-"): value for name, value in given.items()}
            found = _hashlimit(given, family)
        case "connlimit":
            found = _connlimit(given, family)
        case _:
            return ""
    return "" if given else found


def _rate(text: str, burst: str) -> str:
    number, _, unit = text.partition("/")
    known = _UNITS.get(unit[:1])
    return f"rate {number}/{known[0]} burst {burst}" if known and number.isdecimal() else ""


def _hashlimit(given: dict[str, str], family: int) -> str:
    """Takes what it understands out of `given`."""
    rate, burst = given.pop("upto", given.pop("hashlimit", "")), given.pop("burst", _BURST)
    found = _rate(rate, burst)
    if not found or not _is_remembered(rate, int(burst), int(given.pop("htable-expire", _EXPIRE))):
        return ""
    for name in _HOUSEKEEPING:
        given.pop(name, None)
    mode = given.pop("mode", None)
    if mode is None:
        return found
    one = mode == "srcip" and given.pop("srcmask", _BITS[family]) == _EACH_MASK[family]
    return found + _EACH[family] if one else ""


def _is_remembered(rate: str, burst: int, expire: int) -> bool:
    """Whether nobody is forgotten before they have all their burst again: else more gets through."""
    number, _, unit = rate.partition("/")
    return expire * int(number) >= 1000 * burst * _UNITS[unit[:1]][1]


def _connlimit(given: dict[str, str], family: int) -> str:
    mask = given.pop("connlimit-mask", _BITS[family])
    each = _EACH[family] if mask == _EACH_MASK[family] else "" if mask == "0" else None
    count = given.pop("connlimit-upto", None)
    return f"count {count}{each}" if count is not None and each is not None else ""
