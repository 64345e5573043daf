"""What a ruleset does to one packet: nft's own semantics, rule after rule (nft(8)).

The slow and obvious reading, for tests and for messages; it knows nothing of policies.
"""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.ir.ruleset import (
    Accept,
    Address,
    Chain,
    CtState,
    Drop,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    LocalDestination,
    Match,
    Nfproto,
    NtpMode,
    Port,
    Reject,
    Return,
    Rule,
    Ruleset,
    Table,
)
from fwpolicy.record import assert_never

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.packet import Packet

ICMP_FAMILY = {1: 4, 58: 6}


def simulate(ruleset: Ruleset, packet: Packet) -> tuple[str, Rule | None]:
    """("accept" | "drop" | "reject", the rule that ended the last base chain which decided).

    A packet of the input hook passes prerouting first, before connection tracking. An accept ends
    its base chain only; drop and reject are final.
    """
    hooks = ("prerouting", "input") if packet.hook == "input" else ("output",)
    decider: Rule | None = None
    for hook in hooks:
        for table, chain in _base_chains(ruleset, hook):
            rule = _walk(table, chain, packet)
            decider = rule or decider
            verdict = (
                rule.verdict if rule else Accept() if chain.base and chain.base.policy == "accept" else Drop()
            )
            if isinstance(verdict, Drop):
                return "drop", rule
            if isinstance(verdict, Reject):
                return "reject", rule
    return "accept", decider


def _base_chains(ruleset: Ruleset, hook: str) -> list[tuple[Table, Chain]]:
    found = [(t, c) for t in ruleset.tables for c in t.chains if c.base and c.base.hook == hook]
    return sorted(found, key=lambda pair: pair[1].base.priority if pair[1].base else 0)


def _walk(table: Table, chain: Chain, packet: Packet) -> Rule | None:
    """The rule with a final verdict, or None at the end of the chain."""
    for rule in chain.rules:
        if not all(_holds(match, packet, table) for match in rule.matches):
            continue
        if isinstance(rule.verdict, Return):
            return None
        if not isinstance(rule.verdict, Jump):
            return rule
        target = next(each for each in table.chains if each.name == rule.verdict.chain)
        decided = _walk(table, target, packet)
        if decided is not None:
            return decided
    return None


def _holds(match: Match, packet: Packet, table: Table) -> bool:
    match match:
        case Interface(key, names):
            mine = "iifname" if packet.hook == "input" else "oifname"
            return key == mine and packet.loopback == ("lo" in names)
        case Nfproto(family):
            return packet.family == family
        case L4Proto(protocols):
            return packet.protocol in protocols
        case Port(protocol, side, ports):
            port = packet.sport if side == "sport" else packet.dport
            return packet.protocol == protocol and port is not None and any(a <= port <= b for a, b in ports)
        case IcmpType(protocol, types):
            right_family = packet.family == ICMP_FAMILY[protocol]
            return right_family and packet.protocol == protocol and packet.icmp_type in types
        case Address():
            return _address_holds(match, packet, table)
        case CtState(states):
            return packet.state in states
        case NtpMode(modes, negated):
            return packet.mode is not None and (packet.mode in modes) != negated
        case LocalDestination():
            return packet.hook == "input"
        case _:
            assert_never(match)


def _address_holds(match: Address, packet: Packet, table: Table) -> bool:
    if packet.family != match.family:
        return False
    intervals = match.intervals
    if match.set_name:
        intervals = next(each.intervals for each in table.sets if each.name == match.set_name)
    members = AddressSet(intervals, ()) if match.family == 4 else AddressSet((), intervals)
    value = packet.source if match.side == "saddr" else packet.destination
    return ((match.family, value) in members) != match.negated
