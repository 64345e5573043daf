"""A packet as a value for each field, and back."""

from __future__ import annotations

from fwpolicy.addresses import BITS
from fwpolicy.model import fields
from fwpolicy.model.packet import Packet
from fwpolicy.protocols import NUMBERS, WITH_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PORTED = frozenset(NUMBERS[name] for name in WITH_PORTS)
MULTICAST = {4: (0xE0000000, 0xEFFFFFFF), 6: (0xFF << 120, (1 << 128) - 1)}
_TYPE = {name: number for number, name in enumerate(fields.ADDRESS_TYPES)}
# An interface that no rule names.
SOME = fields.interface("if-any")[0][0]


def to_fields(packet: Packet, yes: Iterable[str] = ()) -> dict[str, int]:
    """The packet's fields. `yes`: the limiters and other opaque fields that hold for it."""
    v = packet.family
    known = packet.state not in ("untracked", "invalid")
    redirected = known and packet.published is not None
    first, last = MULTICAST[v]
    local = "local" if packet.hook == "input" else "unicast"
    kind = _TYPE["multicast" if first <= packet.destination <= last else local]
    found = {
        "nfproto": v,
        f"saddr{v}": packet.source,
        f"daddr{v}": packet.destination,
        "l4proto": packet.protocol,
        "th": 1,
        "ctstate": fields.STATES.index(packet.state),
        "dnat": int(redirected),
        "daddrtype": kind,
        "daddrtype_iif": kind,
        "dport": packet.dport or 0,
        "sport": packet.sport or 0,
        "icmptype": packet.icmp_type or 0,
        "origport": (packet.published if redirected else packet.dport) or 0,
        f"origdaddr{v}": packet.destination,
        "ntpmode": fields.NO_MODE if packet.mode is None else packet.mode,
        "tcpflags": 2,
        "time": packet.time or 0,
        "iif": 0 if packet.hook == "output" else _interface(packet, packet.incoming),
        "oif": 0 if packet.hook == "input" else _interface(packet, packet.outgoing),
    }
    members = [(name, "saddr") for name in packet.source_in]
    members += [(name, side) for name in packet.destination_in for side in ("daddr", "origdaddr")]
    found |= {fields.member(f"{name}_v{v}", side): 1 for name, side in members}
    return found | dict.fromkeys(yes, 1)


def _interface(packet: Packet, name: str | None) -> int:
    if packet.loopback:
        return fields.interface("lo")[0][0]
    return fields.interface(name)[0][0] if name else SOME


def to_packet(hook: str, found: Mapping[str, int]) -> Packet:
    """The packet with these fields, as messages name it; what it has no word for is left out."""
    v = found.get("nfproto", 4)
    protocol = found.get("l4proto", 0)
    has_ports = protocol in PORTED and found.get("th", 1) == 1
    incoming, outgoing = (_name(found.get(key, 0)) for key in ("iif", "oif"))
    mode = found.get("ntpmode", 3)
    return Packet(
        hook,
        v,
        protocol,
        found.get(f"saddr{v}", 0) & ((1 << BITS[v]) - 1),
        found.get(f"daddr{v}", 0) & ((1 << BITS[v]) - 1),
        found.get("sport", 0) if has_ports else None,
        found.get("dport", 0) if has_ports else None,
        found.get("icmptype", 0) if protocol == {4: 1, 6: 58}[v] and found.get("th", 1) else None,
        fields.STATES[found.get("ctstate", 0)],
        None if mode == fields.NO_MODE else mode,
        loopback="lo" in (incoming, outgoing),
        incoming=incoming if incoming and incoming != "lo" else None,
        outgoing=outgoing if outgoing and outgoing != "lo" else None,
        published=found.get("origport", 0) if found.get("dnat") else None,
        time=found.get("time") or None,
        source_in=_members(found, "saddr"),
        destination_in=_members(found, "daddr"),
        spent=any(not value for field, value in found.items() if field.startswith("limit:")),
    )


def _name(value: int) -> str:
    return "" if value == SOME else fields.interface_name(value)


def _members(found: Mapping[str, int], side: str) -> tuple[str, ...]:
    names = (field.split(":") for field, value in found.items() if value and field.startswith("member:"))
    return tuple(sorted({name.rpartition("_v")[0] or name for _, name, of in names if of == side}))
