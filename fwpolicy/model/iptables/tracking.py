"""Matches on what connection tracking knows: state, conntrack, connmark."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.iptables import names
from fwpolicy.model.iptables.basics import in_network, masked_text, negate, only
from fwpolicy.model.program import And, Expr, Lit, Not, NotModelledError, Or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.basics import Context
    from fwpolicy.model.iptables.words import Option, Options

TRACKED = Lit("ctstate", fields.states("new", "established", "related"))
# An ICMP error is RELATED to a connection of any protocol, whose number `--ctproto` then sees.
_ERROR = And((Lit("ctstate", fields.states("related")), Lit("l4proto", fields.values(1, 58))))
_STATUSES = ("NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")
_VIRTUAL = ("dnat", "snat")


def _states(text: str) -> Expr:
    wanted = text.lower().split(",")
    for name in wanted:
        if name not in fields.STATES and name not in _VIRTUAL:
            raise NotModelledError(f"'{name}' is no connection state")
    parts: list[Expr] = [Lit(name, fields.YES) for name in _VIRTUAL if name in wanted]
    real = [name for name in wanted if name in fields.STATES]
    if real:
        parts.append(Lit("ctstate", fields.states(*real)))
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def state(_: Context, options: Options) -> Expr:
    """`-m state --state`: what `-m conntrack --ctstate` is, without its virtual states."""
    if len(options) != 1:
        raise NotModelledError("'-m state' takes '--state'")
    text = only(options[0])
    if any(name in text.lower().split(",") for name in _VIRTUAL):
        raise NotModelledError("'-m state' knows no DNAT and SNAT; '-m conntrack --ctstate' does")
    return negate(_states(text), options[0][1])


def conntrack(context: Context, options: Options) -> Expr:
    """All that is asked, of a packet with a connection.

    Without one (invalid, untracked), only the state is asked: where it fits, the rest counts as true, and
    where no state is asked, the match fails, negated or not (xt_conntrack.c, conntrack_mt: `if (ct == NULL)
    return info->match_flags & XT_CONNTRACK_STATE`).
    """
    if not options:
        raise NotModelledError("'-m conntrack' asks nothing")
    asked = tuple(negate(_states(only(option)), option[1]) for option in options if option[0] == "ctstate")
    rest = tuple(negate(_part(context, option), option[1]) for option in options if option[0] != "ctstate")
    if not rest:
        return And(asked)
    if not asked:
        return And((TRACKED, *rest))
    return And((*asked, Or((Not(TRACKED), And(rest)))))


def _part(context: Context, option: Option) -> Expr:
    name = option[0]
    text = only(option)
    match name:
        case "ctproto":
            return _protocol(names.protocol(text))
        case "ctorigsrc" | "ctorigdst":
            return in_network(context.family, "origsaddr" if name == "ctorigsrc" else "origdaddr", text)
        case "ctorigdstport":
            return Lit("origport", (names.ports(text),))
        case "ctdir":
            return _direction(text)
        case "ctstatus":
            return _status(text)
    return Lit(fields.opaque(f"conntrack {name} {text}"), fields.YES)


def _protocol(number: int) -> Expr:
    other = Lit(fields.opaque(f"conntrack ctproto {number}"), fields.YES)
    return Or((And((Not(_ERROR), Lit("l4proto", ((number, number),)))), And((_ERROR, other))))


def _direction(text: str) -> Expr:
    directions = ("original", "reply")
    if text.lower() not in directions:
        raise NotModelledError(f"'{text}' is no direction: ORIGINAL, REPLY")
    return Lit("ctdir", fields.values(directions.index(text.lower())))


def _status(text: str) -> Expr:
    """One of the bits; NONE has none, so it never matches."""
    wanted = set(text.upper().split(","))
    if unknown := wanted - set(_STATUSES):
        raise NotModelledError(f"'{unknown.pop()}' is no connection status")
    return Or(
        tuple(
            Lit(fields.opaque(f"conntrack ctstatus {name}"), fields.YES)
            for name in _STATUSES[1:]
            if name in wanted
        )
    )


def connmark(_: Context, options: Options) -> Expr:
    """No connection: no match, negated or not (xt_connmark.c)."""
    if len(options) != 1:
        raise NotModelledError("'-m connmark' takes '--mark'")
    return And((TRACKED, negate(masked_text("ctmark", 32, only(options[0])), options[0][1])))
