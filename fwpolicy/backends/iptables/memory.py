"""Matches with a memory of their own: limit, hashlimit and connlimit (iptables-extensions(8)).

Only tables of hashlimit are shared by rules, and by name; nothing is shared by the two families.
"""

from __future__ import annotations

from fwpolicy.backends.iptables import names
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.ir.ruleset import CtCount, LimitName, PerSource, Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.ir.ruleset import Table, WithMemory

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# xt_limit and, before revision 2, xt_hashlimit count in whole ten-thousandths of a second.
_SCALE = 10_000
# An error below one in a hundred is none: the kernel's own clock is no better.
_EXACT = 100
_MOST_BURST = 10_000
# In seconds: an entry that is this young is no burden; what the kernel's credits hold is a day's (MAX_CPJ of
# xt_limit.c and xt_hashlimit.c), and of more it keeps what is left after an overflow.
_SHORTEST, _DAY = 60, 86_400
_ENTRIES = 65535
# IPv6: each /64, which is what a site gives to a host (RFC 4291 2.5.4).
_MASKS = {4: 32, 6: 64}


class Memory:
    """The limiters of a table."""

    def __init__(self, table: Table) -> None:
        self._limits = {limit.name: limit.rate for limit in table.limits}
        self._tables: dict[str, tuple[str, str]] = {}

    def text(self, match: WithMemory, of_log: bool = False) -> str:
        """The match in iptables' words. Of a log's limit the nearest that there is. Raises CannotSayError."""
        match match:
            case Rate():
                rate = _checked(match, of_log)
                return f"-m limit --limit {rate.rate}/{rate.unit} --limit-burst {rate.burst}"
            case LimitName(name):
                return self._shared(name, _checked(self._limits[name], of_log), "")
            case CtCount(maximum):
                return _connections(maximum, 0)
            case PerSource(family, _, CtCount(maximum)):
                return _connections(maximum, _MASKS[family])
            case PerSource(family, set_name, Rate() as each):
                mask = f" --hashlimit-srcmask {_MASKS[family]}" if family == 6 else ""
                return self._shared(set_name, _checked(each, of_log), f" --hashlimit-mode srcip{mask}")
        raise AssertionError(match)

    def _shared(self, name: str, rate: Rate, mode: str) -> str:
        said = f"{rate.rate}/{rate.unit} burst {rate.burst}{mode}"
        table = names.limiter(name, said)
        if self._tables.setdefault(table, (name, said)) != (name, said):
            raise CannotSayError("two limits have one checksum; please report this policy", "give it an id")
        return (
            f"-m hashlimit --hashlimit-upto {rate.rate}/{rate.unit} --hashlimit-burst {rate.burst}{mode} "
            f"--hashlimit-name {table} --hashlimit-htable-max {_ENTRIES} "
            f"--hashlimit-htable-expire {1000 * max(_SHORTEST, _refill(rate))}"
        )


def _checked(rate: Rate, of_log: bool) -> Rate:
    if of_log:
        return _nearest(rate)
    _refuse(rate)
    return rate


def _nearest(rate: Rate) -> Rate:
    count = min(rate.rate, _SCALE) if rate.unit == "second" else rate.rate
    fitting = max(1, _DAY * count // _SECONDS[rate.unit])
    return Rate(count, rate.unit, min(rate.burst, fitting, _MOST_BURST))


def _refuse(rate: Rate) -> None:
    """Raises CannotSayError for what is not counted exactly."""
    period = _SCALE * _SECONDS[rate.unit]
    if period // rate.rate < _EXACT and (period % rate.rate or rate.rate > period):
        raise CannotSayError(
            f"{rate.rate}/{rate.unit} is not to be had: it counts in ten-thousandths of a second",
            "100, 200, 500, 1000 or 2000 a second can be said",
        )
    if rate.burst > _MOST_BURST:
        raise CannotSayError(f"a burst is at most {_MOST_BURST}, not {rate.burst}")
    if _refill(rate) > _DAY:
        raise CannotSayError(
            f"{rate.burst} at {rate.rate}/{rate.unit} is more than a day's, which is all that it counts",
            "a smaller 'burst', or a shorter time",
        )


def _refill(rate: Rate) -> int:
    """Seconds until a burst is full again. A source that is forgotten before got one as a gift."""
    return -(-rate.burst * _SECONDS[rate.unit] // rate.rate)


def _connections(maximum: int, mask: int) -> str:
    """As old versions say it: `--connlimit-upto` is not in all of them."""
    return f"-m connlimit ! --connlimit-above {maximum} --connlimit-mask {mask}"
