"""The packet oracle: what the kernel does with real packets under an nft ruleset.

A throw-away network namespace has a veth interface for each one that the packets name. Input
packets come in as frames from the far end (or on lo itself), output packets leave a raw socket
bound to the interface; every destination is local, so any of them reaches the input hook. A probe
table notes each packet's number at both ends of the way through the ruleset, and whether the
kernel sent a reset or an ICMP error about it; one listing of its sets gives all verdicts.

Every packet has a conntrack zone of its own, so no two of them ever share a connection, and an
established one is made by a real exchange, before the ruleset is there. The namespaces have no
name and live in one thread: nothing is left behind, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fwpolicy.host.arena import MAC, OURS_NFT, SETTINGS, TRACKING, member, raw_socket, write_setting
from fwpolicy.record import record

from . import netns
from .frames import Packet, datagrams, exchange
from .holder import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ACCEPT, DROP, REJECT = "accept", "drop", "reject"
STATES = ("new", "established", "related", "invalid", "untracked")
SETS = ("seen", "passed", "reached", "alive", "rejected", *STATES)
# What makes the kernel track connections, and so put fragments together, in nft and in iptables.
TRACKS = re.compile(r"\bct\s|\bmasquerade\b|\b[sd]nat\b|\bredirect\b|--(ct)?state\b|^\*nat\b", re.MULTILINE)


class OracleError(AssertionError):
    """A packet could not be put to the question: the fault is the packet's or the oracle's, no verdict."""


@record
class _Shot:
    """A packet with its numbers: one, or two where each of its fragments is judged by itself."""

    packet: Packet
    idents: tuple[int, ...]


def verdicts(
    ruleset: str, packets: Sequence[Packet], *, restore: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """What the kernel does with each of `packets` under `ruleset` (nft text): accept, drop or reject.

    `restore`: commands that load something besides, with their input: ("ip6tables-restore", text).
    Chain priorities must lie between -1000 and 1000. A reject that the kernel does not answer (a
    later fragment, a multicast destination, a reset for a reset) is a drop: it is one.
    """
    tracked = any(TRACKS.search(text) for text in (ruleset, *(text for _, text in restore)))
    shots = _number(packets, tracked)
    return netns.call(lambda: _Question(ruleset, restore, shots, tracked).answers())


def _number(packets: Sequence[Packet], tracked: bool) -> list[_Shot]:
    shots, last = [], 0
    for packet in packets:
        # Conntrack, and IPv4's local delivery, put fragments together before the hook sees them.
        defragmented = tracked and packet.state != "untracked"
        if packet.fragment in ("first", "later") and defragmented:
            raise OracleError(f"a lone fragment waits in conntrack for the rest: {packet}")
        apart = packet.fragment == "pair" and not defragmented and (packet.ipv6 or packet.hook == "output")
        shots.append(_Shot(packet, (last + 1, last + 2) if apart else (last + 1,)))
        last += 2
    assert last <= 0xFFFF, "too many packets for one namespace"
    return shots


class _Question:
    """One ruleset and its packets, in the calling thread's new network namespace."""

    def __init__(
        self, ruleset: str, restore: Sequence[tuple[str, str]], shots: list[_Shot], tracked: bool
    ) -> None:
        self._ruleset, self._restore = ruleset, restore
        self._shots, self._tracked = shots, tracked
        self._open = ExitStack()
        self._sockets: dict[tuple[str, str], socket.socket] = {}

    def answers(self) -> list[str]:
        with self._open:
            self._build()
            self._meet()
            for command, text in self._restore:
                run(*command.split(), input=text)
            # The ruleset first: it may begin with `flush ruleset`.
            self._nft(self._ruleset + _probe(self._shots, self._tracked, recording=True))
            for shot in self._shots:
                self._send(shot.packet, shot.idents)
            found = self._listing()
            return [_verdict(shot, found) for shot in self._shots]

    def _meet(self) -> None:
        """Make the established connections, under no ruleset but the zones."""
        established = [shot for shot in self._shots if shot.packet.state == "established"]
        if not established or not self._tracked:
            return
        self._nft(_probe(self._shots, self._tracked, recording=False))
        for shot in established:
            for packet in exchange(shot.packet):
                self._send(packet, shot.idents[:1])

    # --- the namespaces -----------------------------------------------------------------------

    def _build(self) -> None:
        """The thread is in a new namespace: it becomes the far side, a second one the host under test."""
        far = self._descriptor()
        write_setting("ipv6/conf/default/disable_ipv6", "1")
        netns.unshare()
        near = self._descriptor()
        for name, value in (*SETTINGS, *TRACKING[:1]):
            write_setting(name, value)
        interfaces = sorted({shot.packet.interface for shot in self._shots} - {"lo"}) or ["eth0"]
        far_path = f"/proc/{os.getpid()}/fd/{far}"
        run("ip", "-batch", "-", input="\n".join(_topology(interfaces, far_path)))
        netns.enter(far)
        run("ip", "-batch", "-", input="\n".join(f"link set {name} up" for name in interfaces))
        for name in interfaces:
            self._add_socket("input", name, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        netns.enter(near)
        self._add_socket("input", "lo", socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        for name in ("lo", *interfaces):
            self._add_socket("output", name, raw_socket(socket.AF_INET, name))
            self._add_socket("output6", name, raw_socket(socket.AF_INET6, name))
        self._join()

    def _descriptor(self) -> int:
        descriptor = netns.current()
        self._open.callback(os.close, descriptor)
        return descriptor

    def _add_socket(self, kind: str, interface: str, opened: socket.socket) -> None:
        if kind == "input":
            opened.bind((interface, 0))
        self._sockets[kind, interface] = self._open.enter_context(opened)

    def _join(self) -> None:
        """Become a member of the groups that packets come in for: others never reach the input hook."""
        groups = {(shot.packet.daddr, shot.packet.interface) for shot in self._shots}
        for group, interface in groups:
            with contextlib.suppress(OSError):  # EINVAL: not a multicast address; EADDRINUSE
                self._open.enter_context(member(group, interface))

    # --- packets and sets ---------------------------------------------------------------------

    def _send(self, packet: Packet, idents: tuple[int, ...]) -> None:
        for data in datagrams(packet, idents):
            if packet.hook == "input":
                link = bytes(12) if packet.interface == "lo" else MAC + bytes(6)
                ethertype = b"\x86\xdd" if packet.ipv6 else b"\x08\x00"
                self._sockets["input", packet.interface].send(link + ethertype + data)
                continue
            opened = self._sockets["output6" if packet.ipv6 else "output", packet.interface]
            with contextlib.suppress(PermissionError):  # how a drop in the output hook looks from above
                opened.sendto(data, (packet.daddr, 0))

    @staticmethod
    def _nft(text: str) -> None:
        run("nft", "-f", "-", input=text)

    def _listing(self) -> dict[str, set[int]]:
        """The probe's sets. Packets are through when `send` returns, unless softirqs are put off."""
        wanted = {ident for shot in self._shots for ident in shot.idents}
        deadline = time.monotonic() + 1
        while True:
            found = _read_sets(run("nft", "-n", "-j", "list", "table", "inet", "oracle").stdout)
            if wanted <= found["seen"] or time.monotonic() > deadline:
                return found
            time.sleep(0.02)


def _verdict(shot: _Shot, found: dict[str, set[int]]) -> str:
    idents = set(shot.idents)
    packet = shot.packet
    if not idents <= found["seen"]:
        raise OracleError(f"the kernel took it for no packet of this hook: {packet}")
    states = {state for state in STATES if idents & found[state]}
    if states and states != {packet.state}:
        raise OracleError(f"to conntrack this is {', '.join(states)}: {packet}")
    if idents <= found["alive"]:
        return ACCEPT
    if idents & found["rejected"]:
        return REJECT
    stopped = packet.hook == "input" and idents <= found["passed"] - found["reached"]
    if stopped and packet.fragment != "pair":
        raise OracleError(f"the kernel itself stops it between prerouting and input: {packet}")
    return DROP


def _topology(interfaces: Iterable[str], far: str) -> list[str]:
    lines = ["link set lo up", "route add local 0.0.0.0/0 dev lo", "route add local ::/0 dev lo"]
    for index, name in enumerate(interfaces, 1):
        lines += [
            f"link add {name} type veth peer name {name} netns {far}",
            # No ARP and no neighbour discovery: whatever is sent leaves at once.
            f"link set {name} address {MAC.hex(':')} arp off up",
            # To masquerade takes an address of one's own (one for measurements: RFC 2544).
            f"address add 198.18.0.{index}/32 dev {name}",
            f"route add 0.0.0.0/0 dev {name} metric {index}",
            f"route add ::/0 dev {name} metric {index}",
            f"route add local fe80::/10 dev {name} metric {index} table local",
        ]
    return lines


def _note(name: str) -> str:
    """Rules that put a packet's number into a set."""
    return f"meta nfproto ipv4 add @{name} {{ @nh,32,16 }}\nmeta nfproto ipv6 add @{name} {{ @nh,16,16 }}\n"


def _chain(name: str, hook: str, priority: int, rules: str) -> str:
    return f"chain {name} {{\ntype filter hook {hook} priority {priority}; policy accept;\n{rules}}}\n"


def _zones(shots: Sequence[_Shot], tracked: bool) -> str:
    """A zone for each packet, or none at all for the untracked, before conntrack and defragmentation."""
    if not tracked:
        return ""
    tracks = [shot for shot in shots if shot.packet.state != "untracked"]
    zones = [f"{ident} : {shot.idents[0]}" for shot in tracks for ident in shot.idents]
    untracked = [str(ident) for shot in shots if shot.packet.state == "untracked" for ident in shot.idents]
    text = ""
    for family, key in (("ipv4", "@nh,32,16"), ("ipv6", "@nh,16,16")):
        if zones:
            text += f"meta nfproto {family} ct zone set {key} map {{ {', '.join(zones)} }}\n"
        if untracked:
            text += f"meta nfproto {family} {key} {{ {', '.join(untracked)} }} notrack\n"
    return text


def _probe(shots: Sequence[_Shot], tracked: bool, *, recording: bool) -> str:
    """The table `oracle`. Not `recording`: only zones, and no answer of the kernel's leaves."""
    begin = "\nadd table inet oracle\ndelete table inet oracle\ntable inet oracle {\n"
    zones = _zones(shots, tracked)
    foreign = f"meta priority != {OURS_NFT}"
    if not recording:
        incoming = _chain("from_wire", "prerouting", -1000, zones)
        return begin + incoming + _chain("from_host", "output", -1000, f"{foreign} drop\n{zones}") + "}\n"
    sets = "".join(f"set {name} {{ typeof ip id; flags dynamic; size 65535; }}\n" for name in SETS)
    # The error repeats the header it is about; a reset only the numbers.
    rejected = (
        f"{foreign} icmp type destination-unreachable add @rejected {{ @th,96,16 }}\n"
        f"{foreign} icmpv6 type destination-unreachable add @rejected {{ @th,80,16 }}\n"
        f"{foreign} tcp flags & rst == rst add @rejected {{ @th,40,16 }} add @rejected {{ @th,72,16 }}\n"
        f"{foreign} drop\n"
    )
    states = "".join(
        f"ct state {state} {line}\n" for state in STATES for line in _note(state).splitlines() if tracked
    )
    chains = (
        ("from_wire", "prerouting", -1000, _note("seen") + zones),
        ("wire_state", "prerouting", -199, states),
        ("routing", "prerouting", 1000, _note("passed")),
        ("before", "input", -1000, _note("reached")),
        # What passed is noted and goes no further, so no port answers.
        ("after", "input", 1000, _note("alive") + "drop\n"),
        ("from_host", "output", -1000, rejected + _note("seen") + zones),
        ("host_state", "output", -199, states),
        ("leaving", "postrouting", 1000, _note("alive") + "drop\n"),
    )
    return begin + sets + "".join(_chain(*chain) for chain in chains) + "}\n"


def _read_sets(listing: str) -> dict[str, set[int]]:
    objects = [entry["set"] for entry in json.loads(listing)["nftables"] if "set" in entry]
    return {entry["name"]: set(entry.get("elem", ())) for entry in objects}
