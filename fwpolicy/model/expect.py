"""The `tests:` of a policy, held against it for every packet that a test stands for."""

from __future__ import annotations

from itertools import product

from fwpolicy.addresses import EVERYWHERE, AddressSet
from fwpolicy.errors import Problem
from fwpolicy.model.decide import Decision, decide
from fwpolicy.model.packet import Packet
from fwpolicy.policy.services import PROTOCOLS, WITH_PORTS, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.policy.model import Match, Policy, Test

_PORTED = frozenset(PROTOCOLS[name] for name in WITH_PORTS)
_HERE = {4: 0xC0000201, 6: 0x20010DB8 << 96 | 1}


def failures(policy: Policy) -> tuple[Problem, ...]:
    """A problem for each test that does not hold, with a packet that shows it; empty when all hold."""
    found = (_failure(policy, test) for test in policy.tests)
    return tuple(problem for problem in found if problem is not None)


def _failure(policy: Policy, test: Test) -> Problem | None:
    for packet in packets(policy, test):
        decision = decide(policy, packet)
        if _denies(decision) == test.allow:
            wanted = "allow" if test.allow else "deny"
            decider = f" (line {decision.origin.line} of {decision.origin.file})" if decision.origin else ""
            message = f"the policy says {decision.verdict}, not {wanted}, for: {packet}"
            hint = f"step {decision.step}: {decision.reason}{decider}"
            return Problem(f"test failed: {message}", test.origin, None, hint)
    return None


def _denies(decision: Decision) -> bool:
    """Reject counts as deny; what an overlay leaves to others it does not deny."""
    return decision.verdict in ("drop", "reject")


def packets(policy: Policy, test: Test) -> Iterator[Packet]:
    """One packet for each class of packets of the test that no line of the policy tells apart."""
    peers = (test.source if test.hook == "input" else test.destination) or EVERYWHERE
    matches = list(_matches(policy))
    for service, family in product(test.services, (4, 6)):
        if service.family not in (None, family):
            continue
        literals = [bound for each in _address_literals(policy, matches) for bound in each.of(family)]
        addresses = _representatives(peers.of(family), literals)
        for address, (port, icmp_type) in product(addresses, _details(service, matches)):
            yield _packet(test, family, service.protocol, address, port, icmp_type)


def _packet(
    test: Test, family: int, protocol: int, peer: int, port: int | None, icmp_type: int | None
) -> Packet:
    inward = test.hook == "input"
    return Packet(
        test.hook,
        family,
        protocol,
        source=peer if inward else _HERE[family],
        destination=_HERE[family] if inward else peer,
        sport=None if port is None else 40000,
        dport=port,
        icmp_type=icmp_type,
        state=test.state,
        mode=test.mode,
    )


def _matches(policy: Policy) -> Iterator[Match]:
    for section in policy.sections:
        for rule in (*section.allow, *section.block):
            yield rule.match
            yield from rule.holes


def _address_literals(policy: Policy, matches: Iterable[Match]) -> Iterator[AddressSet]:
    if policy.ntp:
        yield policy.ntp.serve
        yield policy.ntp.servers or AddressSet()
    for match in matches:
        yield match.source or AddressSet()
        yield match.destination or AddressSet()


def _representatives(within: Intervals, literals: Iterable[Interval]) -> list[int]:
    """A member of each class into which the bounds of `literals` cut `within`."""
    cuts = sorted({cut for first, last in literals for cut in (first, last + 1)})
    found: list[int] = []
    for first, last in within:
        found.append(first)
        found += [cut for cut in cuts if first < cut <= last]
    return found


def _details(service: Service, matches: list[Match]) -> list[tuple[int | None, int | None]]:
    """(port, ICMP type) pairs to try."""
    if service.icmp_types:
        return [(None, number) for number in service.icmp_types]
    if service.protocol in _PORTED:
        bounds = [p for m in matches for s in m.services or () for p in s.ports]
        bounds += [(123, 123), (323, 323), (4460, 4460), (67, 68), (546, 547)]
        return [(port, None) for port in _representatives(service.ports or ((0, 65535),), bounds)]
    if service.protocol in (1, 58):
        return [(None, number) for number in range(256)]
    return [(None, None)]
