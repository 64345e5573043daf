"""A policy as a program: the evaluation of docs/language.md, step by step, a rule for each leg of a line.

Straight from the language, and from nothing that the compiler uses: one bug must not hide on both sides.
"""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE
from fwpolicy.model import fields
from fwpolicy.model.hooks import LO
from fwpolicy.model.program import (
    ACCEPT,
    ALWAYS,
    DROP,
    And,
    Base,
    Chain,
    Lit,
    Not,
    Or,
    Program,
    Rule,
    Verdict,
)
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import AddressSet, Interval, Intervals
    from fwpolicy.errors import Span
    from fwpolicy.model.fields import Where
    from fwpolicy.model.program import Expr
    from fwpolicy.policy import model
    from fwpolicy.policy.services import Service

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
NTP, NTS, CHRONY_CONTROL = 123, 4460, 323
CLIENT, SERVER = 3, 4
ESSENTIAL_ICMP = (3, 11, 12)
ICMPV6_ERRORS = (1, 2, 3, 4)
ESSENTIAL_ICMPV6 = (*ICMPV6_ERRORS, *range(130, 138), 143)
LINK_LOCAL: Interval = (0xFE80 << 112, (0xFEC0 << 112) - 1)
REASONS = {
    "loopback": "traffic of the host with itself",
    "essential": "ICMP errors, neighbour discovery, DHCP",
    "invalid": "connection tracking calls it invalid",
    "established": "part of a known connection",
    "block": "this line blocks it",
    "allow": "this line allows it",
}

TRACKED = Lit("ctstate", fields.states("new", "established", "related"))
REDIRECTED = And((TRACKED, Lit("dnat", ((1, 1),))))
KNOWN = Lit("ctstate", fields.states("established", "related"))
INVALID = Lit("ctstate", fields.states("invalid"))


@record
class Step:
    """Why a rule of a policy's program is there: the step of the evaluation, the policy's text, a reason."""

    step: str
    origin: Span | None
    reason: str


def of_policy(policy: model.Policy, servers: AddressSet | None = None) -> Program:
    """Chains "policy input", "policy output" and "policy forward". Whatever a policy leaves to others it
    accepts. `servers` stands for the daemon's own under `servers: from-daemon`."""
    reader = _Reader(policy, servers)
    chains = (
        _chain("input", reader.local("input")),
        _chain("output", reader.local("output")),
        _chain("forward", reader.forward()),
    )
    return Program({chain.name: chain for chain in chains})


def _chain(hook: str, rules: Iterable[Rule]) -> Chain:
    return Chain(f"policy {hook}", tuple(rules), Base(hook, -10, "filter", ACCEPT))


class _Reader:
    def __init__(self, policy: model.Policy, servers: AddressSet | None) -> None:
        self.policy = policy
        self.servers = servers

    def local(self, hook: str) -> Iterator[Rule]:
        """What comes to this host, or from it."""
        section = self.policy.input if hook == "input" else self.policy.output
        role = self.policy.ntp
        yield _rule("loopback", Lit("iif" if hook == "input" else "oif", LO), ACCEPT)
        if role:
            denied = self._closed_to(role) if hook == "input" else self._may_not_say(role)
            reason = f"the role ntp ({role.mode}) closes it"
            yield _rule("role:ntp", denied, DROP, role.origin, reason)
        if section is None:
            return
        yield from _before_the_lines(hook)
        yield from _lines("block", section.block)
        if role and role.mode != "closed":
            reason = f"the role ntp ({role.mode}) needs it"
            yield _rule("role:ntp", self._exchange(role, hook), ACCEPT, role.origin, reason)
        yield from _lines("allow", section.allow)
        yield from _default(section)

    def forward(self) -> Iterator[Rule]:
        """Steps 1, 2 and 7 are not for what passes by. A `published` line of input is about a connection
        wherever it was redirected to, so it counts here, too, whether or not there is a forward."""
        section, entry = self.policy.forward, self.policy.input
        block = [rule for rule in (entry.block if entry else ()) if rule.match.published]
        allow = [rule for rule in (entry.allow if entry else ()) if rule.match.published]
        if section is None:
            unknown = And((REDIRECTED, Not(KNOWN)))
            yield from _lines("block", block, unknown)
            return
        yield from _before_the_lines("forward")
        yield from _lines("block", block, REDIRECTED)
        yield from _lines("block", section.block)
        for each in self.policy.nat.forward if self.policy.nat else ():
            yield _rule("allow", _redirected_by(each), ACCEPT, each.origin, "this port forward redirected it")
        yield from _lines("allow", allow, REDIRECTED)
        yield from _lines("allow", section.allow)
        yield from _default(section)

    def _known_servers(self, role: model.NtpRole) -> AddressSet:
        known = self.servers if role.from_daemon and self.servers else role.servers
        return EVERYWHERE if known is None else known

    def _may_not_say(self, role: model.NtpRole) -> Expr:
        """What the role keeps this host from sending."""
        either = Or((_port(UDP, "sport", NTP), _port(UDP, "dport", NTP)))
        if role.mode == "closed":
            return either
        asks = (_port(UDP, "dport", NTP), _mode(CLIENT), _address("daddr", self._known_servers(role)))
        free: list[Expr] = [And(asks)]
        if role.mode == "server":
            free.append(And((_port(UDP, "sport", NTP), _mode(SERVER), _address("daddr", role.serve))))
        return And((either, Not(Or(tuple(free)))))

    def _closed_to(self, role: model.NtpRole) -> Expr:
        """What the role keeps from this host."""
        served = _address("saddr", role.serve) if role.mode == "server" else Or(())
        nts = And((_port(TCP, "dport", NTS), Not(served) if role.nts else ALWAYS))
        control = _port(UDP, "dport", CHRONY_CONTROL)
        if role.mode == "closed":
            ntp: Expr = Or((_port(UDP, "sport", NTP), _port(UDP, "dport", NTP)))
            return Or((nts, control, ntp))
        established = Lit("ctstate", fields.states("established"))
        reply = And((_mode(SERVER), established, _address("saddr", self._known_servers(role))))
        question = And((served, _mode(CLIENT)))
        return Or((nts, control, And((_port(UDP, "dport", NTP), Not(Or((reply, question)))))))

    def _exchange(self, role: model.NtpRole, hook: str) -> Expr:
        asks: Expr = And((_port(UDP, "dport", NTP), _mode(CLIENT)))
        if role.nts:
            asks = Or((asks, _port(TCP, "dport", NTS)))
        if hook == "output":
            return And((asks, _address("daddr", self._known_servers(role))))
        return And((asks, _address("saddr", role.serve))) if role.mode == "server" else Or(())


def _rule(step: str, guard: Expr, action: Verdict, origin: Span | None = None, reason: str = "") -> Rule:
    reason = reason or REASONS[step]
    return Rule(guard, action, _where(step, origin), Step(step, origin, reason))


def _where(step: str, origin: Span | None) -> Where:
    if origin is None:
        return fields.Where("docs/language.md", 0, step, REASONS.get(step, step))
    return fields.Where(origin.file, origin.line, step, step)


def _before_the_lines(hook: str) -> Iterator[Rule]:
    """Steps 3 to 5."""
    yield _rule("essential", Or(tuple(_essential(hook))), ACCEPT)
    yield _rule("invalid", INVALID, DROP)
    yield _rule("established", KNOWN, ACCEPT)


def _essential(hook: str) -> Iterator[Expr]:
    v4, v6 = Lit("nfproto", ((4, 4),)), Lit("nfproto", ((6, 6),))
    yield And((v4, _icmp(ICMP, ESSENTIAL_ICMP)))
    yield And((v6, _icmp(ICMPV6, ICMPV6_ERRORS if hook == "forward" else ESSENTIAL_ICMPV6)))
    if hook != "forward":
        server, client = ("sport", "dport") if hook == "input" else ("dport", "sport")
        yield And((v4, _port(UDP, server, 67), _port(UDP, client, 68)))
        v6_from = And((v6, Lit("saddr6", (LINK_LOCAL,)))) if hook == "input" else v6
        yield And((v6_from, _port(UDP, server, 547), _port(UDP, client, 546)))


def _default(section: model.Section) -> Iterator[Rule]:
    reason = f"no line names it: default {section.default}"
    for guard, verdict in _verdicts(section.default):
        yield _rule("default", guard, verdict, section.origin, reason)


def _verdicts(word: str) -> tuple[tuple[Expr, Verdict], ...]:
    """Reject is a reset for TCP, for all else port-unreachable."""
    if word != "reject":
        return ((ALWAYS, Verdict(word)),)
    tcp = Lit("l4proto", ((TCP, TCP),))
    return ((tcp, Verdict("reject:tcp-reset")), (Not(tcp), Verdict("reject:port-unreachable")))


def _lines(step: str, lines: Iterable[model.Rule], given: Expr = ALWAYS) -> Iterator[Rule]:
    """A rule for each family and service of each line."""
    for line in lines:
        common = (given, *_conditions(line))
        for family in line.families:
            limits = _limits(line, family)
            for leg in _legs(line.match, family, line.match.published):
                for guard, verdict in _verdicts(line.verdict):
                    parts = _flat((guard, leg, *common, *limits))
                    yield _rule(step, And(parts), verdict, line.origin)


def _flat(parts: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Without an And inside an And."""
    found: list[Expr] = []
    for part in parts:
        if isinstance(part, And):
            found += _flat(part.parts)
        else:
            found.append(part)
    return tuple(found)


def _conditions(line: model.Rule) -> tuple[Expr, ...]:
    """What of a line is the same for both families: its holes, and until when it holds."""
    parts: list[Expr] = []
    if line.expires is not None:
        parts.append(Lit("time", ((0, line.expires - 1),)))
    for hole in line.holes:
        # A hole of a published line is seen as its line is: with the port that was asked for.
        published = hole.published or line.match.published
        parts.append(Not(Or(tuple(leg for family in (4, 6) for leg in _legs(hole, family, published)))))
    return tuple(parts)


def _limits(line: model.Rule, family: int) -> tuple[Expr, ...]:
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
    place = f"{line.origin.file}:{line.origin.line}:{line.origin.column}"
    return tuple(Lit(fields.limiter(f"{each} | {place}"), ((1, 1),)) for each in said)


def _legs(match: model.Match, family: int, published: bool) -> Iterator[Expr]:
    """The match for packets of one family, once for each service."""
    v = Lit("nfproto", ((family, family),))
    common: list[Expr] = [v]
    for side, known, dynamic in (
        ("saddr", match.source, match.source_dynamic),
        ("daddr", match.destination, match.destination_dynamic),
    ):
        if known is None and not dynamic:
            continue
        members = (
            [_addresses(f"{side}{family}", known.of(family), published)] if known and known.of(family) else []
        )
        members += [Lit(fields.member(f"{name}_v{family}", side), ((1, 1),)) for name in dynamic]
        common.append(members[0] if len(members) == 1 else Or(tuple(members)))
    for field, names in (("iif", match.incoming), ("oif", match.outgoing)):
        if names is not None:
            common.append(_interfaces(field, names))
    if match.services is None:
        yield And((*common, *(_sports(match.sports, None))))
        return
    for service in match.services:
        if service.family in (None, family):
            yield And((*common, *_service(service, published), *_sports(match.sports, service.protocol)))


def _addresses(field: str, known: Intervals, published: bool) -> Expr:
    """Of a published line the `local` is, like the port, what was first asked for."""
    here = Lit(field, known)
    if not published or not field.startswith("daddr"):
        return here
    return Or((And((REDIRECTED, Lit(f"orig{field}", known))), And((Not(REDIRECTED), here))))


def _interfaces(field: str, names: tuple[str, ...]) -> Expr:
    literals = tuple(Lit(field, fields.interface(name)) for name in names)
    return literals[0] if len(literals) == 1 else Or(literals)


def _sports(ports: Intervals | None, protocol: int | None) -> tuple[Expr, ...]:
    if ports is None:
        return ()
    guard = () if protocol is None else (Lit("l4proto", ((protocol, protocol),)),)
    return (*guard, Lit("th", ((1, 1),)), Lit("sport", ports))


def _service(service: Service, published: bool) -> tuple[Expr, ...]:
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


def _redirected_by(forward: model.PortForward) -> Expr:
    family, address = forward.to
    service = forward.service
    own: list[Expr] = [
        REDIRECTED,
        Lit("nfproto", ((family, family),)),
        Lit("l4proto", ((service.protocol, service.protocol),)),
        Lit(f"daddr{family}", ((address, address),)),
    ]
    if not forward.hairpin:
        own.append(_interfaces("iif", forward.incoming))
    if forward.source is not None:
        own.append(Lit(f"saddr{family}", forward.source.of(family)))
    pairs = []
    for ports in service.ports:
        there = ports if forward.port is None else (forward.port, forward.port)
        pairs.append(And((Lit("origport", (ports,)), Lit("th", ((1, 1),)), Lit("dport", (there,)))))
    return And((*own, Or(tuple(pairs))))


def _port(protocol: int, side: str, port: int) -> Expr:
    return And((Lit("l4proto", ((protocol, protocol),)), Lit("th", ((1, 1),)), Lit(side, ((port, port),))))


def _icmp(protocol: int, types: tuple[int, ...]) -> Expr:
    th, numbers = Lit("th", ((1, 1),)), Lit("icmptype", fields.values(*types))
    return And((Lit("l4proto", ((protocol, protocol),)), th, numbers))


def _mode(mode: int) -> Expr:
    return Lit("ntpmode", ((mode, mode),))


def _address(side: str, addresses: AddressSet) -> Expr:
    legs = [
        And((Lit("nfproto", ((family, family),)), Lit(f"{side}{family}", addresses.of(family))))
        for family in (4, 6)
        if addresses.of(family)
    ]
    return Or(tuple(legs))
