"""What a ruleset does to one packet: nft's own semantics, rule after rule (nft(8)).

The slow and obvious reading, for tests and for messages; it knows nothing of policies.
"""

from __future__ import annotations

from fwpolicy.addresses import BITS, AddressSet
from fwpolicy.ir.maps import CounterMap, Element, VerdictMap
from fwpolicy.ir.ruleset import (
    Accept,
    Address,
    AnyPort,
    Before,
    Chain,
    Circumstance,
    ClampMss,
    Continue,
    CtCount,
    CtState,
    CtStatus,
    DestinationType,
    Drop,
    DynamicSet,
    Header,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    LimitName,
    Match,
    Nfproto,
    NtpMode,
    OriginalPort,
    PerSource,
    Port,
    Rate,
    Reject,
    Return,
    Rule,
    Ruleset,
    Table,
    TcpSyn,
    Tracked,
)
from fwpolicy.protocols import NAMES
from fwpolicy.record import assert_never, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fwpolicy.addresses import Intervals
    from fwpolicy.ir.ruleset import WithMemory
    from fwpolicy.model.packet import Packet

ICMP_FAMILY = {1: 4, 58: 6}
# 224.0.0.0/4 and ff00::/8, as (shift, value).
MULTICAST = {4: (28, 0xE), 6: (120, 0xFF)}
FAMILY_WORDS = {4: "ip", 6: "ip6"}
# An interface that no line names.
SOME = "?"


def simulate(
    ruleset: Ruleset,
    packet: Packet,
    room: Callable[[WithMemory], bool] | None = None,
    met: Callable[[Rule], object] = lambda _: None,
) -> tuple[str, Rule | None]:
    """("accept" | "drop" | "reject", the rule that ended the last base chain which decided).

    A packet of the input and the forward hook passes prerouting first, before connection tracking. An
    accept ends its base chain only; drop and reject are final. `room`: whether a limiter has some left;
    all or none unless given, as the packet says. `met` is told of each rule that holds, in order: what
    counts, logs and jumps on the way.
    """
    given = room or (lambda _: not _more(packet, "spent"))
    hooks = ("output",) if packet.hook == "output" else ("prerouting", packet.hook)
    decider: Rule | None = None
    for hook in hooks:
        for table, chain in _base_chains(ruleset, hook):
            rule = _Walk(table, packet, given, met).end(chain)
            decider = rule or decider
            policy = Accept() if chain.base and chain.base.policy == "accept" else Drop()
            verdict = rule.verdict if rule else policy
            if isinstance(verdict, Drop):
                return "drop", rule
            if isinstance(verdict, Reject):
                return "reject", rule
    return "accept", decider


def _base_chains(ruleset: Ruleset, hook: str) -> list[tuple[Table, Chain]]:
    """What nat chains do, they do to addresses: the packet here is as the hook sees it."""
    found = [
        (table, chain)
        for table in ruleset.tables
        for chain in table.chains
        if chain.base and (chain.base.hook, chain.base.type) == (hook, "filter")
    ]
    return sorted(found, key=lambda pair: pair[1].base.priority if pair[1].base else 0)


class _Walk:
    """One packet on its way through one table."""

    def __init__(
        self,
        table: Table,
        packet: Packet,
        room: Callable[[WithMemory], bool],
        met: Callable[[Rule], object],
    ) -> None:
        self.met = met
        self.table = table
        self.packet = packet
        self.room = room

    def end(self, chain: Chain) -> Rule | None:
        """The rule with a final verdict, or None at the end of the chain."""
        for rule in map(self.counted, chain.rules):
            if rule is None or not all(self.holds(match) for match in rule.matches):
                continue
            self.met(rule)
            match rule.verdict:
                case Return():
                    return None
                case Jump(name):
                    decided = self.jump(name)
                case VerdictMap():
                    element = self.look_up(rule.verdict)
                    decided = self.jump(element.to) if element else None
                case Continue() | ClampMss():
                    continue
                case _:
                    return rule
            if decided is not None:
                return decided
        return None

    def jump(self, name: str) -> Rule | None:
        return self.end(next(each for each in self.table.chains if each.name == name))

    def counted(self, rule: Rule) -> Rule | None:
        """The rule with the counter that its map names, and the line behind it; None if it names none."""
        if not isinstance(rule.counter, CounterMap):
            return rule
        found = self.look_up(rule.counter)
        comment = found.comment if found else None
        return replace(rule, counter=found.to, comment=comment, origin=found.origin) if found else None

    def look_up(self, lookup: CounterMap | VerdictMap) -> Element | None:
        values = [self.field(field) for field in lookup.fields]
        mine = next(each for each in self.table.maps if each.name == lookup.map_name)
        for element in mine.elements:
            if all(_within(value, (part,)) for value, part in zip(values, element.key, strict=True)):
                return element
        return None

    def field(self, field: str) -> int | None:
        """What nft reads there; None where its guard does not hold."""
        packet = self.packet
        protocol, _, name = field.partition(" ")
        if protocol not in (FAMILY_WORDS[packet.family], NAMES.get(packet.protocol)):
            return None
        both = {"saddr": packet.source, "daddr": packet.destination, "sport": packet.sport}
        return both.get(name, packet.dport)

    def holds(self, match: Match) -> bool:
        match match:
            case Interface() | DestinationType() | Before():
                return self.circumstance(match)
            case CtState() | CtStatus() | OriginalPort():
                return self.tracked(match)
            case PerSource(family):
                return self.packet.family == family and self.room(match)
            case Rate() | LimitName() | CtCount():
                return self.room(match)
            case _:
                return self.header(match)

    def header(self, match: Header) -> bool:
        packet = self.packet
        match match:
            case Nfproto(family):
                return packet.family == family
            case L4Proto(protocols):
                return packet.protocol in protocols
            case Port(protocol, side, ports):
                port = packet.sport if side == "sport" else packet.dport
                return packet.protocol == protocol and _within(port, ports)
            case AnyPort(protocols, side, ports):
                return any(self.header(Port(protocol, side, ports)) for protocol in protocols)
            case IcmpType(protocol, types):
                right_family = packet.family == ICMP_FAMILY[protocol]
                return right_family and packet.protocol == protocol and packet.icmp_type in types
            case Address():
                return self.address(match)
            case NtpMode(modes, negated):
                return packet.mode is not None and (packet.mode in modes) != negated
            case TcpSyn():
                return packet.protocol == 6
            case _:
                assert_never(match)

    def circumstance(self, match: Circumstance) -> bool:
        match match:
            case Interface(key, names, negated):
                return any(_named(self.interface(key), name) for name in names) != negated
            case DestinationType(types, _, negated):
                return (self.destination_type() in types) != negated
            case Before(time):
                now = _more(self.packet, "time")
                return now is None or now < time
            case _:
                assert_never(match)

    def interface(self, key: str) -> str:
        """ "" where the hook knows none."""
        packet = self.packet
        if packet.hook == ("output" if key == "iifname" else "input"):
            return ""
        if packet.loopback:
            return "lo"
        return str(_more(packet, "incoming" if key == "iifname" else "outgoing") or SOME)

    def destination_type(self) -> str:
        shift, value = MULTICAST[self.packet.family]
        if self.packet.destination >> shift == value:
            return "multicast"
        return "local" if self.packet.hook == "input" else "unicast"

    def tracked(self, match: Tracked) -> bool:
        packet = self.packet
        redirected = _more(packet, "published")
        known = packet.state not in ("untracked", "invalid")
        match match:
            case CtState(states):
                return packet.state in states
            case CtStatus():
                return known and redirected is not None
            case OriginalPort(first, last):
                port = packet.dport if redirected is None else redirected
                return known and _within(port, ((first, last),))
            case _:
                assert_never(match)

    def address(self, match: Address) -> bool:
        packet = self.packet
        if packet.family != match.family:
            return False
        if match.original and packet.state in ("untracked", "invalid"):
            return False
        is_source = match.side == "saddr"
        named = next((each for each in self.table.sets if each.name == match.set_name), None)
        if isinstance(named, DynamicSet):
            groups = _more(packet, "source_in" if is_source else "destination_in") or ()
            return (match.set_name in {f"{group}_v{match.family}" for group in groups}) != match.negated
        intervals = named.intervals if named else match.intervals
        members = AddressSet(intervals, ()) if match.family == 4 else AddressSet((), intervals)
        value = packet.source if is_source else packet.destination
        if match.prefix is not None:
            hosts = BITS[match.family] - match.prefix
            value = value >> hosts << hosts
        return ((match.family, value) in members) != match.negated


def _more(packet: Packet, name: str) -> Any:
    """What not every packet says of itself."""
    return getattr(packet, name, None)


def _within(port: int | None, ports: Intervals) -> bool:
    return port is not None and any(first <= port <= last for first, last in ports)


def _named(interface: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return interface.startswith(pattern[:-1])
    return interface == pattern
