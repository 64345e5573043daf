"""The packets that a test stands for: one of each class that no line of the policy tells apart.

What a test says it says of every member; what it leaves out must not matter (expect.py).
"""

from __future__ import annotations

from itertools import combinations, product

from fwpolicy.addresses import EVERYWHERE
from fwpolicy.model.packet import Packet
from fwpolicy.policy.services import Service
from fwpolicy.protocols import NUMBERS, WITH_PORTS
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fwpolicy.addresses import AddressSet, Interval, Intervals
    from fwpolicy.policy.model import Match, Policy, PortForward, Rule, Test

    Pick = Callable[[str, int, int, int], int]

# The fields of a packet that a test may leave out, and what they are called.
AXES = {
    "incoming": "the incoming interface ('in')",
    "outgoing": "the outgoing interface ('out')",
    "sport": "the source port ('sport')",
    "destination": "the host's own address ('local')",
    "time": "the time ('at')",
    "source_in": "the dynamic groups that the source is in ('source-in')",
    "destination_in": "the dynamic groups that the destination is in ('destination-in')",
}
_PORTED = frozenset(NUMBERS[name] for name in WITH_PORTS)
_HERE = {4: 0xC0000201, 6: 0x20010DB8 << 96 | 1}
# The source port where no line asks for one, and those that mean something to a role or to DHCP.
_SPORT = 40000
_MEANING = frozenset((67, 68, 123, 323, 546, 547))
_EVERY_PORT = ((1, 65535),)
# Of more dynamic groups than these only one, two or all at a time are tried.
_FEW = 4


def _first(_: str, __: int, first: int, ___: int) -> int:
    return first


def said(policy: Policy, test: Test, pick: Pick = _first) -> Iterator[Packet]:
    """A packet for each class of what the test says. `pick`: an address of one's own, for
    ("source" or "destination", family, first, last) of each class."""
    lines = _lines(policy, test)
    parts = [part for rule in lines for part in (rule.match, *rule.holes)]
    incoming = _within_zone(test.incoming, [part.incoming for part in parts])
    outgoing = _within_zone(test.outgoing, [part.outgoing for part in parts])
    sports = [None] if test.sports is None else _port_classes(test.sports, parts)
    for service, family in product(test.services, (4, 6)):
        if service.family not in (None, family):
            continue
        sources = _sources(policy, test, family, parts, pick)
        peers = product(sources, _destinations(policy, test, family, parts, pick))
        shape = product(peers, _details(policy, service, parts), incoming, outgoing, sports)
        for (source, destination), (port, icmp_type), enters, leaves, sport in shape:
            yield Packet(
                test.hook,
                family,
                service.protocol,
                source,
                destination,
                None if port is None else sport or _SPORT,
                port,
                icmp_type,
                test.state,
                test.mode,
                incoming=enters,
                outgoing=leaves,
                published=test.published,
                time=test.time,
                source_in=test.source_in or (),
                destination_in=test.destination_in or (),
            )


def left_out(policy: Policy, test: Test, pick: Pick = _first) -> Callable[[Packet], Iterable[Packet]]:
    """A packet -> the packet once for each class of what the test leaves out, as far as a line about it
    looks there."""
    telling = [rule for rule in _lines(policy, test) if _looks_further(rule)]
    # A port forward is about its own redirected connections, by where they come in.
    redirected = test.hook == "forward" and test.published is not None
    entries = [forward.incoming for forward in _forwards(policy, test) if redirected and not forward.hairpin]

    def each(packet: Packet) -> Iterable[Packet]:
        axes = _axes(test, packet, [rule for rule in telling if _may_concern(rule, packet)], entries, pick)
        for values in product(*axes.values()):
            yield replace(packet, **dict(zip(axes, values, strict=True)))

    return each if telling or entries else lambda packet: (packet,)


def _looks_further(rule: Rule) -> bool:
    """Whether more than services and the peer's address decides."""
    return rule.expires is not None or any(
        part.sports
        or part.incoming
        or part.outgoing
        or part.source_dynamic
        or part.destination_dynamic
        or part.destination is not None
        for part in (rule.match, *rule.holes)
    )


def _axes(
    test: Test, packet: Packet, lines: list[Rule], entries: list[tuple[str, ...]], pick: Pick
) -> dict[str, list[object]]:
    """The values to try, for each field that some line looks at and the test leaves out."""
    parts = [part for rule in lines for part in (rule.match, *rule.holes)]
    found: dict[str, list[object]] = {}
    enters, leaves = [*entries, *(part.incoming for part in parts)], [part.outgoing for part in parts]
    for field, patterns in (("incoming", enters), ("outgoing", leaves)):
        if getattr(test, field) is None and any(patterns):
            found[field] = [None, *_representative_names(patterns)]
    if packet.sport is not None and test.sports is None and any(part.sports for part in parts):
        found["sport"] = list(_port_classes(_EVERY_PORT, parts))
    literals = [bound for part in parts if part.destination for bound in part.destination.of(packet.family)]
    if test.hook == "input" and test.destination is None and literals:
        own = _addresses("destination", packet.family, EVERYWHERE.of(packet.family), literals, pick)
        found["destination"] = [packet.destination, *own]
    expiries = sorted({rule.expires for rule in lines if rule.expires is not None})
    if test.time is None and expiries:
        found["time"] = [None, *expiries]
    for field in ("source", "destination"):
        names = sorted({name for part in parts for name in getattr(part, f"{field}_dynamic")})
        if names and getattr(test, f"{field}_in") is None:
            found[f"{field}_in"] = list(_memberships(names))
    return found


def _lines(policy: Policy, test: Test) -> list[Rule]:
    """The lines that a packet of the test may meet."""
    found = [
        rule
        for section in policy.sections
        if section.hook == test.hook
        for rule in (*section.allow, *section.block)
    ]
    if test.hook == "forward" and test.published is not None and policy.input:
        lines = (*policy.input.allow, *policy.input.block)
        found += [rule for rule in lines if rule.match.published]
    return found


def _may_concern(rule: Rule, packet: Packet) -> bool:
    """Whether the line matches as far as the test says what its packet is."""
    match = rule.match
    if packet.family not in rule.families:
        return False
    if match.services is not None and not any(_is_about(service, packet) for service in match.services):
        return False
    source = (packet.family, packet.source)
    return match.source is None or bool(match.source_dynamic) or source in match.source


def _is_about(service: Service, packet: Packet) -> bool:
    if service.protocol != packet.protocol:
        return False
    ports = {packet.dport, packet.published} - {None}
    return not service.ports or any(a <= (port or 0) <= b for port in ports for a, b in service.ports)


def _sources(policy: Policy, test: Test, family: int, parts: list[Match], pick: Pick) -> list[int]:
    if test.source is None:
        return [_HERE[family]]
    literals = [part.source for part in parts if part.source]
    literals += [forward.source for forward in _forwards(policy, test) if forward.source]
    return _addresses("source", family, test.source.of(family), _bounds(policy, literals, family), pick)


def _destinations(policy: Policy, test: Test, family: int, parts: list[Match], pick: Pick) -> list[int]:
    if test.destination is None:
        return [_HERE[family]]
    bounds = _bounds(policy, [part.destination for part in parts if part.destination], family)
    bounds += [
        (forward.to[1], forward.to[1]) for forward in _forwards(policy, test) if forward.to[0] == family
    ]
    return _addresses("destination", family, test.destination.of(family), bounds, pick)


def _forwards(policy: Policy, test: Test) -> tuple[PortForward, ...]:
    return policy.nat.forward if policy.nat and test.hook == "forward" else ()


def _bounds(policy: Policy, literals: Iterable[AddressSet], family: int) -> list[Interval]:
    of_role = [policy.ntp.serve, policy.ntp.servers] if policy.ntp else []
    return [bound for each in (*literals, *of_role) if each for bound in each.of(family)]


def _addresses(
    side: str, family: int, within: Intervals, literals: Iterable[Interval], pick: Pick
) -> list[int]:
    return [pick(side, family, first, last) for first, last in _pieces(within, literals)]


def _representatives(within: Intervals, literals: Iterable[Interval]) -> list[int]:
    """A member of each class into which the bounds of `literals` cut `within`."""
    return [first for first, _ in _pieces(within, literals)]


def _pieces(within: Intervals, literals: Iterable[Interval]) -> Iterator[Interval]:
    """`within`, cut at the bounds of `literals`."""
    cuts = sorted({cut for first, last in literals for cut in (first, last + 1)})
    for first, last in within:
        inside = [first, *(cut for cut in cuts if first < cut <= last)]
        yield from zip(inside, [*(cut - 1 for cut in inside[1:]), last], strict=True)


def _details(policy: Policy, service: Service, parts: list[Match]) -> list[tuple[int | None, int | None]]:
    """(port, ICMP type) pairs to try."""
    if service.icmp_types:
        return [(None, number) for number in service.icmp_types]
    if service.protocol in _PORTED:
        bounds = [p for m in parts for s in m.services or () for p in s.ports]
        bounds += [(123, 123), (323, 323), (4460, 4460), (67, 68), (546, 547)]
        for forward in policy.nat.forward if policy.nat else ():
            bounds += [(forward.port, forward.port)] if forward.port else forward.service.ports
        return [(port, None) for port in _representatives(service.ports or ((0, 65535),), bounds)]
    if service.protocol in (1, 58):
        return [(None, number) for number in range(256)]
    return [(None, None)]


def _port_classes(within: Intervals, parts: list[Match]) -> list[int]:
    """A source port of each class; one without a meaning of its own where the class has one."""
    firsts = _representatives(within, [bound for part in parts for bound in part.sports or ()])
    lasts = dict(within)
    found = []
    for first, following in zip(firsts, [*firsts[1:], 65536], strict=True):
        last = min(following - 1, max(last for low, last in lasts.items() if low <= first))
        plain = (port for port in range(first, last + 1) if port not in _MEANING)
        found.append(_SPORT if first <= _SPORT <= last else next(plain, first))
    return found


def _within_zone(zone: tuple[str, ...] | None, patterns: list[tuple[str, ...] | None]) -> list[str | None]:
    """An interface of each class of the zone; None, in no zone, where the test names none."""
    if zone is None:
        return [None]
    return [name for name in _representative_names([zone, *patterns]) if any(_covers(p, name) for p in zone)]


def _representative_names(patterns: list[tuple[str, ...] | None]) -> list[str]:
    """An interface name for each pattern, in no narrower one than that."""
    known = sorted({pattern for each in patterns for pattern in each or ()})
    found = []
    for pattern in known:
        stem = pattern[:-1] if pattern.endswith("*") else None
        if stem is None:
            found.append(pattern)
            continue
        wider = {other for other in known if other.endswith("*") and stem.startswith(other[:-1])}
        names = (f"{stem}{character}" for character in "0123456789abcdefghijklmnopqrstuvwxyz")
        found.append(next((n for n in names if {p for p in known if _covers(p, n)} == wider), stem))
    return list(dict.fromkeys(found))


def _covers(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _memberships(names: list[str]) -> Iterator[tuple[str, ...]]:
    """In none of the groups, in some, in all."""
    sizes = range(len(names) + 1) if len(names) <= _FEW else (0, 1, 2, len(names))
    for size in sizes:
        yield from combinations(names, size)
