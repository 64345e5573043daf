"""Which reader a match has; what has none is one opaque condition, by its text."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.iptables import host, packet, tracking, transport
from fwpolicy.model.iptables.basics import Context
from fwpolicy.model.program import ALWAYS, Lit
from fwpolicy.protocols import AH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.model.iptables.ipsets import Sets
    from fwpolicy.model.iptables.words import Match, Options
    from fwpolicy.model.program import Expr

READERS: dict[str, Callable[[Context, Options], Expr]] = {
    "multiport": transport.multiport,
    "state": tracking.state,
    "conntrack": tracking.conntrack,
    "connmark": tracking.connmark,
    "comment": lambda _context, _options: ALWAYS,
    "iprange": packet.iprange,
    "addrtype": packet.addrtype,
    "pkttype": packet.pkttype,
    "mark": packet.mark,
    "ttl": packet.ttl,
    "hl": packet.ttl,
    "dscp": packet.dscp,
    "tos": packet.tos,
    "length": packet.length,
    "u32": packet.u32,
    "owner": host.owner,
    "time": host.window,
}
TRANSPORTS = ("tcp", "udp", "sctp", "dccp", "icmp", "icmp6")


def canonical(match: Match) -> str:
    """A match as text: the order in which its options stand says nothing."""
    texts = []
    for name, negated, values in match.options:
        quoted = [value if value and " " not in value else f'"{value}"' for value in values]
        texts.append(" ".join((*(("!",) if negated else ()), f"--{name}", *quoted)))
    return " ".join((match.module, *sorted(texts)))


def of_match(context: Context, match: Match, sets: Sets) -> Expr:
    """A match whose answer depends on the packet alone, and on what is in the `sets` that are known."""
    if match.module == "set":
        return host.ipset(context, match.options, sets)
    if match.module in TRANSPORTS:
        return transport.transport(match.module, context, match.options)
    if match.module == "ah" and context.family == 6 and not match.options:
        return Lit("l4proto", fields.values(AH))
    if reader := READERS.get(match.module):
        return reader(context, match.options)
    return Lit(fields.opaque(canonical(match)), fields.YES)
