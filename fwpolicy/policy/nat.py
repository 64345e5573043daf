"""`nat:`, as written and as it counts: masquerade, snat, port forwards."""

from __future__ import annotations

import re

from fwpolicy.addresses import EVERYWHERE, AddressError, AddressSet, of, subtract
from fwpolicy.policy import values, zones
from fwpolicy.policy.groups import HOST
from fwpolicy.policy.lines import all_known
from fwpolicy.policy.matches import PORTED
from fwpolicy.policy.model import Masquerade, Nat, PortForward, SourceNat
from fwpolicy.policy.names import FAMILY_NAMES, packet_address
from fwpolicy.record import record
from fwpolicy.source import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Span
    from fwpolicy.policy.model import Rule, Section
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.services import Service
    from fwpolicy.policy.syntax import PolicyText, Word
    from fwpolicy.source import Node

KEYS = {
    "masquerade": ("out", "from", "family"),
    "forward": ("in", "service", "to", "port", "hairpin", "from"),
    "snat": ("out", "to", "from"),
}
REQUIRED = {"masquerade": ("out",), "forward": ("in", "service", "to"), "snat": ("out", "to")}
_EXAMPLES = {
    "masquerade": "[{out: wan}]",
    "forward": "[{in: wan, service: https, to: 192.168.1.10}]",
    "snat": "[{out: wan, to: 198.51.100.9}]",
}
# What no packet can be sent to, or be sent from, by way of a router (RFC 6890, RFC 4291 2.5.6).
UNROUTED = {
    ("127.0.0.0/8", "::1"): "a loopback address, which stays inside of a host",
    ("0.0.0.0/8", "::"): "no host's address",
    ("224.0.0.0/4", "ff00::/8"): "a multicast address",
    ("255.255.255.255",): "the broadcast address",
    ("fe80::/10",): "a link-local address, which means nothing without an interface",
}
_TO_HINTS = {
    "forward": "the address of the host that has the service, as in: to: 192.168.1.10",
    "snat": "an address that this host has on its way out, as in: to: 198.51.100.9",
}
_WITH_PORT = re.compile(r"\[?([0-9a-fA-F.:]+?)\]?:([0-9]+)\Z")


@record
class NatLineText:
    """A line under `nat:`; None where a key is absent. `family` on masquerade, `to` on the others."""

    span: Span
    incoming: tuple[Word, ...] | None = None
    outgoing: tuple[Word, ...] | None = None
    services: tuple[Word, ...] | None = None
    sources: tuple[Word, ...] | None = None
    to: Word | None = None
    port: int | None = None
    hairpin: bool = False
    family: Word | None = None


@record
class NatText:
    """`nat:`."""

    key: Word
    masquerade: tuple[NatLineText, ...]
    forward: tuple[NatLineText, ...]
    snat: tuple[NatLineText, ...]
    clamp_mss: bool = False


def parse(reader: Reader, key: Word, node: Node) -> NatText:
    found = reader.keys(node, "nat", (*KEYS, "clamp-mss"))

    def lines(kind: str) -> tuple[NatLineText, ...]:
        form = f"write {kind}: {_EXAMPLES[kind]}"
        return reader.each(found.get(kind), f"nat's '{kind}'", lambda item: _line(reader, item, kind), form)

    clamp = reader.boolean(found.get("clamp-mss"), "'clamp-mss'")
    return NatText(key, lines("masquerade"), lines("forward"), lines("snat"), clamp)


def _line(reader: Reader, node: Node, kind: str) -> NatLineText | None:
    what = f"a line of 'nat: {kind}'"
    found = reader.keys(node, what, KEYS[kind], form=f"write {kind}: {_EXAMPLES[kind]}")
    if not isinstance(node, Mapping):
        return None
    missing = [f"'{key}'" for key in REQUIRED[kind] if key not in found]
    if missing and all_known(node, found):
        reader.error(f"{what} needs {' and '.join(missing)}", node, f"it has: {', '.join(KEYS[kind])}")
    if missing:
        return None
    return NatLineText(
        reader.text.span(node),
        reader.words(found.get("in"), "'in'"),
        reader.words(found.get("out"), "'out'"),
        reader.words(found.get("service"), "'service'"),
        reader.words(found.get("from"), "'from'"),
        reader.word(found.get("to"), "'to'"),
        values.count(reader, found.get("port"), "'port'", 1, 65535),
        reader.boolean(found.get("hairpin"), "'hairpin'"),
        reader.choice(found.get("family"), "'family'", ("ipv4", "ipv6")),
    )


def resolve(files: tuple[PolicyText, ...], names: Names) -> Nat:
    """The lines of all files; of two that contradict each other none could come first."""
    texts = [file.nat for file in files if file.nat]
    nat = Nat(
        tuple(line for nat in texts for text in nat.masquerade for line in _masquerade(text, names)),
        tuple(line for nat in texts for text in nat.forward for line in _forward(text, names)),
        tuple(line for nat in texts for text in nat.snat for line in _snat(text, names)),
        any(nat.clamp_mss for nat in texts),
    )
    _check_forwards(nat.forward, names)
    _check_snats(nat.snat, names)
    return nat


def _source(text: NatLineText, names: Names) -> AddressSet | None:
    """`from`; None where any address is meant. An empty optional group translates nothing."""
    source = None if text.sources is None else names.fixed(text.sources)
    if source is not None and not source:
        names.warn("this line matches nothing: its group is empty", text.span)
    return source


def _masquerade(text: NatLineText, names: Names) -> tuple[Masquerade, ...]:
    before = len(names.problems)
    outgoing, source = zones.resolve(text.outgoing, "out", names), _source(text, names)
    if names.has_errors(before) or not outgoing or (source is not None and not source):
        return ()
    families = tuple(family for family in (4, 6) if source is None or source.of(family))
    if text.family:
        wanted = int(text.family.text[-1])
        if wanted not in families:
            what = FAMILY_NAMES[families[0]]
            names.error(f"'family' is {text.family.text}, the addresses are {what} only", text.family.span)
            return ()
        families = (wanted,)
    elif len(families) == 1:
        names.warn(f"{FAMILY_NAMES[families[0]]} only", text.span)
    return (Masquerade(outgoing, source, families, text.span),)


def _to(text: NatLineText, kind: str, names: Names) -> tuple[int, int] | None:
    """The one address of `to`."""
    word = text.to
    if word is None:
        return None
    hint = _TO_HINTS[kind]
    if word.text in names.groups:
        names.error(f"'to' is a group, '{word.text}'; it must be one address", word.span, hint)
        return None
    try:
        family, first, last = packet_address(word.text)
    except AddressError as error:
        names.error(str(error), word.span, hint if HOST.match(word.text) else _hint(word.text, kind, error))
        return None
    if first != last:
        names.error(f"'{word.text}' is more than one address", word.span, hint)
        return None
    for addresses, what in UNROUTED.items():
        if (family, first) in of(*addresses):
            names.error(f"'{word.text}' is {what}: nothing can be translated to it", word.span, hint)
            return None
    return family, first


def _hint(text: str, kind: str, error: AddressError) -> str | None:
    written = _WITH_PORT.match(text) if kind == "forward" else None
    if written is None:
        return error.hint
    address = f'"{written[1]}"' if ":" in written[1] else written[1]
    return f"the port is a key of its own: to: {address}, port: {written[2]}"


def _has_family(source: AddressSet | None, to: tuple[int, int], text: NatLineText, names: Names) -> bool:
    if source is None or source.of(to[0]):
        return True
    message = f"'to' is {FAMILY_NAMES[to[0]]}, and 'from' has no {FAMILY_NAMES[to[0]]} address"
    names.error(message, text.span, "an address is translated to one of its own family")
    return False


def _snat(text: NatLineText, names: Names) -> tuple[SourceNat, ...]:
    before = len(names.problems)
    outgoing, source = zones.resolve(text.outgoing, "out", names), _source(text, names)
    to = _to(text, "snat", names)
    if names.has_errors(before) or not outgoing or not to or (source is not None and not source):
        return ()
    return (SourceNat(outgoing, source, to, text.span),) if _has_family(source, to, text, names) else ()


def _forward(text: NatLineText, names: Names) -> tuple[PortForward, ...]:
    before = len(names.problems)
    incoming, source = zones.resolve(text.incoming, "in", names), _source(text, names)
    to = _to(text, "forward", names)
    services = names.service(text.services or ())
    if names.has_errors(before) or not incoming or not to or not services:
        return ()
    _check_ports(text, services, names)
    if names.has_errors(before) or (source is not None and not source):
        return ()
    if not _has_family(source, to, text, names):
        return ()
    return tuple(
        PortForward(incoming, service, to, text.port, text.hairpin, source, text.span) for service in services
    )


def _check_ports(text: NatLineText, services: tuple[Service, ...], names: Names) -> None:
    for word in text.services or ():
        if any(service.protocol not in PORTED or not service.ports for service in names.service((word,))):
            message = f"a port forward needs services with ports, and '{word.text}' has none"
            names.error(message, word.span, "ports belong to tcp, udp, sctp and dccp")
    ports = {port for service in services for port in service.ports}
    if text.port is not None and (len(ports) > 1 or any(first != last for first, last in ports)):
        message = "'port' is one port, and the service has several: they would all arrive at one"
        names.error(message, text.span, "leave out 'port', or write a line for each")


def _meet(one: AddressSet | None, other: AddressSet | None, family: int) -> bool:
    """Whether an address of the family is in both; None is every one."""
    some, others = (EVERYWHERE if part is None else part for part in (one, other))
    return subtract(some.of(family), others.of(family)) != some.of(family)


def _check_forwards(forwards: tuple[PortForward, ...], names: Names) -> None:
    for number, line in enumerate(forwards):
        for first in forwards[:number]:
            if first.origin != line.origin and _same_traffic(first, line):
                message = f"this line redirects what the line at {first.origin} redirects"
                names.error(message, line.origin, "order never matters: one of them must go, or say less")
                break


def _same_traffic(one: PortForward, other: PortForward) -> bool:
    if one.service.protocol != other.service.protocol or one.to[0] != other.to[0]:
        return False
    ports = any(a <= d and c <= b for a, b in one.service.ports for c, d in other.service.ports)
    everywhere = one.hairpin or other.hairpin
    where = everywhere or zones.overlap(one.incoming, other.incoming)
    return ports and where and _meet(one.source, other.source, one.to[0])


def _check_snats(snats: tuple[SourceNat, ...], names: Names) -> None:
    for number, line in enumerate(snats):
        for first in snats[:number]:
            same = line.to[0] == first.to[0] and zones.overlap(first.outgoing, line.outgoing)
            if same and line.to != first.to and _meet(first.source, line.source, line.to[0]):
                message = f"this line translates what the line at {first.origin} translates otherwise"
                names.error(message, line.origin, "order never matters: their 'from' must not overlap")
                break


def warn_of_hidden_services(
    forwards: tuple[PortForward, ...], sections: tuple[Section, ...], names: Names
) -> None:
    """Of what the host serves itself in several networks, at ports that a hairpin redirects."""
    own = [rule for section in sections if section.hook == "input" for rule in section.allow]
    for line in (each for each in forwards if each.hairpin):
        for rule in own:
            if _is_hidden(rule, line, names):
                where = f"what {rule.origin} allows, but at this host's address in one's own network"
                hint = "its other addresses are redirected, not the outside one alone"
                names.warn(f"hairpin hides {where}", line.origin, hint)


def _is_hidden(rule: Rule, line: PortForward, names: Names) -> bool:
    if rule.match.published or line.to[0] not in rule.families:
        return False
    if not _meet(rule.match.source, line.source, line.to[0]):
        return False
    declared = {each.text for zone in names.zones.values() for each in zone.interfaces}
    arriving = declared if rule.match.incoming is None else set(rule.match.incoming)
    behind = {name for name in arriving if not any(zones.covers(each, name) for each in line.incoming)}
    several = len(behind) > 1 or any(name.endswith("*") for name in behind)
    return several and any(
        service.protocol == line.service.protocol and first <= end and start <= last
        for service in rule.match.services or ()
        for first, last in service.ports
        for start, end in line.service.ports
    )
