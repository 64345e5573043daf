"""Packets of the policy's evaluation in the fields of the model."""

from __future__ import annotations

from fwpolicy.model import fields

TABLE = "inet fwpolicy"
_MULTICAST = {4: (28, 0xE), 6: (120, 0xFF)}


def as_fields(packet, limiters=()):
    """A packet of fwpolicy.model.packet, or one like it that says more. All limiters have room, or none."""
    loopback = "lo" if packet.loopback else None
    shift, value = _MULTICAST[packet.family]
    multicast = packet.destination >> shift == value
    kind = "multicast" if multicast else "local" if packet.hook == "input" else "unicast"
    digit = packet.family
    known = {
        "nfproto": packet.family,
        "l4proto": packet.protocol,
        "th": 1,
        f"saddr{digit}": packet.source,
        f"daddr{digit}": packet.destination,
        f"origsaddr{digit}": packet.source,
        f"origdaddr{digit}": packet.destination,
        "sport": packet.sport or 0,
        "dport": packet.dport or 0,
        "icmptype": packet.icmp_type or 0,
        "ctstate": fields.STATES.index(packet.state),
        "ntpmode": fields.NO_MODE if packet.mode is None else packet.mode,
        "dnat": int(packet.published is not None and packet.state not in ("untracked", "invalid")),
        "origport": (packet.dport or 0) if packet.published is None else packet.published,
        "daddrtype": fields.ADDRESS_TYPES.index(kind),
        "daddrtype_iif": fields.ADDRESS_TYPES.index(kind),
        "tcpflags": 2,
        "time": packet.time or 0,
        "iif": _interface(loopback or packet.incoming, packet.hook != "output"),
        "oif": _interface(loopback or packet.outgoing, packet.hook != "input"),
    }
    for side, groups in (("saddr", packet.source_in), ("daddr", packet.destination_in)):
        known |= {fields.member(f"{TABLE} {group}_v{digit}", side): 1 for group in groups}
    return known | dict.fromkeys(limiters, int(not packet.spent))


def _interface(name, there):
    if not there:
        return fields.NO_INTERFACE
    ((value, _),) = fields.interface(name or "?")
    return value
