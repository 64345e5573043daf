"""From a packet of a test to one that can be sent, or to why it cannot."""

from __future__ import annotations

from fwpolicy.addresses import format_address, parse
from fwpolicy.model.concrete import MULTICAST, to_fields
from fwpolicy.model.fields import interface
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fwpolicy.model.packet import Packet

_SYN, _ACK = 2, 16
_REDIRECTED = (6, 17, 132)
# Never brought to a hook: the kernel drops them itself (ip_route_input_slow, ip6_rcv_core).
_MARTIANS = {
    4: ((0, 0xFFFFFF), (0x7F000000, 0x7FFFFFFF), (0xE0000000, 0xFFFFFFFF)),
    6: ((0, (1 << 80) - 1), (0xFF << 120, (1 << 128) - 1)),
}
_LINK_LOCAL6 = (0xFE80 << 112, (0xFEC0 << 112) - 1)
_BROADCAST = 0xFFFFFFFF
# Of documentation (RFC 5737, RFC 3849).
_LIKELY = {
    "source": {4: parse("203.0.113.9")[1], 6: parse("2001:db8:9::9")[1]},
    "destination": {4: parse("198.51.100.7")[1], 6: parse("2001:db8:7::7")[1]},
}
_ASKED = {4: parse("203.0.113.77")[1], 6: parse("2001:db8:77::77")[1]}
_SPARE = "other"


@record
class Shot:
    """A packet of a test as it is sent: its fields as the kernel is to see them, `asked`: those that a
    redirection changes, as they are on the wire. `incoming`, `outgoing`: interfaces, "" where there is none.
    `group`: the multicast group that the host has to be in, or "". `members`: (set, addresses) of groups
    filled at run time."""

    hook: str
    packet: Packet
    fields: Mapping[str, int]
    asked: Mapping[str, int]
    incoming: str
    outgoing: str
    group: str
    members: tuple[tuple[str, tuple[str, ...]], ...]


def likely(side: str, family: int, first: int, last: int) -> int:
    """An address between the two that may stand in a packet; `first` where there is none."""
    wanted = _LIKELY[side][family]
    if first <= wanted <= last:
        return wanted
    # From both ends, so that "any" to "any" is not from an address to itself.
    found = _upwards(family, first) if side == "source" else _downwards(family, last)
    return found if first <= found <= last else first


def _upwards(family: int, address: int) -> int:
    for begin, end in _MARTIANS[family]:
        address = end + 1 if begin <= address <= end else address
    return address


def _downwards(family: int, address: int) -> int:
    for begin, end in reversed(_MARTIANS[family]):
        address = begin - 1 if begin <= address <= end else address
    return address


def spare(patterns: Iterable[str]) -> str:
    """A name for an interface that none of a policy's names and patterns is about."""
    known = tuple(patterns)
    names = (_SPARE, *(f"{letter}{_SPARE}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"))
    return next(name for name in names if not any(_covers(pattern, name) for pattern in known))


def _covers(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def shot(packet: Packet, other: str) -> Shot:
    """The packet to send; `other` is the interface that no line names. Raises ValueError, which says why it
    cannot be sent."""
    problem = _problem(packet)
    if problem:
        raise ValueError(problem)
    incoming = "" if packet.hook == "output" else packet.incoming or other
    outgoing = "" if packet.hook == "input" else packet.outgoing or other
    found = to_fields(packet) | {"tcpflags": _SYN if packet.state == "new" else _ACK}
    found |= {side: interface(name)[0][0] for side, name in (("iif", incoming), ("oif", outgoing)) if name}
    first, last = MULTICAST[packet.family]
    group = format_address(packet.family, packet.destination) if first <= packet.destination <= last else ""
    return Shot(packet.hook, packet, found, _asked(packet), incoming, outgoing, group, _members(packet))


def _problem(packet: Packet) -> str:
    """Why it cannot be sent; "" where it can."""
    destination, source = packet.destination, packet.source
    if packet.time is not None:
        return "the kernel's clock is this machine's, and says no other day"
    if _within(source, _MARTIANS[packet.family]):
        return "no packet has such a source: the kernel drops it by itself"
    if _within(destination, _MARTIANS[packet.family]) and not _is_for_many(packet):
        return "no packet has such a destination: the kernel drops it by itself"
    if source == destination:
        return "source and destination are the same"
    if packet.hook == "forward" and packet.family == 6 and _within(source, (_LINK_LOCAL6,)):
        return "a link-local source goes no further than its link"
    if packet.published is not None and (packet.state != "new" or packet.protocol not in _REDIRECTED):
        return "only a new connection of tcp, udp or sctp is redirected here"
    return ""


def _within(address: int, intervals: Iterable[tuple[int, int]]) -> bool:
    return any(first <= address <= last for first, last in intervals)


def _is_for_many(packet: Packet) -> bool:
    many = [MULTICAST[packet.family], *([(_BROADCAST, _BROADCAST)] if packet.family == 4 else [])]
    return packet.hook != "forward" and _within(packet.destination, many)


def _asked(packet: Packet) -> dict[str, int]:
    """What a redirected packet asks for before it is redirected: the published port, at the same address if
    the port differs."""
    if packet.published is None:
        return {}
    same = packet.published == packet.dport
    address = _ASKED[packet.family] if same else packet.destination
    return {"dport": packet.published, f"daddr{packet.family}": address}


def _members(packet: Packet) -> tuple[tuple[str, tuple[str, ...]], ...]:
    v, found = packet.family, dict[str, set[int]]()
    for names, address in ((packet.source_in, packet.source), (packet.destination_in, packet.destination)):
        for name in names:
            found.setdefault(f"{name}_v{v}", set()).add(address)
    return tuple(
        (name, tuple(format_address(v, each) for each in sorted(own))) for name, own in sorted(found.items())
    )
