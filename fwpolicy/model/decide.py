"""What a policy says of one packet: the evaluation of docs/language.md, step by step.

Straight from the language, and from nothing that the compiler uses: one bug must not hide on both
sides.
"""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Span
    from fwpolicy.model.packet import Packet
    from fwpolicy.policy.model import Match, NtpRole, Policy, Rule, Section
    from fwpolicy.policy.services import Service

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
ESSENTIAL_ICMP = frozenset((3, 11, 12))
ESSENTIAL_ICMPV6 = frozenset((1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 137, 143))


@record
class Decision:
    """`verdict`: accept, drop, reject, or undecided where an overlay leaves the packet to others."""

    verdict: str
    step: str
    origin: Span | None
    reason: str


def decide(policy: Policy, packet: Packet, servers: AddressSet | None = None) -> Decision:
    """The decision on `packet`; `servers` stands for the daemon's own under `servers: from-daemon`."""
    if packet.loopback:
        return Decision("accept", "loopback", None, "traffic of the host with itself")
    if policy.ntp and _role_denies(policy.ntp, packet, servers):
        return Decision("drop", "role:ntp", policy.ntp.origin, f"the role ntp ({policy.ntp.mode}) closes it")
    section = policy.input if packet.hook == "input" else policy.output
    if section is None:
        return Decision("undecided", "default", None, f"the policy has no '{packet.hook}': left to others")
    return _section(policy, section, packet, servers)


def _section(policy: Policy, section: Section, packet: Packet, servers: AddressSet | None) -> Decision:
    if _essential(packet):
        return Decision("accept", "essential", None, "ICMP errors, neighbour discovery, DHCP")
    if packet.state == "invalid":
        return Decision("drop", "invalid", None, "connection tracking calls it invalid")
    if packet.state in ("established", "related"):
        return Decision("accept", "established", None, "part of a known connection")
    for rule in section.block:
        if _applies(rule, packet):
            return Decision(rule.verdict, "block", rule.origin, "this line blocks it")
    if policy.ntp and _role_accepts(policy.ntp, packet, servers):
        return Decision("accept", "role:ntp", policy.ntp.origin, f"the role ntp ({policy.ntp.mode}) needs it")
    for rule in section.allow:
        if _applies(rule, packet):
            return Decision("accept", "allow", rule.origin, "this line allows it")
    return Decision(
        section.default, "default", section.origin, f"no line names it: default {section.default}"
    )


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
    if packet.family not in rule.families or not _matches(rule.match, packet):
        return False
    return not any(_matches(hole, packet) for hole in rule.holes)


def _matches(match: Match, packet: Packet) -> bool:
    family = packet.family
    if match.source is not None and (family, packet.source) not in match.source:
        return False
    if match.destination is not None and (family, packet.destination) not in match.destination:
        return False
    return match.services is None or any(_is_service(service, packet) for service in match.services)


def _is_service(service: Service, packet: Packet) -> bool:
    if service.protocol != packet.protocol or service.family not in (None, packet.family):
        return False
    if service.icmp_types:
        return packet.icmp_type in service.icmp_types
    if service.ports:
        return packet.dport is not None and any(a <= packet.dport <= b for a, b in service.ports)
    return True
