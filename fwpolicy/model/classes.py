"""Packets that a policy cannot tell apart: thousands of connections are a handful of questions.

`decide` of one packet holds for every packet of its class. Interfaces, state, time and what is not in an
address or a port are the caller's to keep apart.
"""

from __future__ import annotations

from bisect import bisect_right

from fwpolicy.model.atoms import Atoms
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import AddressSet, Intervals
    from fwpolicy.policy.model import Match, NtpRole, Policy, PortForward, Rule, Section

# What decide.py itself names: the role's ports, DHCP's, and link-local addresses.
_PORTS = (67, 68, 123, 323, 546, 547, 4460)
_LINK_LOCAL: Intervals = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)
_FIELDS = ("saddr4", "saddr6", "daddr4", "daddr6", "sport", "dport")


class Classes:
    """Of one policy. `servers` as for decide()."""

    def __init__(self, policy: Policy, servers: AddressSet | None = None) -> None:
        atoms = Atoms((field, found) for field, found in _literals(policy, servers) if found)
        self._cuts = {field: _cut(atoms, field) for field in _FIELDS}
        self._known: dict[tuple[str, int], int] = {}
        self._policy = policy
        self._sections = tuple(
            (section, _served(section.allow, atoms), _served(section.block, atoms))
            for section in policy.sections
        )
        self._relevant: dict[tuple[int, int], Policy] = {}

    def of(self, family: int, source: int, destination: int, sport: int, dport: int) -> tuple[int, ...]:
        """The class of a packet's addresses and ports."""
        ask = self._class
        return (
            ask(f"saddr{family}", source),
            ask(f"daddr{family}", destination),
            ask("sport", sport),
            ask("dport", dport),
        )

    def relevant(self, protocol: int, *ports: int) -> Policy:
        """The policy without the lines whose services are of another protocol or other ports than `ports`:
        of thousands a few, and the same to such packets."""
        wanted = 0
        for port in ports:
            wanted |= 1 << self.port(port)
        found = self._relevant.get((protocol, wanted))
        if found is None:
            found = self._relevant[protocol, wanted] = self._without_others(protocol, wanted)
        return found

    def _without_others(self, protocol: int, wanted: int) -> Policy:
        sections = {
            section.hook: replace(
                section,
                **{
                    kind: tuple([rule for rule, of in lines if of is None or of.get(protocol, 0) & wanted])
                    for kind, lines in (("allow", allow), ("block", block))
                },
            )
            for section, allow, block in self._sections
        }
        return replace(self._policy, **sections)

    def port(self, number: int) -> int:
        """The class of a port that a connection first asked for."""
        return self._class("dport", number)

    def _class(self, field: str, value: int) -> int:
        found = self._known.get((field, value))
        if found is None:
            starts, numbers = self._cuts[field]
            found = numbers[bisect_right(starts, value) - 1]
            self._known[field, value] = found
        return found


def _served(lines: tuple[Rule, ...], atoms: Atoms) -> tuple[tuple[Rule, dict[int, int] | None], ...]:
    """Each line with the classes of ports of each protocol; None where it names no service."""
    found: list[tuple[Rule, dict[int, int] | None]] = []
    for rule in lines:
        served: dict[int, int] = {}
        for service in rule.match.services or ():
            classes = atoms.mask("dport", service.ports) if service.ports else -1
            served[service.protocol] = served.get(service.protocol, 0) | classes
        found.append((rule, None if rule.match.services is None else served))
    return tuple(found)


def interfaces(policy: Policy) -> tuple[str | None, ...]:
    """One of each class of interfaces: for every pattern of a line one that no line names whole, and None
    for those that no line names."""
    return (None, *sorted({name.replace("*", "\0") for name in _patterns(policy)}))


def _cut(atoms: Atoms, field: str) -> tuple[list[int], list[int]]:
    """(where a class begins, which)."""
    if field not in atoms.level:
        return [0], [0]
    classes = atoms.values[atoms.level[field]]
    cuts = sorted((first, number) for number, each in enumerate(classes) for first, _ in each)
    return [first for first, _ in cuts], [number for _, number in cuts]


def _literals(policy: Policy, servers: AddressSet | None) -> Iterator[tuple[str, Intervals]]:
    for port in _PORTS:
        yield "sport", ((port, port),)
        yield "dport", ((port, port),)
    yield "saddr6", _LINK_LOCAL
    for match in _matches(policy.sections):
        yield from _of_match(match)
    for forward in policy.nat.forward if policy.nat else ():
        yield from _of_forward(forward)
    if policy.ntp:
        yield from _of_role(policy.ntp, servers)


def _matches(sections: Iterable[Section]) -> Iterator[Match]:
    for section in sections:
        for rule in (*section.block, *section.allow):
            yield rule.match
            yield from rule.holes


def _of_match(match: Match) -> Iterator[tuple[str, Intervals]]:
    yield from _addresses("saddr", match.source)
    yield from _addresses("daddr", match.destination)
    yield "sport", match.sports or ()
    for service in match.services or ():
        yield "dport", service.ports


def _of_forward(forward: PortForward) -> Iterator[tuple[str, Intervals]]:
    family, address = forward.to
    yield f"daddr{family}", ((address, address),)
    yield from _addresses("saddr", forward.source)
    yield "dport", forward.service.ports
    if forward.port is not None:
        yield "dport", ((forward.port, forward.port),)


def _of_role(role: NtpRole, servers: AddressSet | None) -> Iterator[tuple[str, Intervals]]:
    for known in (role.servers, role.serve, servers):
        yield from _addresses("saddr", known)
        yield from _addresses("daddr", known)


def _addresses(side: str, known: AddressSet | None) -> Iterator[tuple[str, Intervals]]:
    if known is not None:
        yield f"{side}4", known.v4
        yield f"{side}6", known.v6


def _patterns(policy: Policy) -> Iterator[str]:
    for match in _matches(policy.sections):
        yield from (*(match.incoming or ()), *(match.outgoing or ()))
    for forward in policy.nat.forward if policy.nat else ():
        yield from forward.incoming
