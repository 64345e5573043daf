"""The kernel under many rulesets: real packets by the thousand, and what became of each.

Two hosts, each a network namespace with a veth interface for each name of INTERFACES and a probe table
that notes the numbers of packets at both ends of their way: `HOST` takes every address for its own,
`ROUTER` none, unless a packet's number says otherwise. A number has three parts: the interface that the
packet is to leave by, or that it is for this host; a count; whether it is untracked. The probe makes of it
the conntrack zone (no two packets ever share a connection) and, after the last chain of prerouting, the
mark that chooses the route, which is gone before the next chain.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from fwpolicy.deploy.trial.flows import Flows
from fwpolicy.deploy.trial.watch import zone
from fwpolicy.deploy.trial.wire import UNTRACKED, datagram
from fwpolicy.host.arena import HERE, MAC, OURS_NFT, TRACKING, Arena
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.setmembers import Sets
from fwpolicy.model import fields
from fwpolicy.record import record

from .holder import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INTERFACES = ("eth0", "eth1", "eth10", "eth", "wg", "wg0", "wg7", "wlan0", "e", "ppp0")
NAMES = {fields.interface(name)[0][0]: name for name in (*INTERFACES, "lo")}
# Codes 1 to 10 are INTERFACES: by which one the packet leaves.
AS_ROUTED, LOCAL = 0, 15
COUNT_BITS, NOTRACK = 11, 0x8000
# Groups that the hosts are members of, on every interface.
GROUPS = ("224.0.0.1", "224.0.1.1", "239.255.255.250", "ff02::1", "ff02::fb", "ff05::101")
WITH_DETAIL = ("states", "errors4", "errors6")
CAME_OUT = ("out4", "out6")
SETS = ("seen", "routed", "arrived_in", "arrived_through", "alive", "resets")
EMPTIED = "".join(f"flush set inet oracle {name}; " for name in (*SETS, *WITH_DETAIL, *CAME_OUT))
EMPTIED += "flush map inet oracle redirect4; flush map inet oracle redirect6; "
ERRORS = {
    4: {
        **{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable"},
        **{9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"},
    },
    6: {
        **{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable"},
        **{5: "policy-fail", 6: "reject-route"},
    },
}
# It has variables of its own; iptables' commands may run side by side.
LIBNFTABLES = Lock()
TABLE = re.compile(r"^table (\w+ \w+) ?\{", re.MULTILINE)
XTABLES = re.compile(r"^\*(\w+)", re.MULTILINE)
STATE_BITS = {1 << 0: "invalid", 1 << 1: "established", 1 << 2: "related", 1 << 3: "new", 1 << 6: "untracked"}
LINK = {0: MAC, 1: b"\xff" * 6, 2: bytes.fromhex("01005e000001")}


@record
class Seen:
    """What became of a packet: `verdict` is "accept", "drop", "reject:KIND", or "" where the kernel itself
    stopped it, or took it elsewhere; `state`: what conntrack called it, "" where it was never asked; `ident`:
    the number that it had."""

    verdict: str
    state: str
    ident: int


class Host:
    """A namespace under test, and its far side; the calling thread may be anywhere."""

    def __init__(self, *, everything_is_local: bool) -> None:
        self._count = 0
        self._loaded: list[str] = []
        self._undo: list[tuple[str, str]] = []
        self._sets = False
        self._arena = Arena(INTERFACES, everything_is_local=everything_is_local)
        with self._arena.inside():
            self._flows, self._reader = Flows(), Sets()
            self._nft = Nftables()
            self._nft.load(_probe())
        self._arena.set(TRACKING)
        for name in INTERFACES:
            for group in GROUPS:
                self._arena.join(group, name)

    def close(self) -> None:
        self._flows.close()
        self._reader.close()
        self._arena.close()

    @contextmanager
    def inside(self) -> Iterator[Nftables]:
        """The calling thread in the namespace under test."""
        with self._arena.inside():
            yield self._nft

    def load(self, text: str, restore: Sequence[tuple[str, str]] = ()) -> None:
        """Put a ruleset in the place of the last one: nft text, and what commands load besides."""
        with self.inside() as nft:
            # What was refused half way may have left some of its tables, or none.
            old = "".join(f"table {name}; delete table {name}; " for name in self._loaded)
            while self._undo:
                command, given = self._undo.pop()
                run(command, input=given)
            # In one line, so that what is refused is refused by its own.
            with LIBNFTABLES:
                nft.load(old + EMPTIED + text)
            self._loaded = list(dict.fromkeys(TABLE.findall(text)))
            self._forget_sets()
            for command, given in restore:
                self._undo_later(command, given)
                run(*command.split(), input=given)

    def _undo_later(self, command: str, given: str) -> None:
        if command.startswith("ipset"):
            self._sets = True
        elif "legacy" in command:
            self._undo.append((command.split(maxsplit=1)[0], _emptied(given)))
        else:
            family = "ip6" if command.startswith("ip6") else "ip"
            self._loaded += [f"{family} {name}" for name in XTABLES.findall(given)]

    def _forget_sets(self) -> None:
        """Those of ipset, when no rule knows them any more: nftables lets go of rules a while after."""
        deadline = time.monotonic() + 5
        while self._sets and run("ipset", "destroy", check=time.monotonic() > deadline).returncode:
            time.sleep(0.002)
        self._sets = False

    def fill(self, name: str, members: Sequence[str]) -> bool:
        """Put members into a set that is filled at run time: ipset's, where there are any, or nft's. Whether
        there is such a set."""
        if not self._sets:
            self.command(f"add element inet fwpolicy {name} {{ {', '.join(members)} }}\n")
            return True
        text = "".join(f"add fwp-{name} {each}\n" for each in members)
        with self.inside():
            return run("ipset", "restore", input=text, check=False).returncode == 0

    def command(self, text: str) -> None:
        """More nft commands."""
        with self.inside() as nft:
            nft.load(text)

    def ask(self, packets: Sequence[tuple[str, Mapping[str, int]]]) -> list[Seen]:
        """Send the packets, each (hook, fields); what becomes of each."""
        found: list[Seen] = []
        size = (1 << COUNT_BITS) - 1
        for start in range(0, len(packets), size):
            found += self._ask(packets[start : start + size])
        return found

    def _ask(self, packets: Sequence[tuple[str, Mapping[str, int]]]) -> list[Seen]:
        if self._count + len(packets) >= 1 << COUNT_BITS:
            self._count = 0
            self._flows.forget()
            self.command(EMPTIED)
        numbered = [(hook, {**found, "ident": self._number(found, hook)}) for hook, found in packets]
        self._flows.know((found, zone(found["ident"])) for _, found in numbered)
        self._redirect([found for _, found in numbered if found.get("dnat")])
        for hook, found in numbered:
            self._send(found, hook)
        sets = self._found({found["ident"] for _, found in numbered})
        return [_seen(found["ident"], hook, found["nfproto"], sets) for hook, found in numbered]

    def came_out(self, ident: int, family: int) -> tuple[int, int, int, int] | None:
        """(source, destination, source port, destination port) with which a packet left."""
        size = 4 if family == 4 else 16
        for key in self._reader.members("oracle", f"out{family}"):
            if int.from_bytes(key[:2], "big") == ident:
                ends = key[4 : 4 + size], key[4 + size : 4 + 2 * size]
                ports = key[4 + 2 * size : 6 + 2 * size], key[8 + 2 * size : 10 + 2 * size]
                source, destination, sport, dport = (int.from_bytes(p, "big") for p in (*ends, *ports))
                return source, destination, sport, dport
        return None

    def _number(self, found: Mapping[str, int], hook: str) -> int:
        self._count += 1
        code = AS_ROUTED
        if hook == "forward":
            code = 1 + INTERFACES.index(NAMES[found["oif"]])
        elif hook == "input" and found.get("daddrtype", 2) == fields.ADDRESS_TYPES.index("local"):
            code = LOCAL
        return (NOTRACK if found["ctstate"] == UNTRACKED else 0) | self._count << 4 | code

    def _redirect(self, packets: Sequence[Mapping[str, int]]) -> None:
        """Have the packets' destinations changed on their way, for "first asked for something else"."""
        text = ""
        for family in (4, 6):
            own = [each for each in packets if each["nfproto"] == family]
            texts = (f"{each['ident']} : {_address(each, 'daddr')} . {each['dport']}" for each in own)
            if own:
                text += f"add element inet oracle redirect{family} {{ {', '.join(texts)} }}\n"
        if text:
            self.command(text)

    def _send(self, found: Mapping[str, int], hook: str) -> None:
        family = found["nfproto"]
        if hook == "output":
            data, to = datagram(found, found["ident"]), _address(found, "daddr")
            # How a drop in the output hook looks from above.
            with contextlib.suppress(PermissionError):
                self._arena.send(NAMES[found["oif"]], family, data, to)
            return
        if found.get("dnat"):
            asked = {f"daddr{family}": found[f"origdaddr{family}"], "dport": found["origport"]}
            found = {**found, **asked}
        name = NAMES[found["iif"]]
        link = bytes(12) if name == "lo" else LINK[found.get("pkttype", 0)] + bytes(6)
        ethertype = b"\x08\x00" if family == 4 else b"\x86\xdd"
        if hook == "forward":
            # One less when the forward hook sees it (ip_forward, ip6_forward; seen).
            found = {**found, "ttl": found["ttl"] + 1}
        self._arena.receive(name, link + ethertype + datagram(found, found["ident"]))

    def _found(self, wanted: set[int]) -> dict[str, dict[int, int]]:
        """The probe's sets. Packets are through when `send` returns, unless softirqs are put off."""
        deadline = time.monotonic() + 0.05
        while not wanted <= (seen := self._read("seen")).keys() and time.monotonic() < deadline:
            time.sleep(0.005)
        return {"seen": seen, **{name: self._read(name) for name in (*SETS[1:], *WITH_DETAIL)}}

    def _read(self, name: str) -> dict[int, int]:
        """Number -> detail: a key of two parts has each in four bytes, what is a number in the kernel's own
        order."""
        found = {}
        for key in self._reader.members("oracle", name):
            detail = int.from_bytes(key[4:], "little") if name == "states" else key[4] if key[4:] else 0
            found[int.from_bytes(key[:2], "big")] = detail
        return found


NUMBER = {"ipv4": "@nh,32,16", "ipv6": "@nh,16,16"}


def _each(text: str) -> str:
    """Rules for both families; NUMBER stands for where the packet's number is."""
    return "".join(f"meta nfproto {v} {text.replace('NUMBER', place)}\n" for v, place in NUMBER.items())


def _probe() -> str:
    """The table `oracle`, the same for every ruleset."""
    foreign = f"meta priority != {OURS_NFT}"
    answers = (
        f"{foreign} icmp type destination-unreachable add @errors4 {{ @th,96,16 . icmp code }}\n"
        f"{foreign} icmpv6 type destination-unreachable add @errors6 {{ @th,80,16 . icmpv6 code }}\n"
        f"{foreign} tcp flags & rst == rst add @resets {{ @th,40,16 }} add @resets {{ @th,72,16 }}\n"
        f"{foreign} drop\n"
    )
    note = {name: _each(f"add @{name} {{ NUMBER }}") for name in SETS}
    # Else conntrack would wait for the rest (-400).
    begin = note["seen"] + "ip frag-off & 0x3fff != 0 @nh,32,16 & 0x8000 != 0 notrack\n"
    begin += "exthdr frag exists @nh,16,16 & 0x8000 != 0 notrack\n"
    # All others as late as can be: a packet with a zone reads as established before it is looked up (seen).
    zones = _each("NUMBER & 0x8000 == 0 ct zone set NUMBER") + _each("NUMBER & 0x8000 != 0 notrack")
    states = _each("add @states { NUMBER . ct state }")
    marks = {code: code for code in range(1, len(INTERFACES) + 1)} | {LOCAL: HERE}
    codes = ", ".join(f"{code} : {mark}" for code, mark in marks.items())
    routing = note["routed"] + _each(f"meta mark set NUMBER & 0xf map {{ {codes} }}")
    redirect = "".join(
        f"meta l4proto {proto} dnat {v} to {place} map @redirect{v[2:] or 4}\n"
        for v, place in (("ip", "@nh,32,16"), ("ip6", "@nh,16,16"))
        for proto in (6, 17, 132)
    )
    came_out = "".join(
        f"meta l4proto {proto} add @out{digit} {{ {place} . {v} saddr . {v} daddr . @th,0,16 . @th,16,16 }}\n"
        for digit, v, place in (("4", "ip", "@nh,32,16"), ("6", "ip6", "@nh,16,16"))
        for proto in (6, 17)
    )
    chains = (
        ("from_wire", "filter", "prerouting", -1000, begin),
        ("wire_zone", "filter", "prerouting", -201, zones),
        ("host_zone", "filter", "output", -201, zones),
        ("wire_state", "filter", "prerouting", -199, states),
        ("redirecting", "nat", "prerouting", -198, redirect),
        ("routing", "filter", "prerouting", 1000, routing),
        ("coming_in", "filter", "input", -1000, note["arrived_in"] + "meta mark set 0\n"),
        # What passed is noted and goes no further, so no port answers.
        ("in", "filter", "input", 1000, note["alive"] + "drop\n"),
        ("coming_through", "filter", "forward", -1000, note["arrived_through"] + "meta mark set 0\n"),
        ("from_host", "filter", "output", -1000, answers + begin),
        ("host_state", "filter", "output", -199, states),
        ("leaving", "filter", "postrouting", 1000, note["alive"] + came_out + "drop\n"),
    )
    text = "table inet oracle {\n"
    for name in SETS:
        text += f"set {name} {{ typeof ip id; flags dynamic; size 65535; }}\n"
    for name, of in (("states", "ct state"), ("errors4", "icmp code"), ("errors6", "icmpv6 code")):
        text += f"set {name} {{ typeof ip id . {of}; flags dynamic; size 65535; }}\n"
    for digit, v in (("4", "ip"), ("6", "ip6")):
        ends = f"{v} saddr . {v} daddr . udp sport . udp dport"
        text += f"set out{digit} {{ typeof ip id . {ends}; flags dynamic; size 65535; }}\n"
    text += "map redirect4 { typeof ip id : ip daddr . tcp dport; }\n"
    text += "map redirect6 { typeof ip id : ip6 daddr . tcp dport; }\n"
    for name, kind, hook, priority, rules in chains:
        text += f"chain {name} {{\ntype {kind} hook {hook} priority {priority}; policy accept;\n{rules}}}\n"
    return text + "}\n"


def _emptied(text: str) -> str:
    """The tables of an iptables text without rules, as they are before anybody has any."""
    kept = (line for line in text.splitlines() if line.startswith(("*", "C", ":")) and " - " not in line)
    return "".join(f"{line.replace(' DROP ', ' ACCEPT ')}\n" for line in kept)


def _address(found: Mapping[str, int], side: str) -> str:
    family = found["nfproto"]
    packed = found[f"{side}{family}"].to_bytes(4 if family == 4 else 16, "big")
    return socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, packed)


def _seen(ident: int, hook: str, family: int, sets: Mapping[str, Mapping[int, int]]) -> Seen:
    state = STATE_BITS.get(sets["states"].get(ident, 0), "")
    if ident not in sets["seen"]:
        return Seen("", state, ident)
    stops = {"input": "arrived_in", "forward": "arrived_through"}
    elsewhere = [sets[place] for name, place in stops.items() if name != hook]
    if any(ident in place for place in elsewhere):
        return Seen("", state, ident)
    if ident in sets["alive"]:
        return Seen("accept", state, ident)
    if ident in sets["resets"]:
        return Seen("reject:tcp-reset", state, ident)
    if ident in sets[f"errors{family}"]:
        return Seen(f"reject:{ERRORS[family][sets[f'errors{family}'][ident]]}", state, ident)
    if hook in stops and ident in sets["routed"] and ident not in sets[stops[hook]]:
        return Seen("", state, ident)
    return Seen("drop", state, ident)
