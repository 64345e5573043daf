"""The rarer parts of a match, and what is wrong where its parts contradict each other."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, AddressSet
from fwpolicy.policy import values, zones
from fwpolicy.policy.names import FAMILY_NAMES
from fwpolicy.protocols import EXTENSION_HEADERS, NUMBERS, WITH_PORTS
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Match
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.syntax import MatchText

PORTED = frozenset(NUMBERS[name] for name in WITH_PORTS)


def narrowed(match: Match, text: MatchText, names: Names) -> Match:
    """`match` with the source ports, interfaces and `published` of `text`."""
    if text.sports:
        _needs_ports("sport", text, names)
    if text.published:
        _needs_ports("published", text, names)
    incoming, outgoing = zones.resolve(text.incoming, "in", names), zones.resolve(text.outgoing, "out", names)
    return replace(
        match,
        sports=values.ports(text.sports, names) if text.sports else None,
        incoming=incoming,
        outgoing=outgoing,
        published=text.published,
    )


def _needs_ports(key: str, text: MatchText, names: Names) -> None:
    """Only tcp, udp, sctp and dccp have ports."""
    if text.services is None:
        hint = "write which, as in: service: udp/1-65535"
        names.error(f"'{key}' needs a 'service' beside it", text.span, hint)
        return
    for word in text.services:
        if any(service.protocol not in PORTED for service in names.service((word,))):
            message = f"'{key}' needs services with ports, and '{word.text}' has none"
            names.error(message, word.span, "ports belong to tcp, udp, sctp and dccp")


def warn_of_extension_headers(text: MatchText, match: Match, names: Names) -> None:
    """At each service that IPv6 packets do not have, unless IPv6 is left out anyway."""
    sides = [addresses for addresses, dynamic in match.sides if addresses is not None and not dynamic]
    if (text.family and text.family.text == "ipv4") or not all(addresses.v6 for addresses in sides):
        return
    for word in text.services or ():
        headers = [each.protocol for each in names.service((word,)) if each.protocol in EXTENSION_HEADERS]
        if headers:
            message = f"ip/{headers[0]} is about IPv4 only: in IPv6 it is an extension header"
            names.warn(message, word.span, "no rule looks at those: the protocol is what follows them")


def of_family(match: Match, text: MatchText, hook: str, names: Names) -> Match:
    """`match` cut down to the one family that `text` names, by its addresses."""
    if text.family is None:
        return match
    family = int(text.family.text[-1])
    sides = ("destination", "source") if hook == "output" else ("source", "destination")
    side = next((side for side in sides if not getattr(match, f"{side}_dynamic")), None)
    if side is None:
        message = "'family' cannot stand beside two groups that are filled at run time"
        names.error(message, text.family.span, "write two exceptions")
        return match
    written: AddressSet | None = getattr(match, side)
    addresses = EVERYWHERE if written is None else written
    kept = AddressSet(addresses.of(4), ()) if family == 4 else AddressSet((), addresses.of(6))
    if addresses and not kept:
        message = f"'family' is {text.family.text}, the addresses are not"
        names.error(message, text.family.span, "no packet is what this exception excepts")
    return replace(match, **{side: kept, f"{side}_group": None})


def legs(
    text: MatchText, families: tuple[int, ...], served: tuple[int, ...], match: Match, names: Names
) -> tuple[int, ...]:
    """The families of a match of which `family` names one, or none is left (an error)."""
    if not families:
        source = match.source.of(4) if match.source else ()
        one, other = ("IPv4", "IPv6") if source else ("IPv6", "IPv4")
        names.error(f"the addresses of one side are {one} only, of the other {other} only", text.span)
        return ()
    if served and not any(family in families for family in served):
        names.error(
            f"the service is {FAMILY_NAMES[served[0]]} only, the addresses are "
            f"{FAMILY_NAMES[families[0]]} only",
            text.span,
            _why_not_in_ipv6(match),
        )
        return ()
    wanted = int(text.family.text[-1]) if text.family else families[0]
    for what, has in (("addresses are", families), ("service is", served)):
        if has and wanted not in has and text.family:
            message = f"'family' is {text.family.text}, the {what} {FAMILY_NAMES[has[0]]} only"
            names.error(message, text.family.span, _why_not_in_ipv6(match) if wanted == 6 else None)
            return ()
    return (wanted,)


def _why_not_in_ipv6(match: Match) -> str | None:
    headers = [each.protocol for each in match.services or () if each.protocol in EXTENSION_HEADERS]
    return f"ip/{headers[0]} is an extension header in IPv6, which no rule looks at" if headers else None
