"""Connections and the policy: which the new one denies, who loses a time server."""

from __future__ import annotations

from fwpolicy.model.decide import decide
from fwpolicy.model.packet import Packet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import AddressSet
    from fwpolicy.host.conntrack import Flow
    from fwpolicy.policy.model import Policy

UDP = 17


def condemned(
    policy: Policy, flows: Iterable[Flow], here: AddressSet, servers: AddressSet | None
) -> tuple[Flow, ...]:
    """The NTP flows of this host that the policy denies if they began now.

    What a query left in the daemon's socket sets off is a flow that *we* began, from port 123 to the
    asker; it is judged as such, and goes too.
    """
    return tuple(
        flow
        for flow in flows
        if flow.protocol == UDP and 123 in (flow.sport, flow.dport) and _denied(policy, flow, here, servers)
    )


def losing_clients(
    policy: Policy, flows: Iterable[Flow], here: AddressSet, servers: AddressSet | None
) -> tuple[tuple[int, int], ...]:
    """(family, address) of those who ask this host for the time now and will get no answer."""
    if policy.ntp is None:
        return ()
    clients = {
        (flow.family, flow.source): None
        for flow in flows
        if flow.protocol == UDP
        and flow.dport == 123
        and _is_inward(flow, here)
        and _denied(policy, flow, here, servers)
    }
    return tuple(clients)


def _is_inward(flow: Flow, here: AddressSet) -> bool:
    return (flow.family, flow.destination) in here and (flow.family, flow.source) not in here


def _denied(policy: Policy, flow: Flow, here: AddressSet, servers: AddressSet | None) -> bool:
    if _is_inward(flow, here):
        hook = "input"
    elif (flow.family, flow.source) in here and (flow.family, flow.destination) not in here:
        hook = "output"
    else:
        return False
    packet = Packet(
        hook,
        flow.family,
        flow.protocol,
        flow.source,
        flow.destination,
        flow.sport,
        flow.dport,
        state="new",
        mode=3,
    )
    return decide(policy, packet, servers).verdict in ("drop", "reject")
