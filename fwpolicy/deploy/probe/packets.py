"""The bytes of every probe: NTP modes 0-7, chrony's cmdmon, and hand-made IP packets around them.

Layouts: RFC 5905 section 7.3 (modes 0-5, the 48 octet header), RFC 9327 section 2 (mode 6, the 12
octet control header), ntpd's include/ntp_request.h (mode 7, "struct req_pkt"; no RFC describes it),
chrony's candm.h (cmdmon, described from the user's side in chronyc(1)), RFC 791 and RFC 8200 (IP and
its fragments), RFC 768 (UDP), RFC 1071 (the checksum).
"""

from __future__ import annotations

# The C half of `socket`, as in fwpolicy.addresses.
from _socket import AF_INET, AF_INET6, inet_pton
from struct import pack, unpack_from

NTP_PORT = 123
CMDMON_PORT = 323
NTS_KE_PORT = 4460

# RFC 9327 section 2: operation codes of mode 6.
READSTAT, READVAR, READCLOCK, READ_ORDERED_LIST, REQUEST_NONCE = 1, 2, 4, 11, 12
# ntp_request.h: request codes and implementations of mode 7 ("monlist" is REQ_MON_GETLIST_1).
PEER_LIST, SYS_INFO, MON_GETLIST, MON_GETLIST_1 = 0, 4, 20, 42
IMPLEMENTATION_OLD, IMPLEMENTATION = 2, 3
# candm.h: REQ_NULL and REQ_TRACKING.
CMDMON_NULL, CMDMON_TRACKING = 0, 33

UDP = 17
_FRAGMENT, _DESTINATION_OPTIONS = 44, 60
_HOPS = 64


def time_packet(mode: int, version: int, token: int) -> bytes:
    """48 octets of an NTP packet in `mode` 0-5 (6 and 7 give a header of the wrong kind).

    `token` (64 bits) is the transmit timestamp, which a server copies into the origin timestamp
    of its answer (RFC 5905 section 8). Except in mode 3 the packet says "unsynchronised" (leap 3,
    stratum 16): nobody who mistakes it for a time server's sets a clock by it.
    """
    leap, stratum = (0, 0) if mode == 3 else (3, 16)
    first = leap << 6 | version << 3 | mode
    return pack("!BBbb", first, stratum, 6, -20) + bytes(36) + token.to_bytes(8, "big")


def control(opcode: int, version: int, sequence: int) -> bytes:
    """A mode 6 request of 12 octets about association 0, without data; `sequence` has 16 bits."""
    return pack("!BBHHHHH", version << 3 | 6, opcode, sequence, 0, 0, 0, 0)


def private(request: int, version: int, implementation: int = IMPLEMENTATION) -> bytes:
    """A mode 7 request of 48 octets without items; its sequence must be 0 or ntpd drops it."""
    return pack("!BBBBHH", version << 3 | 7, 0, implementation, request, 0, 0) + bytes(40)


def cmdmon(command: int, sequence: int) -> bytes:
    """A chrony command request, protocol version 6, of 104 octets; `sequence` has 32 bits.

    chronyd ignores requests shorter than their answer would be; TRACKING's has 104 octets.
    """
    return pack("!BBBBHHI", 6, 1, 0, 0, command, 0, sequence) + bytes(92)


def answers(request: bytes, reply: bytes) -> bool:
    """Whether `reply` (UDP payload) answers the NTP request `request` by the protocol's own marks.

    Modes 0-5: origin timestamp = our transmit timestamp; mode 6: response bit, operation and
    sequence; mode 7: response bit, implementation and request code. A packet in mode 3 is never an
    answer: ntpd's next poll of its server carries the timestamp of what was forged as that server.
    """
    if not reply or not request:
        return False
    mode = request[0] & 7
    if mode == 6:
        return len(reply) >= 12 and _control_answer(request, reply)
    if mode == 7:
        same = len(reply) >= 8 and reply[0] & 7 == 7 and reply[2:4] == request[2:4]
        return same and bool(reply[0] & 0x80)
    return len(reply) >= 48 and reply[0] & 7 != 3 and reply[24:32] == request[40:48]


def _control_answer(request: bytes, reply: bytes) -> bool:
    response, operation = reply[1] & 0x80, reply[1] & 0x1F
    return reply[0] & 7 == 6 and bool(response) and operation == request[1] and reply[2:4] == request[2:4]


def is_control_error(reply: bytes) -> bool:
    """Whether a mode 6 reply carries the error bit (RFC 9327 section 2)."""
    return len(reply) >= 2 and reply[0] & 7 == 6 and bool(reply[1] & 0x40)


def checksum(data: bytes) -> int:
    """The Internet checksum of `data` (RFC 1071), 16 bits."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(unpack_from(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    """4 or 16 octets of an address without a zone."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP header with checksum, and `payload`; `ports` are (source, destination)."""
    length = 8 + len(payload)
    ends = packed(source) + packed(destination)
    pseudo = pack("!II", length, UDP)  # the two families' pseudo headers sum up to the same
    header = pack("!HHHH", *ports, length, 0)
    # RFC 768: a sum of zero is sent as all ones, zero says "no checksum" (forbidden in IPv6).
    total = checksum(ends + pseudo + header + payload) or 0xFFFF
    return header[:6] + pack("!H", total) + payload


def ipv4(ends: tuple[str, str], body: bytes, ident: int, *, offset: int = 0, more: bool = False) -> bytes:
    """An IPv4 packet with `body` at `offset` octets of its datagram; `ends` are (source, destination)."""
    return _ipv4(ends, body, ident, offset // 8 | more << 13, b"")


def ipv4_with_options(ends: tuple[str, str], body: bytes, ident: int) -> bytes:
    """An IPv4 packet with four NOP options: the payload is not where a fixed offset looks for it."""
    return _ipv4(ends, body, ident, 0, b"\x01\x01\x01\x01")


def _ipv4(ends: tuple[str, str], body: bytes, ident: int, fragment: int, options: bytes) -> bytes:
    words = 5 + len(options) // 4
    start = pack("!BBHHHBB", 0x40 | words, 0, words * 4 + len(body), ident, fragment, _HOPS, UDP)
    rest = packed(ends[0]) + packed(ends[1]) + options
    return start + pack("!H", checksum(start + b"\0\0" + rest)) + rest + body


def ipv6(ends: tuple[str, str], body: bytes, next_header: int = UDP) -> bytes:
    """An IPv6 packet; `body` begins with the header of type `next_header`."""
    return pack("!IHBB", 6 << 28, len(body), next_header, _HOPS) + packed(ends[0]) + packed(ends[1]) + body


def ipv6_fragment(
    ends: tuple[str, str], body: bytes, ident: int, *, offset: int = 0, more: bool = False
) -> bytes:
    """An IPv6 fragment of a UDP datagram (RFC 8200 section 4.5); offset 0 and no more: an atomic one."""
    header = pack("!BBHI", UDP, 0, offset | more, ident)
    return ipv6(ends, header + body, _FRAGMENT)


def ipv6_with_options(ends: tuple[str, str], body: bytes) -> bytes:
    """An IPv6 packet with a destination options header (one PadN, RFC 8200 section 4.2) before UDP."""
    return ipv6(ends, pack("!BBBB4s", UDP, 0, 1, 4, b"") + body, _DESTINATION_OPTIONS)


def fragments(ends: tuple[str, str], datagram: bytes, ident: int, cut: int = 8) -> tuple[bytes, bytes]:
    """`datagram` (UDP header and payload) as two packets, cut after `cut` octets (a multiple of 8).

    With 8 the first holds the UDP header alone: a filter that reads the NTP mode finds none there.
    """
    make = ipv6_fragment if ":" in ends[0] else ipv4
    first = make(ends, datagram[:cut], ident, more=True)
    return first, make(ends, datagram[cut:], ident, offset=cut)
