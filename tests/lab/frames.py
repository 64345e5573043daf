"""Packets for the oracle, made byte by byte: IPv4 (RFC 791), IPv6 (8200), UDP, TCP, ICMP, fragments.

Every packet carries a number of its own, 1 to 65535, by which it is known again wherever it
shows up: the IPv4 identification or the low 16 bits of the IPv6 flow label, and for TCP also the
sequence and acknowledgement numbers, because a reset repeats nothing else.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from fwpolicy.deploy.trial.wire import checksum
from fwpolicy.record import record, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
FRAGMENT_HEADER = 44
MORE_FRAGMENTS = 0x2000
FIRST_BYTES = 8  # the least a first fragment can hold: ports, but no payload
SYN, ACK = 0x02, 0x10
ECHO = {"icmp": (8, 0), "icmpv6": (128, 129)}  # request, reply


@record
class Packet:
    """One packet, and how it comes: which hook decides, in which conntrack state, over which interface.

    `proto`: a name of PROTOCOLS or a number. `mode`: NTP mode of a version 4 payload.
    `state`: new, established, invalid or untracked. `fragment`: "" (whole), "first" or "later" (a
    fragment alone), "pair" (the packet in two fragments, the first of 8 bytes).

    A port match does not fail on a later fragment: nft's fast path (nft_payload_fast_eval, Linux
    6.18 still) takes the bytes it finds, for IPv4 the start of the fragment's data, for IPv6 those
    of the IPv6 header itself.
    """

    hook: str = "input"
    saddr: str = "198.51.100.7"
    daddr: str = "192.0.2.1"
    proto: str | int = "udp"
    sport: int = 40000
    dport: int = 123
    mode: int | None = None
    payload: bytes | None = None
    icmp_type: int | None = None
    icmp_code: int = 0
    tcp_flags: int | None = None
    state: str = "new"
    fragment: str = ""
    interface: str = "eth0"

    @property
    def ipv6(self) -> bool:
        """Whether this is IPv6."""
        return ":" in self.daddr

    @property
    def number(self) -> int:
        """The protocol's number."""
        return PROTOCOLS[self.proto] if isinstance(self.proto, str) else self.proto

    @property
    def type(self) -> int:
        """The ICMP type; an echo request if none was given."""
        return ECHO[str(self.proto)][0] if self.icmp_type is None else self.icmp_type

    @property
    def flags(self) -> int:
        """The TCP flags; what fits the state if none were given."""
        return (ACK if self.state == "established" else SYN) if self.tcp_flags is None else self.tcp_flags


def mirrored(packet: Packet) -> Packet:
    """What the other side sends: through the other hook, addresses and ports exchanged."""
    icmp_type = packet.icmp_type
    if packet.proto in ECHO:
        request, reply = ECHO[str(packet.proto)]
        icmp_type = request if packet.type == reply else reply
    return replace(
        packet,
        hook="output" if packet.hook == "input" else "input",
        saddr=packet.daddr,
        daddr=packet.saddr,
        sport=packet.dport,
        dport=packet.sport,
        icmp_type=icmp_type,
        state="new",
        fragment="",
    )


def exchange(packet: Packet) -> Iterator[Packet]:
    """A real exchange after which `packet` is part of an established connection."""
    whole = replace(packet, state="new", fragment="")
    other = mirrored(packet)
    if packet.proto == "tcp":
        yield replace(other, tcp_flags=SYN)
        yield replace(whole, tcp_flags=SYN | ACK)
        yield replace(other, tcp_flags=ACK)
    elif packet.proto in ECHO and packet.type == ECHO[str(packet.proto)][0]:
        yield whole  # a request belongs to a connection once the first one was answered
        yield other
    else:
        yield other


def datagrams(packet: Packet, idents: tuple[int, ...]) -> list[bytes]:
    """The IP packets that `packet` is made of; as many as it has fragments, with `idents` in turn."""
    transport = _transport(packet, idents[0])
    first, later = transport[:FIRST_BYTES], transport[FIRST_BYTES:]
    pieces = {
        "": [(transport, 0, False)],
        "first": [(first, 0, True)],
        "later": [(later, FIRST_BYTES, False)],
        "pair": [(first, 0, True), (later, FIRST_BYTES, False)],
    }[packet.fragment]
    header = _ipv6 if packet.ipv6 else _ipv4
    numbers = (*idents, idents[-1])
    return [
        header(packet, piece, numbers[index], idents[0], offset, more)
        for index, (piece, offset, more) in enumerate(pieces)
    ]


def _ipv4(packet: Packet, data: bytes, ident: int, _: int, offset: int, more: bool) -> bytes:
    fragment = offset // 8 | (MORE_FRAGMENTS if more else 0)
    fields = (0x45, 0, 20 + len(data), ident, fragment, 64, packet.number, 0)
    header = struct.pack("!BBHHHBBH4s4s", *fields, *_addresses(packet))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + data


def _ipv6(packet: Packet, data: bytes, ident: int, whole: int, offset: int, more: bool) -> bytes:
    following = packet.number
    if packet.fragment:
        data = struct.pack("!BBHI", following, 0, offset | more, whole) + data
        following = FRAGMENT_HEADER
    # Neighbour discovery is only heard with hop limit 255 (RFC 4861, 6.1.1).
    return struct.pack("!IHBB16s16s", 6 << 28 | ident, len(data), following, 255, *_addresses(packet)) + data


def _addresses(packet: Packet) -> tuple[bytes, bytes]:
    family = socket.AF_INET6 if packet.ipv6 else socket.AF_INET
    return socket.inet_pton(family, packet.saddr), socket.inet_pton(family, packet.daddr)


def _transport(packet: Packet, ident: int) -> bytes:
    """The transport header and payload.

    `invalid` is a length that cannot be, which conntrack refuses in both hooks. (A bad checksum, the usual
    way, is looked at in prerouting only: nf_conntrack_proto_udp.c.)
    """
    payload = packet.payload if packet.payload is not None else _payload(packet.mode)
    invalid = packet.state == "invalid"
    match packet.proto:
        case "udp":
            length = 8 + len(payload) + (100 if invalid else 0)
            data, at = struct.pack("!HHHH", packet.sport, packet.dport, length, 0) + payload, 6
        case "tcp":
            data, at = _tcp(packet, ident), 16
        case "icmp" | "icmpv6":
            data, at = struct.pack("!BBHHH", packet.type, packet.icmp_code, 0, ident, 1) + payload, 2
            data = data[:4] if invalid else data
        case _:
            assert not invalid, f"conntrack finds nothing invalid in protocol {packet.proto}"
            return struct.pack("!HHI", packet.sport, packet.dport, ident) + payload
    pseudo = b"" if packet.proto == "icmp" else b"".join(_addresses(packet))
    pseudo += b"" if packet.proto == "icmp" else struct.pack("!II", len(data), packet.number)
    return data[:at] + struct.pack("!H", checksum(pseudo + data) or 0xFFFF) + data[at + 2 :]


def _tcp(packet: Packet, ident: int) -> bytes:
    """A segment of a connection whose two ends both began amid the numbers that start with `ident`.

    A reset acknowledges what it got: off by the header that an invalid segment only claims to have.
    """
    flags, begin = packet.flags, (ident << 8) + 128
    sequence = begin if flags & SYN else begin + 1
    acknowledged = begin + 1 if flags & ACK else 0
    words = 15 if packet.state == "invalid" else 5
    numbers = (packet.sport, packet.dport, sequence, acknowledged, words << 4, flags)
    return struct.pack("!HHIIBBHHH", *numbers, 8192, 0, 0)


def _payload(mode: int | None) -> bytes:
    """48 bytes, as short as an NTP packet gets; the first holds version 4 and the mode (RFC 5905, 7.3)."""
    return (bytes([4 << 3 | mode]) if mode is not None else bytes(1)) + bytes(47)
