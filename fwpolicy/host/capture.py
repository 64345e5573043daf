"""Which way packets leave, and what passes an interface, as the kernel tells: rtnetlink(7), packet(7)."""

from __future__ import annotations

import ctypes
import socket
from struct import iter_unpack, pack, unpack_from

from fwpolicy.errors import HostError
from fwpolicy.record import record

# The numbers of rtnetlink(7), from linux/rtnetlink.h.
_NLMSG_ERROR, _RTM_GETROUTE, _REQUEST = 2, 26, 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 1, 4, 5, 7, 18
_RTN_LOCAL = 2
# The numbers of packet(7), from linux/if_packet.h and asm/socket.h.
_ETH_P_ALL = 3
_SOL_PACKET, _ADD_MEMBERSHIP, _MR_PROMISC, _OUTGOING = 263, 1, 1, 4
_SO_ATTACH_FILTER = 26
_RECEIVE_BUFFER = 4 << 20
# Next headers that may stand before UDP: hop-by-hop, routing, fragment, destination options (RFC 8200).
_EXTENSIONS = (0, 43, 44, 60)
_FRAGMENT, TCP, UDP = 44, 6, 17
_FRAGMENT_OFFSET, _FRAGMENT_ANY = 0x1FFF, 0x3FFF


@record
class Path:
    """How this host reaches an address: the interface, our address there, and what lies between.

    `on_link`: no router between; `local`: the address is this host's own; `pinned`: the interface was
    asked for, whatever the routes prefer.
    """

    interface: str
    index: int
    source: str
    on_link: bool
    local: bool
    pinned: bool = False


def path_to(address: str, interface: str | None = None) -> Path | None:
    """The kernel's route to `address` (through `interface` if given), or None when it has none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    attributes = _attribute(_RTA_DST, socket.inet_pton(family, address))
    if interface is not None:
        attributes += _attribute(_RTA_OIF, pack("=I", index_of(interface)))
    bits = 128 if family == socket.AF_INET6 else 32
    body = pack("=BBBBBBBBI", family, bits, 0, 0, 0, 0, 0, 0, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.send(pack("=IHHII", 16 + len(body), _RTM_GETROUTE, _REQUEST, 1, 0) + body)
        answer = link.recv(65535)
    if unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
        return None
    return _path(answer, family, pinned=interface is not None)


def _path(answer: bytes, family: int, *, pinned: bool) -> Path | None:
    kind = answer[16 + 7]
    found = _attributes(answer[16 + 12 :])
    if _RTA_OIF not in found or _RTA_PREFSRC not in found:
        return None
    index = unpack_from("=I", found[_RTA_OIF])[0]
    source = socket.inet_ntop(family, found[_RTA_PREFSRC])
    on_link = _RTA_GATEWAY not in found and _RTA_VIA not in found
    return Path(socket.if_indextoname(index), index, source, on_link, kind == _RTN_LOCAL, pinned)


def index_of(interface: str) -> int:
    """The interface's index; HostError when there is none of that name."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise HostError(f"no interface '{interface}' on this host (see: ip link)") from None


def _attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[length + (-length % 4) :]
    return found


@record
class Seen:
    """A packet on the wire. `outgoing`: it left this host; `ports` are (source, destination), of UDP
    and TCP, None behind a first fragment; `ident` is a fragment's, None for a whole packet."""

    outgoing: bool
    source: str
    destination: str
    protocol: int
    ports: tuple[int, int] | None
    payload: bytes
    ident: int | None = None


class Capture:
    """Packets from and to one address on one interface, also those not meant for this host.

    Promiscuous, so that answers to forged sources show where the medium is shared. Needs
    CAP_NET_RAW: PermissionError otherwise.
    """

    def __init__(self, path: Path, address: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            self._prepare(path, address)
        except BaseException:
            self._socket.close()
            raise

    def _prepare(self, path: Path, address: str) -> None:
        capture = self._socket
        capture.setblocking(False)
        capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        # The filter stands before the socket is bound: nothing else ever gets in.
        code = _filter(address)
        memory = ctypes.create_string_buffer(code, len(code))
        program = pack("@HP", len(code) // 8, ctypes.addressof(memory))
        capture.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        capture.bind((path.interface, _ETH_P_ALL))
        capture.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, pack("@iHH8s", path.index, _MR_PROMISC, 0, b""))

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def read(self) -> Seen | None:
        """The next packet that could be read as UDP, TCP or a fragment of one; None: none is waiting."""
        while True:
            try:
                data, place = self._socket.recvfrom(65535)
            except BlockingIOError:
                return None
            except OSError:
                continue  # ENETDOWN is told once, then the socket goes on
            seen = parse(data, outgoing=place[2] == _OUTGOING)
            if seen is not None:
                return seen

    def close(self) -> None:
        self._socket.close()


def parse(packet: bytes, *, outgoing: bool) -> Seen | None:
    """An IP packet (from its first header octet on) as Seen; None for other protocols and for rubbish."""
    try:
        if packet[0] >> 4 == 4:
            return _parse4(packet, outgoing)
        return _parse6(packet, outgoing) if packet[0] >> 4 == 6 else None
    except (IndexError, ValueError, OSError, ctypes.ArgumentError):
        return None


def _parse4(packet: bytes, outgoing: bool) -> Seen | None:
    header = (packet[0] & 15) * 4
    length, ident, fragment = int.from_bytes(packet[2:4], "big"), *_pair(packet[4:8])
    ends = socket.inet_ntop(socket.AF_INET, packet[12:16]), socket.inet_ntop(socket.AF_INET, packet[16:20])
    body = packet[header : length or len(packet)]  # 0: longer than the field can say (BIG TCP)
    part = ident if fragment & _FRAGMENT_ANY else None
    return _transport(outgoing, ends, packet[9], body, part, later=bool(fragment & _FRAGMENT_OFFSET))


def _parse6(packet: bytes, outgoing: bool) -> Seen | None:
    ends = socket.inet_ntop(socket.AF_INET6, packet[8:24]), socket.inet_ntop(socket.AF_INET6, packet[24:40])
    body, kind = packet[40 : 40 + int.from_bytes(packet[4:6], "big")], packet[6]
    part, later = None, False
    while kind in _EXTENSIONS and not later:
        if kind == _FRAGMENT:
            part, later = int.from_bytes(body[4:8], "big"), bool(int.from_bytes(body[2:4], "big") >> 3)
        kind, body = body[0], body[8 if kind == _FRAGMENT else 8 + body[1] * 8 :]
    return _transport(outgoing, ends, kind, body, part, later=later)


def _pair(octets: bytes) -> tuple[int, int]:
    return int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:], "big")


def _transport(
    outgoing: bool, ends: tuple[str, str], kind: int, body: bytes, part: int | None, *, later: bool
) -> Seen | None:
    if kind not in (TCP, UDP):
        return None
    if later:
        return Seen(outgoing, *ends, kind, None, b"", part)
    if len(body) < 8:
        return None
    payload = body[8:] if kind == UDP else b""
    return Seen(outgoing, *ends, kind, _pair(body[:4]), payload, part)


# bpf(4) of the BSDs, linux/bpf_common.h: ld [k], ldb [k], jeq #k, and #k, ret #k.
_LD, _LDB, _JEQ, _AND, _RET = 0x20, 0x30, 0x15, 0x54, 0x06
_Operation = tuple[int, int, int, int]


def _filter(address: str) -> bytes:
    """Classic BPF: IP packets whose source or destination is `address`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    octets = socket.inet_pton(family, address)
    words = [word for (word,) in iter_unpack("!I", octets)]
    version, source = (0x60, 8) if len(words) == 4 else (0x40, 12)
    size = 2 * len(words)  # instructions of one comparison
    code: list[_Operation] = [(_LDB, 0, 0, 0), (_AND, 0, 0, 0xF0), (_JEQ, 0, 2 * size, version)]
    # A mismatch skips the rest of its comparison; a full match skips all that is before "accept".
    for start, accept in ((source, size + 1), (source + len(octets), 1)):
        for number, word in enumerate(words):
            left = size - 2 * number - 2
            code += [(_LD, 0, 0, start + 4 * number), (_JEQ, 0 if left else accept, left, word)]
    code += [(_RET, 0, 0, 0), (_RET, 0, 0, 0xFFFF)]
    return b"".join(pack("=HBBI", *operation) for operation in code)
