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
# In seconds: an entry that is this young is no burden; in milliseconds: what fits.
_SHORTEST, _LONGEST = 60, (1 << 31) - 1
_ENTRIES = 65535
# IPv6: each /64, which is what a site gives to a host (RFC 4291 2.5.4).
_MASKS = {4: 32, 6: 64}


class Memory:
    """The limiters of a table."""

    def __init__(self, table: Table) -> None:
        self._limits = {limit.name: limit.rate for limit in table.limits}
        self._tables: dict[str, tuple[str, str]] = {}

    def text(self, match: WithMemory) -> str:
        """The match in iptables' words. Raises CannotSayError."""
        match match:
            case Rate():
                return _limit(match)
            case LimitName(name):
                return self._shared(name, self._limits[name], "")
            case CtCount(maximum):
                return _connections(maximum, 0)
            case PerSource(family, _, CtCount(maximum)):
                return _connections(maximum, _MASKS[family])
            case PerSource(family, set_name, Rate() as rate):
                mask = f" --hashlimit-srcmask {_MASKS[family]}" if family == 6 else ""
                return self._shared(set_name, rate, f" --hashlimit-mode srcip{mask}")
        raise AssertionError(match)

    def _shared(self, name: str, rate: Rate, mode: str) -> str:
        said = f"{_rate(rate)}{mode}"
        table = names.limiter(name, said)
        if self._tables.setdefault(table, (name, said)) != (name, said):
            raise CannotSayError("two limits have one checksum; please report this policy", "give it an id")
        return (
            f"-m hashlimit --hashlimit-upto {rate.rate}/{rate.unit} --hashlimit-burst {rate.burst}{mode} "
            f"--hashlimit-name {table} --hashlimit-htable-max {_ENTRIES} "
            f"--hashlimit-htable-expire {_forgotten(rate)}"
        )


def log_limit(rate: Rate) -> str:
    """How often a log may be written: the nearest that there is."""
    return f"-m limit --limit {rate.rate}/{rate.unit} --limit-burst {min(rate.burst, _MOST_BURST)}"


def _limit(rate: Rate) -> str:
    _rate(rate)
    return log_limit(rate)


def _rate(rate: Rate) -> str:
    period = _SCALE * _SECONDS[rate.unit]
    if period // rate.rate < _EXACT and (period % rate.rate or rate.rate > period):
        raise CannotSayError(
            f"{rate.rate}/{rate.unit} is not to be had: it counts in ten-thousandths of a second",
            "100, 200, 500, 1000 or 2000 a second can be said",
        )
    if rate.burst > _MOST_BURST:
        raise CannotSayError(f"a burst is at most {_MOST_BURST}, not {rate.burst}")
    return f"{rate.rate}/{rate.unit} burst {rate.burst}"


def _forgotten(rate: Rate) -> int:
    """Milliseconds after which a silent source is forgotten: not before it has all its burst again, or the
    forgetting would be a gift."""
    refill = -(-rate.burst * _SECONDS[rate.unit] // rate.rate)
    found = 1000 * max(_SHORTEST, refill)
    if found > _LONGEST:
        raise CannotSayError(f"a burst of {rate.burst} at {rate.rate}/{rate.unit} is remembered for too long")
    return found


def _connections(maximum: int, mask: int) -> str:
    """As old versions say it: `--connlimit-upto` is not in all of them."""
    return f"-m connlimit ! --connlimit-above {maximum} --connlimit-mask {mask}"
