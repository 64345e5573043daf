"""Packets as the evaluation sees them, and the text that names one (docs/cli.md, PACKET)."""

from __future__ import annotations

from fwpolicy.addresses import AddressError, format_address, parse
from fwpolicy.policy import services
from fwpolicy.policy.reader import nearest
from fwpolicy.policy.services import ServiceError
from fwpolicy.policy.values import day, day_text
from fwpolicy.protocols import NAMES
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # (name, its parts).
    Services = Sequence[tuple[str, tuple[services.Service, ...]]]

STATES = ("new", "established", "related", "invalid", "untracked")


@record
class Packet:
    """One packet at one hook.

    `family` 4 or 6; `protocol` IANA number; addresses as integers; ports and `icmp_type` None where
    the protocol has none; `mode` the NTP mode, None where the payload's first byte cannot be read;
    `loopback`: over `lo`. `incoming`, `outgoing`: interface names, None for one that no line names.
    `published`: the port that the connection first asked for, None where nothing redirected it.
    `time`: Unix time, None for before any line expires. `source_in`, `destination_in`: the dynamic
    groups that the addresses are in. `spent`: every limit is used up.
    """

    hook: str
    family: int
    protocol: int
    source: int
    destination: int
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    state: str = "new"
    mode: int | None = 3
    loopback: bool = False
    incoming: str | None = None
    outgoing: str | None = None
    published: int | None = None
    time: int | None = None
    source_in: tuple[str, ...] = ()
    destination_in: tuple[str, ...] = ()
    spent: bool = False

    def __str__(self) -> str:
        """The packet in PACKET syntax."""
        name = NAMES.get(self.protocol)
        detail = self.dport if self.dport is not None else self.icmp_type
        what = f"ip/{self.protocol}" if name is None or detail is None else f"{name}/{detail}"
        source = format_address(self.family, self.source)
        port = f":{self.sport}" if self.sport is not None else ""
        shown = f"[{source}]{port}" if self.family == 6 and port else f"{source}{port}"
        words = [self.hook, what, "from", shown, "to", format_address(self.family, self.destination)]
        if self.loopback:
            words += ["in" if self.hook == "input" else "out", "lo"]
        words += ["state", self.state]
        if 123 in (self.sport, self.dport):
            words += ["mode", "none" if self.mode is None else str(self.mode)]
        return " ".join(words + self._rest())

    def _rest(self) -> list[str]:
        """The clauses that few packets have."""
        said = {
            "in": self.incoming,
            "out": self.outgoing,
            "published": None if self.published is None else str(self.published),
            "at": None if self.time is None else day_text(self.time),
            "source-in": ",".join(self.source_in),
            "destination-in": ",".join(self.destination_in),
            "limits": "spent" if self.spent else None,
        }
        return [word for key, value in said.items() if value for word in (key, value)]


class PacketError(ValueError):
    """The text names no packet; the message says why."""


# The host's own address where a packet leaves it out: RFC 5737 and RFC 3849 documentation ranges.
_HERE = {4: parse("192.0.2.1")[1], 6: parse("2001:db8::1")[1]}


def parse_packet(text: str, own: Services = ()) -> Packet:
    """The first packet that the text names. As parse_parts."""
    return parse_parts(text, own)[0][0]


def parse_parts(text: str, own: Services = ()) -> tuple[tuple[Packet, services.Service], ...]:
    """A packet of PACKET syntax for each part of its WHAT, with the part; addresses are single ones here.
    `own`: services beside the built-in ones, by name. Raises PacketError.

    Left out: the hook follows from what is said of where it comes from and goes to, state new, source port
    40000, an interface that no line names, mode 3, not redirected, in no dynamic group, before any line
    expires, limits unspent.
    """
    words = text.split()
    hook = words.pop(0) if words and words[0] in ("input", "output", "forward") else None
    if not words:
        raise PacketError("no packet: write, for example, udp/123 from 203.0.113.9:4000")
    what = words.pop(0)
    said = _clauses(words)
    hook = hook or _hook(said)
    family, source, sport = _endpoint(said.get("from"))
    other_family, destination, _ = _endpoint(said.get("to"))
    if family and other_family and other_family != family:
        raise PacketError("the packet mixes IPv4 and IPv6")
    family = family or other_family
    ends = source, sport, destination
    return tuple(
        (_packet(hook, family or part.family or 4, ends, part, said), part)
        for part in _what(what, family, own)
    )


def _hook(said: dict[str, str]) -> str:
    """By itself a packet comes in; `to` and `out` alone say that it leaves, both sides that it passes."""
    leaves = "to" in said or "out" in said
    if "from" in said or "in" in said:
        return "forward" if leaves else "input"
    return "output" if leaves else "input"


def _packet(
    hook: str,
    family: int,
    ends: tuple[int | None, int | None, int | None],
    service: services.Service,
    said: dict[str, str],
) -> Packet:
    source, sport, destination = ends
    has_port = bool(service.ports)
    incoming, outgoing = _interfaces(hook, said)
    return Packet(
        hook,
        family,
        service.protocol,
        _HERE[family] if source is None else source,
        _HERE[family] if destination is None else destination,
        (sport or 40000) if has_port else None,
        service.ports[0][0] if has_port else None,
        service.icmp_types[0] if service.icmp_types else None,
        _choice(said.get("state", "new"), STATES, "state"),
        None
        if said.get("mode") == "none"
        else int(_choice(said.get("mode", "3"), tuple("01234567"), "mode")),
        "lo" in (incoming, outgoing),
        None if incoming == "lo" else incoming,
        None if outgoing == "lo" else outgoing,
        _port(said["published"]) if "published" in said else None,
        _day(said["at"]) if "at" in said else None,
        _groups(said.get("source-in", "none")),
        _groups(said.get("destination-in", "none")),
        _choice(said.get("limits", "unspent"), ("spent", "unspent"), "limits") == "spent",
    )


def _interfaces(hook: str, said: dict[str, str]) -> tuple[str | None, str | None]:
    """(incoming, outgoing): what a hook does not know cannot be said of its packets."""
    for key, other in (("in", "output"), ("out", "input")):
        if key in said and hook == other:
            raise PacketError(f"a packet of {hook} has no '{key}' interface")
        if not 0 < len(said.get(key, "if").encode()) < 16:
            raise PacketError(f"no interface is called '{said[key]}'")
    if hook == "forward" and "lo" in (said.get("in"), said.get("out")):
        raise PacketError("nothing is forwarded over lo")
    return said.get("in"), said.get("out")


def _groups(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(sorted({name for name in text.split(",") if name}))


def _port(text: str) -> int:
    try:
        return services.number(text, 1, 65535, "the published port")
    except ServiceError as error:
        raise PacketError(str(error)) from None


def _day(text: str) -> int:
    found = day(text)
    if found is None:
        raise PacketError(f"'{text}' is not a date, as in 2027-01-31")
    return found


CLAUSES = (
    *("from", "to", "in", "out", "state", "mode"),
    *("published", "at", "source-in", "destination-in", "limits"),
)


def _clauses(words: list[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for keyword, value in zip(words[::2], words[1::2], strict=False):
        if keyword not in CLAUSES or keyword in said:
            raise PacketError(f"'{keyword}' is not expected here")
        said[keyword] = value
    if len(words) % 2:
        raise PacketError(f"'{words[-1]}' has nothing after it")
    return said


def _endpoint(text: str | None) -> tuple[int | None, int | None, int | None]:
    """`ADDR`, `V4:PORT` or `[V6]:PORT` as (family, address, port)."""
    if text is None:
        return None, None, None
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
        address = address.rstrip("]")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        family, first, last = parse(address)
        if first != last:
            raise PacketError(f"'{address}' is more than one address")
        return family, first, services.ports(port)[0] if port else None
    except (AddressError, ServiceError) as error:
        raise PacketError(str(error)) from None


def _what(text: str, family: int | None, own: Services) -> tuple[services.Service, ...]:
    """What can be of the family that is said (None: of either)."""
    candidates = dict(own).get(text) or services.built_in(text)
    try:
        candidates = candidates or (services.parse(text),)
    except ServiceError as error:
        hint = error.hint or nearest(text, (*dict(own), *services.BUILT_IN))
        raise PacketError(f"{error}; {hint}" if hint else str(error)) from None
    found = tuple(each for each in candidates if not (family and each.family) or each.family == family)
    if not found:
        raise PacketError(f"'{text}' does not exist in IPv{family}")
    return found


def _choice(text: str, known: tuple[str, ...], what: str) -> str:
    if text not in known:
        raise PacketError(f"{what} '{text}' is none of {', '.join(known)}")
    return text
