"""A flood of UDP packets over a cable between two namespaces, from a sender of our own.

Run as a program it floods and prints the CPU nanoseconds a packet: in veth(4) what receives runs on the
sender's time, in its softirq, so the same flood into a device that only drops is what sending costs.

    python flood.py INTERFACE SOURCE-MAC DESTINATION-MAC DESTINATION PORT SOURCES PACKETS
"""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import sys
import time

_BATCH = 64  # what waits in the receiver's backlog stays small, and is worked off at once
_FRAMES = 4096
_QDISC_BYPASS, _SOL_PACKET = 20, 263
_NTP = bytes([4 << 3 | 3]) + bytes(47)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iovec", ctypes.POINTER(_Iovec)),
        ("iovecs", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    )


def frames(macs: tuple[str, str], destination: str, port: int, sources: tuple[str, ...]) -> list[bytes]:
    """Ethernet, IPv4, UDP, an NTP question; from `sources`, or from anywhere."""
    chance = random.Random(1)
    source_mac, destination_mac = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
    found = []
    for number in range(_FRAMES):
        source = (
            socket.inet_aton(sources[number % len(sources)])
            if sources
            else struct.pack("!I", chance.randrange(11 << 24, 126 << 24))
        )
        udp = struct.pack("!HHHH", chance.randrange(1024, 65536), port, 8 + len(_NTP), 0) + _NTP
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0)
        ip = head + source + socket.inet_aton(destination)
        total = sum(struct.unpack("!10H", ip))
        total = (total & 0xFFFF) + (total >> 16)
        ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
        found.append(destination_mac + source_mac + b"\x08\x00" + ip + udp)
    return found


def flood(interface: str, made: list[bytes], packets: int) -> float:
    """CPU nanoseconds a packet."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in made]
    vectors = (_Iovec * len(made))(*((ctypes.addressof(b), len(b)) for b in buffers))
    messages = (_Message * len(made))()
    for number, message in enumerate(messages):
        message.iovec, message.iovecs = ctypes.pointer(vectors[number]), 1
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        sender.bind((interface, 0))
        begin, sent = time.thread_time_ns(), 0
        while sent < packets:
            at = ctypes.byref(messages, sent % (len(made) - _BATCH) * ctypes.sizeof(_Message))
            done = libc.sendmmsg(sender.fileno(), at, _BATCH, 0)
            if done <= 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            sent += done
        return (time.thread_time_ns() - begin) / sent


def main() -> None:
    interface, source_mac, destination_mac, destination, port, sources, packets = sys.argv[1:]
    made = frames(
        (source_mac, destination_mac), destination, int(port), tuple(filter(None, sources.split(",")))
    )
    flood(interface, made, _FRAMES)
    print(flood(interface, made, int(packets)))


if __name__ == "__main__":
    main()
