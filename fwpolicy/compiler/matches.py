"""A condition of the policy -> the matches of the rules that it takes; together exactly it."""

from __future__ import annotations

from itertools import product

from fwpolicy.addresses import EVERYWHERE, merge
from fwpolicy.ir.ruleset import (
    Address,
    CtState,
    CtStatus,
    IcmpType,
    Interface,
    L4Proto,
    Match,
    Nfproto,
    OriginalPort,
    Port,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import AddressSet, Intervals
    from fwpolicy.compiler.sets import Sets
    from fwpolicy.policy import model
    from fwpolicy.policy.services import Service

    Legs = list[tuple[Match, ...]]

# IANA protocol numbers of those with ports: TCP, UDP, DCCP, SCTP.
WITH_PORTS = (6, 17, 33, 132)
BOTH = (4, 6)


def legs(sets: Sets, match: model.Match, families: tuple[int, ...], redirected: bool = False) -> Legs:
    """One tuple of matches for each rule that the kernel needs.

    `redirected`: in the forward hook, for connections that some chain sends elsewhere (`published`).
    """
    plain = _legs(sets, match, families)
    if not match.published:
        return plain
    original = _legs(sets, match, families, redirected=redirected, original=True)
    if redirected or original == plain:
        return original
    # What is not tracked is not redirected either, and has no original port to look at.
    return original + [(*leg, CtState(("untracked",))) for leg in plain]


def _legs(
    sets: Sets,
    match: model.Match,
    families: tuple[int, ...],
    *,
    redirected: bool = False,
    original: bool = False,
) -> Legs:
    status: tuple[Match, ...] = (CtStatus("dnat"),) if redirected else ()
    ways = _ways(match)
    found: Legs = []
    for address, family in _addresses(sets, match, families, original):
        served = services(match.services, family, match.sports, original)
        for way in ways:
            for service in served:
                known = address or _family_alone(service, family)
                found.append((*way, *known, *status, *service))
    return found


def _ways(match: model.Match) -> Legs:
    if match.incoming is None and match.outgoing is None:
        return [()]
    outgoing = interfaces("oifname", match.outgoing)
    return [(*one, *other) for one in interfaces("iifname", match.incoming) for other in outgoing]


def interfaces(key: str, names: tuple[str, ...] | None) -> Legs:
    """One set of whole names, and each prefix by itself (ir.Interface says why)."""
    if names is None:
        return [()]
    prefixes = {name for name in names if name.endswith("*")}
    covered = {name for name in names for p in prefixes if name != p and name.startswith(p[:-1])}
    left = tuple(dict.fromkeys(name for name in names if name not in covered))
    whole = tuple(name for name in left if name not in prefixes)
    found: Legs = [(Interface(key, whole),)] if whole else []
    return found + [(Interface(key, (name,)),) if name != "*" else () for name in left if name in prefixes]


def _family_alone(service: tuple[Match, ...], family: int | None) -> tuple[Match, ...]:
    """An ICMP type says its family."""
    if family is None or any(isinstance(match, IcmpType) for match in service):
        return ()
    return (Nfproto(family),)


def _addresses(
    sets: Sets, match: model.Match, families: tuple[int, ...], original: bool
) -> list[tuple[tuple[Match, ...], int | None]]:
    """(matches, family) for each leg; family None where the rule needs no telling apart."""
    source, destination = match.source, match.destination
    from_, to = match.source_dynamic, match.destination_dynamic
    if families == BOTH and _is_anything(source, from_) and _is_anything(destination, to):
        return [((), None)]
    found: list[tuple[tuple[Match, ...], int | None]] = []
    for family in families:
        sides = []
        if source is not None or from_:
            sides.append(_side(sets, (family, "saddr", False), source, match.source_group, from_))
        if destination is not None or to:
            sides.append(_side(sets, (family, "daddr", original), destination, match.destination_group, to))
        found += [(_without_family(way), family) for way in product(*sides)]
    return found


def _is_anything(addresses: AddressSet | None, dynamic: tuple[str, ...]) -> bool:
    return not dynamic if addresses is None else addresses == EVERYWHERE


def _without_family(matches: tuple[Match, ...]) -> tuple[Match, ...]:
    """An address says its family, and the family need not be said twice."""
    if len(matches) < 2:
        return matches
    addresses = tuple(match for match in matches if isinstance(match, Address))
    return addresses or matches[:1]


def _side(
    sets: Sets,
    which: tuple[int, str, bool],
    addresses: AddressSet | None,
    group: str | None,
    dynamic: tuple[str, ...],
) -> list[Match]:
    """The alternatives of one side (family, "saddr" or "daddr", original): members known now, and sets filled
    at run time. None where the side has no member of the family."""
    family, side, original = which
    found: list[Match] = []
    if addresses is not None and addresses.of(family):
        found.append(sets.match(family, side, addresses, group, False, original))
    if not dynamic or addresses == EVERYWHERE:
        return found
    names = [f"{name}_v{family}" for name in dynamic]
    return found + [Address(family, side, (), name, original=original) for name in names]


def services(
    wanted: tuple[Service, ...] | None, family: int | None, sports: Intervals | None, original: bool
) -> Legs:
    """Services of one protocol join into one match; source ports before destination ports, as nft has it."""
    if wanted is None:
        return [()] if sports is None else [(Port(number, "sport", sports),) for number in WITH_PORTS]
    if len(wanted) == 1 and wanted[0].ports:
        return _ports(wanted[0].protocol, merge(wanted[0].ports), sports, original)
    ports, types, others = _sorted(wanted, family)
    found: Legs = []
    for number, each in ports.items():
        found += _ports(number, merge(each), sports, original)
    if sports is not None:
        return found + [(Port(number, "sport", sports),) for number in others if number in WITH_PORTS]
    found += [(IcmpType(number, tuple(sorted(set(each)))),) for number, each in types.items()]
    if others:
        found.append((L4Proto(tuple(sorted(set(others)))),))
    return found


def _ports(number: int, ports: Intervals, sports: Intervals | None, original: bool) -> Legs:
    source: tuple[Match, ...] = () if sports is None else (Port(number, "sport", sports),)
    if not original:
        return [(*source, Port(number, "dport", ports))]
    protocol = source or (L4Proto((number,)),)
    return [(*protocol, OriginalPort(first, last)) for first, last in ports]


def _sorted(
    wanted: tuple[Service, ...], family: int | None
) -> tuple[dict[int, list[tuple[int, int]]], dict[int, list[int]], list[int]]:
    """Ports and ICMP types by protocol, and protocols as a whole."""
    ports: dict[int, list[tuple[int, int]]] = {}
    types: dict[int, list[int]] = {}
    others: list[int] = []
    for service in wanted:
        if service.family and family and service.family != family:
            continue
        if service.ports:
            ports.setdefault(service.protocol, []).extend(service.ports)
        elif service.icmp_types:
            types.setdefault(service.protocol, []).extend(service.icmp_types)
        else:
            others.append(service.protocol)
    return ports, types, others
