"""The parts of a policy as conditions of the model, straight from docs/language.md."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.program import And, Lit, Not, Or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.addresses import AddressSet, Intervals
    from fwpolicy.errors import Span
    from fwpolicy.model.program import Expr
    from fwpolicy.policy import model
    from fwpolicy.policy.services import Service

TRACKED = Lit("ctstate", fields.states("new", "established", "related"))
REDIRECTED = And((TRACKED, Lit("dnat", ((1, 1),))))


def legs(match: model.Match, family: int, published: bool) -> Iterator[Expr]:
    """The match for packets of one family, once for each service."""
    v = Lit("nfproto", ((family, family),))
    common: list[Expr] = [v]
    for side, known, dynamic in (
        ("saddr", match.source, match.source_dynamic),
        ("daddr", match.destination, match.destination_dynamic),
    ):
        if known is None and not dynamic:
            continue
        of_packet = known.of(family) if known else ()
        members = [sent_to(side, family, of_packet, published)] if of_packet else []
        members += [member(name, family, side, published) for name in dynamic]
        common.append(members[0] if len(members) == 1 else Or(tuple(members)))
    for field, names in (("iif", match.incoming), ("oif", match.outgoing)):
        if names is not None:
            common.append(interfaces(field, names))
    if match.services is None:
        yield And((*common, *(sports(match.sports, None))))
        return
    for each in match.services:
        if each.family in (None, family):
            yield And((*common, *service(each, published), *sports(match.sports, each.protocol)))


def sent_to(side: str, family: int, addresses: Intervals, published: bool) -> Expr:
    """The packet is sent to (or from) one of the addresses."""
    here = Lit(f"{side}{family}", addresses)
    if not published or side != "daddr":
        return here
    return as_first_sent(here, Lit(f"origdaddr{family}", addresses))


def member(name: str, family: int, side: str, published: bool) -> Expr:
    """The same of a group that is filled at run time."""
    set_name = f"{name}_v{family}"
    here = Lit(fields.member(set_name, side), ((1, 1),))
    if not published or side != "daddr":
        return here
    return as_first_sent(here, Lit(fields.member(set_name, "origdaddr"), ((1, 1),)))


def as_first_sent(here: Lit, first: Lit) -> Expr:
    """A stranger addresses the host's own address, wherever the connection is redirected to."""
    return Or((And((REDIRECTED, first)), And((Not(REDIRECTED), here))))


def interfaces(field: str, names: tuple[str, ...]) -> Expr:
    """The packet comes in ("iif") or goes out ("oif") by one of these, patterns among them."""
    literals = tuple(Lit(field, fields.interface(name)) for name in names)
    return literals[0] if len(literals) == 1 else Or(literals)


def sports(ports: Intervals | None, protocol: int | None) -> tuple[Expr, ...]:
    """From one of these source ports, of `protocol` or of whatever has ports."""
    if ports is None:
        return ()
    guard = () if protocol is None else (Lit("l4proto", ((protocol, protocol),)),)
    return (*guard, Lit("th", ((1, 1),)), Lit("sport", ports))


def service(service: Service, published: bool) -> tuple[Expr, ...]:
    """What is asked for; `published`: as a stranger asked for it."""
    protocol = Lit("l4proto", ((service.protocol, service.protocol),))
    if service.icmp_types:
        return (protocol, Lit("th", ((1, 1),)), Lit("icmptype", fields.values(*service.icmp_types)))
    if not service.ports:
        return (protocol,)
    ports = tuple(sorted(service.ports))
    if not published:
        return (protocol, Lit("th", ((1, 1),)), Lit("dport", ports))
    asked = Or(
        (
            And((REDIRECTED, Lit("origport", ports))),
            And((Not(REDIRECTED), Lit("th", ((1, 1),)), Lit("dport", ports))),
        )
    )
    return (protocol, asked)


def redirected_by(forward: model.PortForward) -> Expr:
    """A connection of this port forward, redirected."""
    family, address = forward.to
    service = forward.service
    own: list[Expr] = [
        REDIRECTED,
        Lit("nfproto", ((family, family),)),
        Lit("l4proto", ((service.protocol, service.protocol),)),
        Lit(f"daddr{family}", ((address, address),)),
    ]
    if not forward.hairpin:
        own.append(interfaces("iif", forward.incoming))
    if forward.source is not None:
        own.append(Lit(f"saddr{family}", forward.source.of(family)))
    pairs = []
    for ports in service.ports:
        there = ports if forward.port is None else (forward.port, forward.port)
        pairs.append(And((Lit("origport", (ports,)), Lit("th", ((1, 1),)), Lit("dport", (there,)))))
    return And((*own, Or(tuple(pairs))))


def port(protocol: int, side: str, port: int) -> Expr:
    """One port of a protocol, at side "sport" or "dport"."""
    return And((Lit("l4proto", ((protocol, protocol),)), Lit("th", ((1, 1),)), Lit(side, ((port, port),))))


def icmp(protocol: int, types: tuple[int, ...]) -> Expr:
    """ICMP or ICMPv6 of one of these types."""
    th, numbers = Lit("th", ((1, 1),)), Lit("icmptype", fields.values(*types))
    return And((Lit("l4proto", ((protocol, protocol),)), th, numbers))


def mode(mode: int) -> Expr:
    """The NTP mode."""
    return Lit("ntpmode", ((mode, mode),))


def address(side: str, addresses: AddressSet) -> Expr:
    """One of the addresses of either family, at side "saddr" or "daddr"."""
    legs = [
        And((Lit("nfproto", ((family, family),)), Lit(f"{side}{family}", addresses.of(family))))
        for family in (4, 6)
        if addresses.of(family)
    ]
    return Or(tuple(legs))


def conditions(line: model.Rule) -> tuple[Expr, ...]:
    """What of a line is the same for both families: its holes, and until when it holds."""
    parts: list[Expr] = []
    if line.expires is not None:
        parts.append(Lit("time", ((0, line.expires - 1),)))
    for hole in line.holes:
        # A hole of a published line is seen as its line is: with the port that was asked for.
        published = hole.published or line.match.published
        parts.append(Not(Or(tuple(leg for family in (4, 6) for leg in legs(hole, family, published)))))
    return tuple(parts)


def limits(line: model.Rule, family: int) -> tuple[Expr, ...]:
    """Whether the line's limiters have room left: one each, or one for each family's sources."""
    limit = line.limit
    if limit is None:
        return ()
    per = "" if not limit.per_source else " per ipv4 source" if family == 4 else " per ipv6 source /64"
    said = []
    if limit.maximum:
        said.append(f"count {limit.maximum}{per}")
    if limit.rate:
        said.append(f"rate {limit.rate}/{limit.unit} burst {limit.burst}{per}")
    return tuple(Lit(limiter_of(each, line.origin), ((1, 1),)) for each in said)


def limiter_of(what: str, origin: Span) -> str:
    """The field of a line's limiter: `what` it lets through, and whose it is."""
    return fields.limiter(f"{what} | {origin.file}:{origin.line}:{origin.column}")


def what_of(limiter: str) -> str:
    """What the limiter of a policy lets through."""
    return limiter.removeprefix(fields.limiter("")).partition(" | ")[0]


def flat(parts: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Without an And inside an And."""
    found: list[Expr] = []
    for part in parts:
        if isinstance(part, And):
            found += flat(part.parts)
        else:
            found.append(part)
    return tuple(found)
