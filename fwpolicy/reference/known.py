"""The built-in services the other way round: from a port to the names that have it."""

from __future__ import annotations

from fwpolicy.addresses import subtract
from fwpolicy.policy.services import BUILT_IN, Service, built_in


def covers(whole: Service, part: Service) -> bool:
    """Whether every packet of `part` is one of `whole`."""
    if whole.protocol != part.protocol:
        return False
    if whole.icmp_types:
        return bool(part.icmp_types) and set(part.icmp_types) <= set(whole.icmp_types)
    return not whole.ports or (bool(part.ports) and not subtract(part.ports, whole.ports))


def having(wanted: Service) -> tuple[str, ...]:
    """The built-in services that have all of `wanted`, by name."""
    return tuple(name for name in BUILT_IN if any(covers(part, wanted) for part in built_in(name) or ()))
