"""A throw-away host for real packets: network namespaces without a name, raw sockets at both ends.

The host has a veth interface for each name that is asked for; their other ends are in a namespace of their
own, its far side. Frames come in from there, datagrams with headers of the sender's own leave by the
interface that they are bound to, and no protocol of the kernel's stands between (no ARP, no neighbour
discovery). The kernel takes all of it away with the last open file, whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import struct
from contextlib import ExitStack
from socket import (
    AF_INET,
    AF_INET6,
    AF_PACKET,
    IPPROTO_IPV6,
    IPPROTO_RAW,
    IPV6_JOIN_GROUP,
    SO_BINDTODEVICE,
    SO_BROADCAST,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_SOCKET,
    if_nametoindex,
    inet_pton,
    socket,
)

from fwpolicy.errors import HostError
from fwpolicy.host import netns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

# What raw sockets of ours stamp on their packets, so that the kernel's own are told apart: a traffic class
# handle that no ruleset matches (SO_PRIORITY; in nft `meta priority`).
OURS, OURS_NFT = 0x06660001, "666:1"
MAC = bytes.fromhex("020000000001")
_SO_PRIORITY, _IPV6_HDRINCL, _JOIN4 = 12, 36, 35  # asm-generic/socket.h, linux/in6.h, linux/in.h
_SECONDS = 60
# With this mark a packet is for the host, with the number of an interface, counted from 1, it leaves by that.
HERE = 4095
_TABLES = 10_000
# (setting, value) below /proc/sys/net of the namespace.
SETTINGS = (
    *((f"ipv4/conf/{name}/rp_filter", "0") for name in ("all", "default", "lo")),
    *((f"ipv4/conf/{name}/accept_local", "1") for name in ("all", "default", "lo")),
    *((f"ipv4/conf/{name}/route_localnet", "1") for name in ("all", "default", "lo")),
    *((f"ipv6/conf/{name}/accept_dad", "0") for name in ("all", "default")),
    *((f"ipv6/conf/{name}/router_solicitations", "0") for name in ("all", "default")),
    # No limit on ICMP errors: the mask says which types the limits are for.
    *(("ipv4/icmp_ratemask", "0"), ("ipv6/icmp/ratemask", "0")),
)
_FORWARDS = (
    ("ipv4/conf/all/forwarding", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    *((f"ipv4/conf/{name}/send_redirects", "0") for name in ("all", "default")),
)
# They are there once something tracks connections.
TRACKING = (("netfilter/nf_conntrack_tcp_be_liberal", "1"), ("netfilter/nf_conntrack_checksum", "0"))


class Arena:
    """The two namespaces; the calling thread may be anywhere, and stays there.

    `everything_is_local`: every destination is the host's own; else none is, unless a packet's mark says so.
    Raises HostError, NoScratchError.
    """

    def __init__(self, interfaces: Sequence[str], *, everything_is_local: bool) -> None:
        self._open = ExitStack()
        self._ins: dict[str, socket] = {}
        self._outs: dict[tuple[str, int], socket] = {}
        try:
            self._far, self._near = self._namespace(), self._namespace()
            self._build(interfaces, everything_is_local)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """The calling thread in the host's namespace."""
        return netns.inside(self._near)

    def receive(self, interface: str, frame: bytes) -> None:
        """An Ethernet frame, or on `lo` what looks like one, comes in."""
        self._ins[interface].send(frame)

    def send(self, interface: str, family: int, datagram: bytes, to: str) -> None:
        """An IP packet leaves. A drop in the output hook raises PermissionError."""
        self._outs[interface, family].sendto(datagram, (to, 0))

    def join(self, group: str, interface: str) -> None:
        """Be a member of a multicast group there, unless it is one, or there is no such group."""
        with self.inside(), contextlib.suppress(OSError):  # EINVAL; EADDRINUSE
            self._open.enter_context(member(group, interface))

    def set(self, settings: Iterable[tuple[str, str]]) -> None:
        """Settings below /proc/sys/net of the host's namespace. Raises HostError."""
        with self.inside():
            for name, value in settings:
                write_setting(name, value)

    def _namespace(self) -> int:
        descriptor = netns.made()
        self._open.callback(os.close, descriptor)
        return descriptor

    def _build(self, interfaces: Sequence[str], everything_is_local: bool) -> None:
        with netns.inside(self._far):
            write_setting("ipv6/conf/default/disable_ipv6", "1")
        self.set((*SETTINGS, *_FORWARDS))
        far = f"/proc/{os.getpid()}/fd/{self._far}"
        with self.inside():
            ip(_topology(interfaces, far, everything_is_local))
            for option, whole in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
                ip(_routing(interfaces, whole), option)
            self._ins["lo"] = self._frames("lo")
            for name in ("lo", *interfaces):
                for version, family in ((4, AF_INET), (6, AF_INET6)):
                    self._outs[name, version] = self._open.enter_context(raw_socket(family, name))
        with netns.inside(self._far):
            ip(f"link set dev {name} up" for name in interfaces)
            self._ins |= {name: self._frames(name) for name in interfaces}

    def _frames(self, interface: str) -> socket:
        opened = self._open.enter_context(socket(AF_PACKET, SOCK_RAW, 0))
        opened.bind((interface, 0))
        return opened


def _topology(interfaces: Sequence[str], far: str, everything_is_local: bool) -> Iterator[str]:
    yield "link set lo up"
    if everything_is_local:
        yield from ("route add local 0.0.0.0/0 dev lo", "route add local ::/0 dev lo")
    for index, name in enumerate(interfaces, 1):
        yield f"link add name {name} type veth peer name {name} netns {far}"
        # No ARP and no neighbour discovery: whatever is sent leaves at once.
        yield f"link set dev {name} address {MAC.hex(':')} arp off up"
        # To masquerade takes an address of one's own (one for measurements: RFC 2544, RFC 5180).
        yield f"address add 198.18.{index >> 8}.{index & 255}/32 dev {name}"
        yield f"address add 2001:2::{index:x}/128 dev {name} nodad"
        yield from (f"route add {whole} dev {name} metric {index}" for whole in ("0.0.0.0/0", "::/0"))
        if everything_is_local:
            yield f"route add local fe80::/10 dev {name} metric {index} table local"


def _routing(interfaces: Sequence[str], whole: str) -> Iterator[str]:
    for index, name in enumerate(interfaces, 1):
        yield f"route add {whole} dev {name} table {_TABLES + index}"
        yield f"rule add pref 10 fwmark {index} lookup {_TABLES + index}"
    yield f"route add local {whole} dev lo table {_TABLES}"
    yield f"route add {whole} dev lo metric 5000"
    yield f"rule add pref 10 fwmark {HERE} lookup {_TABLES}"
    # After those by mark: else what is to be forwarded were for the host.
    yield from ("rule add pref 20 lookup local", "rule delete pref 0")


def ip(lines: Iterable[str], *options: str) -> None:
    """Commands of ip(8), in the calling thread's namespace. Raises HostError."""
    import subprocess  # noqa: PLC0415  (15 ms)

    command = ("ip", *options, "-batch", "-")
    try:
        done = subprocess.run(
            command, input="\n".join(lines), capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise HostError("there is no ip on this host: install the package iproute2") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"ip cannot be run: {error}") from None
    if done.returncode:
        raise HostError(f"ip: {' '.join(done.stderr.split()) or f'exit {done.returncode}'}")


def write_setting(name: str, value: str) -> None:
    """A setting of the calling thread's network namespace. Raises HostError."""
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as stream:  # noqa: PTH123 (pathlib: 8 ms)
            stream.write(value)
    except OSError as error:
        raise HostError(f"cannot write /proc/sys/net/{name}: {error.strerror}") from None


def member(group: str, interface: str) -> socket:
    """Of the multicast group on the interface, as long as it is open; OSError if there is no such group."""
    v6, index = ":" in group, struct.pack("@I", if_nametoindex(interface))
    packed = inet_pton(AF_INET6 if v6 else AF_INET, group)
    made = socket(AF_INET6 if v6 else AF_INET, SOCK_DGRAM)
    try:
        if v6:
            made.setsockopt(IPPROTO_IPV6, IPV6_JOIN_GROUP, packed + index)
        else:
            made.setsockopt(0, _JOIN4, packed + bytes(4) + index)
    except OSError:
        made.close()
        raise
    return made


def raw_socket(family: int, interface: str) -> socket:
    """One that sends packets with headers of the sender's own through `interface`, as OURS."""
    opened = socket(family, SOCK_RAW, IPPROTO_RAW)  # headers are ours: raw(7)
    opened.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    opened.setsockopt(SOL_SOCKET, SO_BROADCAST, 1)
    opened.setsockopt(SOL_SOCKET, _SO_PRIORITY, OURS)
    if family == AF_INET6:
        opened.setsockopt(IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    return opened
