"""Matches on what the host knows besides the packet: whose socket, which ipset, what time it is."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.iptables import names
from fwpolicy.model.iptables.basics import flag, negate, only
from fwpolicy.model.program import And, Lit, Not, NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.basics import Context
    from fwpolicy.model.iptables.ipsets import Sets
    from fwpolicy.model.iptables.words import Option, Options
    from fwpolicy.model.program import Expr

_TOP = (1 << 32) - 1
_NOBODY = fields.values(fields.NO_OWNER)
_OWNERS = {"uid-owner": "skuid", "gid-owner": "skgid"}
_SIDES = {"src": "saddr", "dst": "daddr"}


def owner(_: Context, options: Options) -> Expr:
    """Who sent it. A packet without a socket is nobody's: only negated conditions hold for it (owner_mt)."""
    groups = any(option[0] == "suppl-groups" for option in options)
    parts = [_owner(option, groups) for option in options if option[0] != "suppl-groups"]
    return And(tuple(parts))


def _owner(option: Option, groups: bool) -> Expr:
    name, negated, _ = option
    if name == "socket-exists":
        return negate(Not(Lit("skuid", _NOBODY)), not flag(option))
    text = only(option)
    if groups and name == "gid-owner":
        return negate(Lit(fields.opaque(f"owner suppl-groups {text}"), fields.YES), negated)
    numbers = "0" if text == "root" else text
    if not all(part.isdecimal() for part in numbers.split("-", 1)):
        # Who has which number is not in the text.
        return negate(Lit(fields.opaque(f"owner {name} {text}"), fields.YES), negated)
    return negate(Lit(_OWNERS[name], (names.span(numbers, _TOP - 1, "user or group", "-"),)), negated)


def ipset(context: Context, options: Options, sets: Sets) -> Expr:
    """`--match-set NAME src`: membership. More directions than one, and counters, make it opaque."""
    wanted = [option for option in options if option[0] == "match-set"]
    if len(wanted) != 1 or len(wanted[0][2]) != 2:
        raise NotModelledError("'-m set' takes one '--match-set NAME DIRECTIONS'")
    name, directions = wanted[0][2]
    if unknown := set(directions.split(",")) - set(_SIDES):
        raise NotModelledError(f"'{unknown.pop()}' is no direction: src, dst")
    # Whether counters are updated is no question to the packet.
    rest = sorted(_text(option) for option in options if option[0] not in ("match-set", "update-counters"))
    if rest or directions not in _SIDES:
        field = fields.opaque(" ".join(("set", name, directions, *rest)))
    elif (members := sets.get(name)) is not None:
        return negate(Lit(f"{_SIDES[directions]}{context.family}", members), wanted[0][1])
    else:
        field = fields.member(name, _SIDES[directions])
    return negate(Lit(field, fields.YES), wanted[0][1])


def _text(option: Option) -> str:
    name, negated, values = option
    return " ".join((*(("!",) if negated else ()), f"--{name}", *values))


# iptables-extensions(8), "time": without `--datestop` a rule ends on 2038-01-19, which save may print.
_LAST = (1 << 31) - 1
_DATES = ("datestart", "datestop")


def window(_: Context, options: Options) -> Expr:
    """Two dates in UTC, both included; days, times of the day and local time are one opaque condition."""
    local = any(option[0] in ("kerneltz", "localtz") for option in options)
    dates = {option[0]: _seconds(only(option)) for option in options if option[0] in _DATES}
    rest = [option for option in options if option[0] not in ("utc", *_DATES)]
    first, last = dates.get("datestart", 0), dates.get("datestop", _LAST)
    if first > last:
        raise NotModelledError("'--datestart' is after '--datestop'")
    if local:
        shown = [option for option in options if option[0] in _DATES and dates[option[0]] not in (0, _LAST)]
        return _opaque_time([*shown, *rest])
    inside = Lit("time", ((first, last),))
    return And((inside, _opaque_time(rest))) if rest else inside


def _opaque_time(options: list[Option]) -> Expr:
    return Lit(fields.opaque("time " + " ".join(sorted(_text(option) for option in options))), fields.YES)


def _seconds(text: str) -> int:
    """`YYYY[-MM[-DD[Thh[:mm[:ss]]]]]` as seconds since 1970."""
    from datetime import UTC, datetime  # noqa: PLC0415 (one rule in thousands has a date)

    date, _, clock = text.partition("T")
    try:
        year, month, day = _filled(date.split("-"), 1)
        hour, minute, second = _filled(clock.split(":") if clock else [], 0)
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        raise NotModelledError(f"'{text}' is no date: YYYY-MM-DDThh:mm:ss") from None


def _filled(parts: list[str], missing: int) -> tuple[int, ...]:
    """Three numbers, those left out being `missing`."""
    return (*(int(part) for part in parts), *[missing] * (3 - len(parts)))
