"""What a policy says of one packet: the evaluation of docs/language.md, step by step.

Straight from the language, and from nothing that the compiler uses: one bug must not hide on both
sides.
"""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.errors import Span
    from fwpolicy.model.packet import Packet
    from fwpolicy.policy.model import Match, NtpRole, Policy, PortForward, Rule, Section
    from fwpolicy.policy.services import Service

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
ESSENTIAL_ICMP = frozenset((3, 11, 12))
ESSENTIAL_ICMPV6 = frozenset((1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 137, 143))

ICMPV6_ERRORS = frozenset((1, 2, 3, 4))


@record
class Decision:
    """`verdict`: accept, drop, reject, or undecided where an overlay leaves the packet to others."""

    verdict: str
    step: str
    origin: Span | None
    reason: str


def decide(policy: Policy, packet: Packet, servers: AddressSet | None = None) -> Decision:
    """The decision on `packet`; `servers` stands for the daemon's own under `servers: from-daemon`."""
    if packet.hook == "forward":
        return _forward(policy, packet)
    if packet.loopback:
        return Decision("accept", "loopback", None, "traffic of the host with itself")
    if policy.ntp and _role_denies(policy.ntp, packet, servers):
        return Decision("drop", "role:ntp", policy.ntp.origin, f"the role ntp ({policy.ntp.mode}) closes it")
    section = policy.input if packet.hook == "input" else policy.output
    if section is None:
        return Decision("undecided", "default", None, f"the policy has no '{packet.hook}': left to others")
    return _section(policy, section, packet, servers)


def _section(policy: Policy, section: Section, packet: Packet, servers: AddressSet | None) -> Decision:
    decided = _before_the_lines(packet) or _blocked(section.block, packet)
    if decided:
        return decided
    if policy.ntp and _role_accepts(policy.ntp, packet, servers):
        return Decision("accept", "role:ntp", policy.ntp.origin, f"the role ntp ({policy.ntp.mode}) needs it")
    return _allowed(section.allow, packet) or _default(section)


def _forward(policy: Policy, packet: Packet) -> Decision:
    """Steps 1, 2 and 7 are not for what passes by. A `published` line of input is about a connection
    wherever it was redirected to, so it counts here, too, whether or not the policy has a forward."""
    published = _published(policy, packet)
    allow, block = (published.allow, published.block) if published else ((), ())
    section = policy.forward
    if section is None:
        undecided = Decision("undecided", "default", None, "the policy has no 'forward': left to others")
        known = packet.state in ("established", "related")
        return undecided if known else _blocked(block, packet) or undecided
    decided = _before_the_lines(packet) or _blocked((*block, *section.block), packet)
    if decided:
        return decided
    for forward in policy.nat.forward if policy.nat else ():
        if _is_redirected_by(forward, packet):
            return Decision("accept", "allow", forward.origin, "this port forward redirected it")
    return _allowed((*allow, *section.allow), packet) or _default(section)


def _published(policy: Policy, packet: Packet) -> Section | None:
    """The lines of input that are about `packet` of the forward hook."""
    section = policy.input
    if section is None or not _is_redirected(packet):
        return None
    allow = tuple(rule for rule in section.allow if rule.match.published)
    block = tuple(rule for rule in section.block if rule.match.published)
    return replace(section, allow=allow, block=block)


def _is_redirected(packet: Packet) -> bool:
    """What is not tracked was not redirected."""
    return packet.published is not None and packet.state not in ("untracked", "invalid")


def _is_redirected_by(forward: PortForward, packet: Packet) -> bool:
    if not _is_redirected(packet) or packet.protocol != forward.service.protocol:
        return False
    if (packet.family, packet.destination) != forward.to:
        return False
    if not (forward.hairpin or _named(packet.incoming, forward.incoming)):
        return False
    if forward.source is not None and (packet.family, packet.source) not in forward.source:
        return False
    return any(
        first <= (packet.published or 0) <= last
        and (first <= (packet.dport or 0) <= last if forward.port is None else packet.dport == forward.port)
        for first, last in forward.service.ports
    )


def _before_the_lines(packet: Packet) -> Decision | None:
    """Steps 3 to 5."""
    if _essential(packet):
        return Decision("accept", "essential", None, "ICMP errors, neighbour discovery, DHCP")
    if packet.state == "invalid":
        return Decision("drop", "invalid", None, "connection tracking calls it invalid")
    if packet.state in ("established", "related"):
        return Decision("accept", "established", None, "part of a known connection")
    return None


def _blocked(lines: tuple[Rule, ...], packet: Packet) -> Decision | None:
    rule = next((rule for rule in lines if _applies(rule, packet)), None)
    return Decision(rule.verdict, "block", rule.origin, "this line blocks it") if rule else None


def _allowed(lines: tuple[Rule, ...], packet: Packet) -> Decision | None:
    rule = next((rule for rule in lines if _applies(rule, packet)), None)
    return Decision("accept", "allow", rule.origin, "this line allows it") if rule else None


def _default(section: Section) -> Decision:
    reason = f"no line names it: default {section.default}"
    return Decision(section.default, "default", section.origin, reason)


def _is_server(role: NtpRole, address: int, family: int, servers: AddressSet | None) -> bool:
    known = servers if role.from_daemon and servers else role.servers
    return known is None or (family, address) in known


def _role_denies(role: NtpRole, packet: Packet, servers: AddressSet | None) -> bool:
    if packet.hook == "input":
        return _closed_to(role, packet, servers)
    if packet.protocol != UDP or 123 not in (packet.sport, packet.dport):
        return False
    if role.mode == "closed":
        return True
    asks = packet.dport == 123 and packet.mode == 3
    if asks and _is_server(role, packet.destination, packet.family, servers):
        return False
    answers = role.mode == "server" and packet.sport == 123 and packet.mode == 4
    return not (answers and (packet.family, packet.destination) in role.serve)


def _closed_to(role: NtpRole, packet: Packet, servers: AddressSet | None) -> bool:
    served = role.mode == "server" and (packet.family, packet.source) in role.serve
    if packet.protocol == TCP:
        return packet.dport == 4460 and not (role.nts and served)
    if packet.protocol != UDP:
        return False
    if role.mode == "closed":
        return 123 in (packet.sport, packet.dport) or packet.dport == 323
    if packet.dport == 323:
        return True
    if packet.dport != 123:
        return False
    is_reply = packet.mode == 4 and packet.state == "established"
    if is_reply and _is_server(role, packet.source, packet.family, servers):
        return False
    return not (served and packet.mode == 3)


def _role_accepts(role: NtpRole, packet: Packet, servers: AddressSet | None) -> bool:
    """Step 7; what the guards deny never comes here."""
    if role.mode == "closed":
        return False
    exchange = (packet.protocol == UDP and packet.dport == 123 and packet.mode == 3) or (
        role.nts and packet.protocol == TCP and packet.dport == 4460
    )
    if packet.hook == "output":
        return exchange and _is_server(role, packet.destination, packet.family, servers)
    return exchange and role.mode == "server" and (packet.family, packet.source) in role.serve


def _essential(packet: Packet) -> bool:
    if packet.hook == "forward":
        errors = {(ICMP, 4): ESSENTIAL_ICMP, (ICMPV6, 6): ICMPV6_ERRORS}
        return packet.icmp_type in errors.get((packet.protocol, packet.family), ())
    if packet.protocol == ICMP and packet.family == 4:
        return packet.icmp_type in ESSENTIAL_ICMP
    if packet.protocol == ICMPV6 and packet.family == 6:
        return packet.icmp_type in ESSENTIAL_ICMPV6
    if packet.protocol != UDP:
        return False
    ports = (packet.sport, packet.dport)
    server, client = ports if packet.hook == "input" else ports[::-1]
    if packet.family == 4:
        return (server, client) == (67, 68)
    from_link = packet.hook == "output" or packet.source >> 118 == 0xFE80 >> 6
    return (server, client) == (547, 546) and from_link


def _applies(rule: Rule, packet: Packet) -> bool:
    if packet.family not in rule.families or not _matches(rule.match, packet, rule.match.published):
        return False
    if rule.expires is not None and packet.time is not None and packet.time >= rule.expires:
        return False
    if rule.limit is not None and packet.spent:
        return False
    # A hole of a published line is seen as its line is: with the port that was asked for.
    return not any(_matches(hole, packet, hole.published or rule.match.published) for hole in rule.holes)


def _matches(match: Match, packet: Packet, published: bool) -> bool:
    family = packet.family
    if not _is_one_of(match.source, match.source_dynamic, (family, packet.source), packet.source_in):
        return False
    destination = (family, packet.destination)
    if not _is_one_of(match.destination, match.destination_dynamic, destination, packet.destination_in):
        return False
    if not (_named(packet.incoming, match.incoming) and _named(packet.outgoing, match.outgoing)):
        return False
    if match.sports is not None and not _within(packet.sport, match.sports):
        return False
    port = packet.published if published and _is_redirected(packet) else packet.dport
    return match.services is None or any(_is_service(service, packet, port) for service in match.services)


def _is_one_of(
    known: AddressSet | None, dynamic: tuple[str, ...], address: tuple[int, int], member_of: tuple[str, ...]
) -> bool:
    """A group that is filled at run time has the members that the packet says it has."""
    if known is None and not dynamic:
        return True
    return (known is not None and address in known) or any(name in dynamic for name in member_of)


def _named(interface: str | None, patterns: tuple[str, ...] | None) -> bool:
    """An interface that no line names is in no zone."""
    if patterns is None:
        return True
    return interface is not None and any(
        interface.startswith(pattern[:-1]) if pattern[-1:] == "*" else interface == pattern
        for pattern in patterns
    )


def _within(port: int | None, ports: Intervals) -> bool:
    return port is not None and any(first <= port <= last for first, last in ports)


def _is_service(service: Service, packet: Packet, port: int | None) -> bool:
    if service.protocol != packet.protocol or service.family not in (None, packet.family):
        return False
    if service.icmp_types:
        return packet.icmp_type in service.icmp_types
    return _within(port, service.ports) if service.ports else True
