"""Packets by their fields: from a value for each field of the model to the bytes on the wire.

Each packet carries a number of its own (`ident`), by which it is known again: the IPv4 identification, the
low 16 bits of the IPv6 flow label, and for TCP the middle of both sequence numbers, for a reset repeats
nothing else.
"""

from __future__ import annotations

import struct

from fwpolicy.model import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ICMP, TCP, UDP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 58, 132, 136
PORTED = (TCP, UDP, SCTP, UDPLITE)
ACK, SYN, RST = 0x10, 0x02, 0x04
_NUMBER = {name: number for number, name in enumerate(fields.STATES)}
INVALID, ESTABLISHED, RELATED = _NUMBER["invalid"], _NUMBER["established"], _NUMBER["related"]
UNTRACKED = _NUMBER["untracked"]
# Not 8: the TCP match of iptables drops what begins there, whatever the rule ("To quote Alan", xt_tcpudp.c).
FRAGMENT_HEADER, LATER = 44, 16
# Errors quote the packet that they are about; conntrack looks it up (nf_conntrack_proto_icmp.c).
# A redirect (5) is dropped where there is NAT, and the connection was not made by it.
QUOTING = {ICMP: (3, 4, 11, 12), ICMPV6: (1, 2, 3, 4)}
QUOTED_PORTS = (40001, 53)
SCTP_TAG = 0x01020304


def addresses(found: Mapping[str, int], side: str) -> bytes:
    """An address as bytes; `side` is "saddr" or "daddr"."""
    family = found["nfproto"]
    return found[f"{side}{family}"].to_bytes(4 if family == 4 else 16, "big")


def datagram(found: Mapping[str, int], ident: int) -> bytes:
    """The IP packet. A later fragment's data are zeros, a first one's as much as fits in 8 bytes."""
    data = _padded(found, _transport(found, ident))
    if found.get("fragment"):
        data, offset = struct.pack("!HH", found.get("sport", 0), found.get("dport", 0)) + bytes(20), LATER
    else:
        offset = 0
    header = _ipv4 if found["nfproto"] == 4 else _ipv6
    return header(found, data, ident, offset)


def _padded(found: Mapping[str, int], data: bytes) -> bytes:
    missing = found.get("length", 0) - len(data) - (20 if found["nfproto"] == 4 else 40)
    return data if missing <= 0 else _transport({**found, "padding": missing}, found.get("ident", 0))


def _ipv4(found: Mapping[str, int], data: bytes, ident: int, offset: int) -> bytes:
    ends = addresses(found, "saddr"), addresses(found, "daddr")
    tos, ttl = found.get("dscp", 0) << 2, found.get("ttl", 64)
    begin = (0x45, tos, 20 + len(data), ident, offset // 8, ttl, found["l4proto"], 0)
    header = struct.pack("!BBHHHBBH4s4s", *begin, *ends)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + data


def _ipv6(found: Mapping[str, int], data: bytes, ident: int, offset: int) -> bytes:
    ends = addresses(found, "saddr"), addresses(found, "daddr")
    following = found["l4proto"]
    if offset:
        data = struct.pack("!BBHI", following, 0, offset, ident) + data
        following = FRAGMENT_HEADER
    first = 6 << 28 | found.get("dscp", 0) << 22 | ident
    return struct.pack("!IHBB16s16s", first, len(data), following, found.get("ttl", 255), *ends) + data


def _transport(found: Mapping[str, int], ident: int) -> bytes:
    """The header, wrong where conntrack is to call it invalid: a length that cannot be (a bad checksum is
    looked at in prerouting only)."""
    invalid = found.get("ctstate") == INVALID
    protocol, payload = found["l4proto"], _payload(found)
    ports = found.get("sport", 0), found.get("dport", 0)
    match protocol:
        case 6:
            return _summed(found, _tcp(found, ident, invalid) + payload, 16)
        case 17 | 136:
            length = 8 + len(payload) + (100 if invalid else 0)
            return _summed(found, struct.pack("!HHHH", *ports, length, 0) + payload, 6)
        case 1 | 58:
            return _icmp(found, ident, invalid)
        case 132:
            # An INIT opens, data belong to what is open (RFC 4960, 3.3).
            known = found.get("ctstate") in (ESTABLISHED, RELATED)
            chunk = struct.pack("!BBHIHHI", 0 if known else 1, 3, 20, 1, 0, 0, 0) + bytes(4)
            return struct.pack("!HHII", *ports, SCTP_TAG if known else 0, 0) + (b"" if invalid else chunk)
        case _:
            # The kernel answers a rejected IPv4 packet only if its data, whatever they are, sum up like
            # UDP's (nf_ip_checksum, seen): the second word does it.
            return _summed(found, struct.pack("!HHI", 0, 0, ident) + payload, 2)


def _payload(found: Mapping[str, int]) -> bytes:
    mode = found.get("ntpmode", 3)
    extra = bytes(found.get("padding", 0))
    return extra if mode == fields.NO_MODE else bytes([4 << 3 | mode]) + bytes(7) + extra


def _tcp(found: Mapping[str, int], ident: int, invalid: bool) -> bytes:
    flags, begin = found.get("tcpflags", SYN), (ident << 8) + 128
    sequence = begin if flags & SYN else begin + 1
    numbers = (found.get("sport", 0), found.get("dport", 0), sequence, begin + 1 if flags & ACK else 0)
    return struct.pack("!HHIIBBHHH", *numbers, (15 if invalid else 5) << 4, flags, 8192, 0, 0)


def _icmp(found: Mapping[str, int], ident: int, invalid: bool) -> bytes:
    kind, protocol = found.get("icmptype", 0), found["l4proto"]
    head = struct.pack("!BBHHH", kind, found.get("icmpcode", 0), 0, ident, 1)
    if found.get("ctstate") == RELATED and kind in QUOTING[protocol] and matches_family(found):
        return _summed(found, head[:4] + bytes(4) + quoted(found), 2)
    # A header cut short: iptables drops it where a rule would read more (`hotdrop`).
    cut = invalid and not found.get("xtables")
    return _summed(found, head[:4] if cut else head + bytes(40 + found.get("padding", 0)), 2)


def matches_family(found: Mapping[str, int]) -> bool:
    """Whether the ICMP is that of its family; the other one's is a protocol like any."""
    return found["l4proto"] == (ICMP if found["nfproto"] == 4 else ICMPV6)


def quoted(found: Mapping[str, int]) -> bytes:
    """The start of the packet that an ICMP error is about: one that its receiver sent."""
    inner = {
        "nfproto": found["nfproto"],
        f"saddr{found['nfproto']}": found[f"daddr{found['nfproto']}"],
        f"daddr{found['nfproto']}": found[f"saddr{found['nfproto']}"],
        "l4proto": UDP,
        "sport": QUOTED_PORTS[0],
        "dport": QUOTED_PORTS[1],
    }
    return datagram(inner, 0)


def as_nft_reads(found: Mapping[str, int], ident: int) -> dict[str, int]:
    """What nft finds where a later fragment has no transport header, for it looks all the same (Linux 6.18):
    the fragment's own data, and for IPv6, where it has no offset at all, the IPv6 header."""
    data = datagram(found, ident)
    data = data[20:] if found["nfproto"] == 4 else data
    sport, dport = struct.unpack("!HH", data[:4])
    return {
        **{"sport": sport, "dport": dport, "icmptype": data[0], "icmpcode": data[1]},
        **{"tcpflags": data[13], "ntpmode": data[8] & 7, "origport": dport},
    }


def _summed(found: Mapping[str, int], data: bytes, place: int) -> bytes:
    pseudo = b""
    if found["nfproto"] == 6 or found["l4proto"] in PORTED:
        pseudo = addresses(found, "saddr") + addresses(found, "daddr")
        pseudo += struct.pack("!II", len(data), found["l4proto"])
    return data[:place] + struct.pack("!H", checksum(pseudo + data) or 0xFFFF) + data[place + 2 :]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
