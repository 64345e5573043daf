"""Packets drawn from a diagram: a random path, a random atom, the ends of its intervals.

Only packets that the arena can send: interfaces that are there, addresses that the kernel routes, states
that can be made. What a draw leaves open is filled with what other rulesets of the tests are about.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from fwpolicy.addresses import parse
from fwpolicy.deploy.trial.flows import REPLIES, REQUESTS
from fwpolicy.deploy.trial.wire import (
    ESTABLISHED,
    ICMP,
    ICMPV6,
    PORTED,
    QUOTED_PORTS,
    QUOTING,
    RELATED,
    datagram,
    matches_family,
)
from fwpolicy.model import fields
from fwpolicy.model.diagram import TERMINALS
from fwpolicy.model.fields import ADDRESS_TYPES, NO_INTERFACE, STATES
from fwpolicy.model.hooks import CONNTRACK

from .arena import GROUPS, INTERFACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

    from fwpolicy.addresses import Interval
    from fwpolicy.model.build import Build
    from fwpolicy.model.program import Base

    Packet = dict[str, int]

T = TypeVar("T")

LO = fields.interface("lo")[0][0]
NAMED = {name: fields.interface(name)[0][0] for name in INTERFACES}
LOCAL, UNICAST, BROADCAST, MULTICAST = (
    ADDRESS_TYPES.index(name) for name in ("local", "unicast", "broadcast", "multicast")
)
# Not the extension headers of IPv6: whoever sends one sends another protocol.
PROTOCOLS = {4: (6, 17, 1, 132, 50, 47, 112, 58, 89, 253), 6: (6, 17, 58, 132, 47, 112, 1, 89, 253)}
EXTENSIONS = (0, 43, 44, 50, 51, 59, 60, 135, 139, 140)
USUAL: dict[str, tuple[int, ...]] = {
    "ctstate": (0, 0, 1, 2, 3, 4),
    "icmptype": (8, 128, 3, 1, 0, 129, 135, 13),
    "dport": (22, 53, 123, 443, 1023, 40000),
    "sport": (40000, 123, 53, 1024),
    "tcpflags": (2, 16, 18, 4, 1),
    "ntpmode": (3, 4, 6, 7, fields.NO_MODE),
}
FEW = {"snat": (0,), "mark": (0,), "ctmark": (0,), "length": tuple(range(60, 150))}
HOPS = (2, 3, 64, 65, 127, 128, 254, 100)
# Never sent, for the kernel drops them itself: martians, and what IPv6 calls one (ip6_rcv_core).
MARTIANS4 = ((0, 0xFFFFFF), (0x7F000000, 0x7FFFFFFF), (0xE0000000, 0xFFFFFFFF))
MARTIANS6 = ((0, (1 << 48) - 1), (0xFF << 120, (1 << 128) - 1))
LINK_LOCAL6 = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)
OF_FAMILY = {v: frozenset(f"{side}addr{v}" for side in ("s", "d", "origs", "origd")) for v in (4, 6)}
# Fields whose value has to go with others'.
BOUND = OF_FAMILY[4] | OF_FAMILY[6] | {"dnat", "ctdir", "l4proto", "fragment", "th"}
IN_GROUPS = {v: tuple(parse(group)[1] for group in GROUPS if (":" in group) == (v == 6)) for v in (4, 6)}
# Where the kernel translates, whatever the priority of a chain of type nat (nf_nat_core; seen).
DSTNAT = -100
TRIES = 12
# Who sends what leaves the host: these tests.
OURS = 0


class Drawer:
    """Packets of the diagram `root` of `build`. `broadcast4` and groups stand for what is for many."""

    def __init__(self, build: Build, root: int, random: Random) -> None:
        self.build, self.root, self.random = build, root, random
        first = min((base.priority for base in _bases(build)), default=0)
        # Chains before conntrack see fragments, those before NAT what a packet first asked for: the model has
        # one value of a field for the whole way.
        self._before_tracking, self._before_nat = first < CONNTRACK, first < DSTNAT
        self.hook = build.hook
        self._impossible = build.terminal("impossible")
        self._masked: dict[tuple[int, int], Sequence[Sequence[Interval]]] = {}
        self._fixed = {**FEW, "time": (int(time.time()),), **_of_hook(self.hook)}
        self._found = {
            "daddrtype": self._destination_types,
            "saddrtype": self._source_types,
            "l4proto": self._protocols,
            "pkttype": self._link_types,
            "origport": self._original_port,
            "daddr4": self._destinations,
            "daddr6": self._destinations,
        }

    def packet(self) -> Packet | None:
        """One packet; None where none was found."""
        for _ in range(TRIES):
            found = self._walk()
            if found is not None and self._complete(found):
                return found
        return None

    def _walk(self) -> Packet | None:
        found: Packet = {"nfproto": self._any((4, 6))}
        diagrams, atoms = self.build.diagrams, self.build.atoms
        node = self.root
        for level, field in enumerate(atoms.fields):
            here = node >= TERMINALS and diagrams.level(node) == level
            edges = diagrams.edges(node) if here else ((node, atoms.full[level]),)
            for child, mask in self._in_any_order(edges, len(edges)):
                value = None if child == self._impossible else self._of_atoms(field, level, mask, found)
                if value is not None:
                    found[field] = value
                    node = child
                    break
            else:
                return None
        return found

    def _any(self, some: Sequence[T]) -> T:
        # Half the time of Random.choice, which is most of what drawing takes.
        return some[int(self.random.random() * len(some))]

    def _in_any_order(self, some: Sequence[T], most: int) -> Sequence[T]:
        """From any place on, and round: a tenth of the time of Random.sample."""
        if len(some) == 1:
            return some
        first = int(self.random.random() * len(some))
        return (*some[first : first + most], *some[: min(first, max(0, first + most - len(some)))])

    def _of_atoms(self, field: str, level: int, mask: int, found: Packet) -> int | None:
        own = self._masked.get((level, mask))
        if own is None:
            values = self.build.atoms.values[level]
            own = [each for number, each in enumerate(values) if mask >> number & 1]
            self._masked[level, mask] = own
        for intervals in self._in_any_order(own, 4):
            value = self.value(field, intervals, found)
            if value is not None:
                return value
        return None

    def value(self, field: str, intervals: Sequence[Interval], found: Packet) -> int | None:
        """A value of `field` within `intervals` that goes with what was found so far."""
        likely = self._candidates(field, found)
        if likely is None:
            return self._of_ends(field, self._any(intervals), found)
        inside = [each for each in likely if _within(each, intervals) and self._can_be(field, each, found)]
        return self._any(inside) if inside else None

    def _of_ends(self, field: str, interval: Interval, found: Packet) -> int | None:
        """An end of the interval, or what is between."""
        first, last = interval
        if first == last:
            return first if self._can_be(field, first, found) else None
        for end in self._in_any_order((first, last, None), 3):
            value = self.random.randint(first, last) if end is None else end
            if self._can_be(field, value, found):
                return value
        return None

    def _candidates(self, field: str, found: Packet) -> Sequence[int] | None:
        """All values that can be sent of fields that have few; None where any can."""
        if field in self._fixed:
            return self._fixed[field]
        if field in self._found:
            return self._found[field](field, found)
        if field.startswith("limit:"):
            return (1,)
        return (0,) if field.startswith("opaque:") else None

    def _destinations(self, field: str, found: Packet) -> Sequence[int] | None:
        """What is for many has few addresses."""
        v, wanted = found["nfproto"], found.get("daddrtype")
        if not field.endswith(str(v)) or wanted not in (MULTICAST, BROADCAST):
            return None
        return IN_GROUPS[v] if wanted == MULTICAST else (0xFFFFFFFF,)

    def _destination_types(self, _: str, found: Packet) -> tuple[int, ...]:
        if not is_at_host(self.hook, found):
            return (UNICAST,)
        if self.hook == "output":
            return (LOCAL,)
        return (LOCAL, LOCAL, LOCAL, MULTICAST) + ((BROADCAST,) if found["nfproto"] == 4 else ())

    def _source_types(self, _: str, found: Packet) -> tuple[int, ...]:
        return (LOCAL,) if is_at_host(self.hook, found) else (UNICAST,)

    def _protocols(self, _: str, found: Packet) -> tuple[int, ...] | None:
        return None if self.random.random() < 1 / 4 else PROTOCOLS[found["nfproto"]]

    def _link_types(self, _: str, found: Packet) -> tuple[int, ...]:
        return (0, 1, 2) if self.hook == "input" and found.get("iif") != LO else (0,)

    def _original_port(self, _: str, found: Packet) -> tuple[int, ...] | None:
        if found.get("dnat"):
            return None
        return (found.get("sport" if _replies(found) else "dport", 0),)

    def _can_be(self, field: str, value: int, found: Packet) -> bool:
        v = found["nfproto"]
        if field in OF_FAMILY[10 - v] or field not in BOUND:
            return True  # nobody looks at it, or anything goes
        match field:
            case "dnat" if value:
                state = found.get("ctstate", 0)
                return self.hook != "output" and STATES[state] == "new" and not self._before_nat
            case "ctdir" if value:
                return found.get("ctstate") == STATES.index("established")
            case "l4proto" if found.get("dnat"):
                return value in (6, 17, 132)
            case "l4proto":
                return v == 4 or value not in EXTENSIONS
            case "fragment" if value:
                return self._can_be_fragment(found)
            case "th":
                return bool(value)
        return field not in OF_FAMILY[v] or self._can_be_address(field, value, found)

    def _can_be_address(self, field: str, value: int, found: Packet) -> bool:
        v = found["nfproto"]
        if field == f"daddr{v}":
            return self._is_destination(v, value, found)
        if field == f"origdaddr{v}":
            return not found.get("dnat") or not _martian(v, value)
        return _is_source(v, value, self.hook)

    def _can_be_fragment(self, found: Packet) -> bool:
        if found.get("ctstate") != STATES.index("untracked") or self._before_tracking:
            return False
        return found["nfproto"] == 6 or self.hook != "input"

    def _is_destination(self, v: int, value: int, found: Packet) -> bool:
        wanted = found.get("daddrtype")
        if v == 6 and value == ROUTERS:
            return False  # goes to `lo`: a router has it itself
        if self.hook == "forward" or wanted in (None, LOCAL, UNICAST):
            plain = not _martian(v, value)
            if self.hook == "forward":
                return plain and not (v == 6 and _within(value, LINK_LOCAL6))
            if plain or wanted is not None or found.get("dnat"):
                return plain
        if wanted in (None, MULTICAST) and value in IN_GROUPS[v]:
            return True
        return wanted in (None, BROADCAST) and v == 4 and value == 0xFFFFFFFF

    def _complete(self, found: Packet) -> bool:
        """Give a value to what no path asked about; whether that was possible."""
        order = ("iif", "oif", "ctstate", "dnat", "ctdir", "l4proto", "fragment", "th")
        order += ("icmptype", "icmpcode", "dport", "sport", "tcpflags", "ntpmode", "origport")
        v = found["nfproto"]
        for field in (*order, f"daddr{v}", f"saddr{v}"):
            if field not in found:
                found[field] = self._free(field, found)
        # To itself: both directions of a connection are then one.
        if found[f"daddr{v}"] == found[f"saddr{v}"]:
            return False
        return all(self._can_be(field, found[field], found) for field in (f"daddr{v}", f"saddr{v}"))

    def _free(self, field: str, found: Packet) -> int:
        likely = self._candidates(field, found) or USUAL.get(field)
        if field == "l4proto":
            likely = PROTOCOLS[found["nfproto"]]
        if field in ("fragment", "dnat", "ctdir", "icmpcode"):
            return 0
        if field == "th":
            return 1
        if field[1:5] == "addr":
            return self._address(found)
        usable = [value for value in likely or (0,) if self._can_be(field, value, found)]
        return self._any(usable)

    def _address(self, found: Packet) -> int:
        v, wanted = found["nfproto"], found.get("daddrtype")
        if wanted == MULTICAST:
            return self._any(IN_GROUPS[v])
        if wanted == BROADCAST:
            return 0xFFFFFFFF
        taken = found.get(f"daddr{v}"), found.get(f"saddr{v}")
        return self._any([each for each in SOME[v] if each not in taken])


def _of_hook(hook: str) -> dict[str, tuple[int, ...]]:
    """What the hook leaves few values for."""
    owner = (OURS,) if hook == "output" else (fields.NO_OWNER,)
    some = tuple(NAMED.values()) if hook == "forward" else (*NAMED.values(), LO)
    return {
        "iif": (NO_INTERFACE,) if hook == "output" else some,
        "oif": (NO_INTERFACE,) if hook == "input" else some,
        "ttl": HOPS if hook == "forward" else (*HOPS, 255),
        "skuid": owner,
        "skgid": owner,
    }


def _bases(build: Build) -> Iterator[Base]:
    for program in build.programs:
        for passed in ("prerouting", "output"):
            yield from (chain.base for chain in program.bases(passed) if chain.base)


SOME = {
    4: tuple(parse(text)[1] for text in ("192.0.2.1", "198.51.100.7", "10.1.2.3", "203.0.113.9")),
    6: tuple(parse(text)[1] for text in ("2001:db8::1", "2001:db8:bad::9", "fd00::7")),
}


def realised(hook: str, drawn: Mapping[str, int]) -> Packet:
    """The packet's fields as the kernel sees them once it is sent: what a draw had no say in, and what
    follows from the rest."""
    found = dict(drawn)
    v = found["nfproto"]
    if found["l4proto"] in (ICMP, ICMPV6):
        found["ctdir"] = int(_replies(found))
    found.setdefault("snat", 0)
    destination = found[f"daddr{v}"]
    local = LOCAL if is_at_host(hook, found) else UNICAST
    first4 = destination >> 28 == 0xE if v == 4 else destination >> 120 == 0xFF
    kind = MULTICAST if first4 else BROADCAST if v == 4 and destination == 0xFFFFFFFF else local
    found["daddrtype"] = kind
    found["saddrtype"] = local
    if not found.get("dnat"):
        other = "sport" if found["ctdir"] else "dport"
        found["origport"] = found.get(other, 0)
        found[f"origdaddr{v}"] = found[f"saddr{v}" if found["ctdir"] else f"daddr{v}"]
        found[f"origsaddr{v}"] = found[f"daddr{v}" if found["ctdir"] else f"saddr{v}"]
    else:
        found.setdefault(f"origdaddr{v}", SOME[v][1])
        if found[f"origdaddr{v}"] == destination:
            found[f"origdaddr{v}"] = next(each for each in SOME[v] if each != destination)
        found[f"origsaddr{v}"] = found[f"saddr{v}"]
    found.setdefault("ttl", 64 if v == 4 else 254 if hook == "forward" else 255)
    found.setdefault("dscp", 0)
    found["time"] = int(time.time())
    found["skuid"] = found["skgid"] = OURS if hook == "output" else fields.NO_OWNER
    if found["l4proto"] not in PORTED:
        found["dport"] = found["sport"] = 0
        found["origport"] = QUOTED_PORTS[1] if _quotes(found) else 0
    found["length"], wanted = len(datagram({**found, "length": 0}, 1)), found.get("length", 0)
    if found["length"] < wanted:
        if found["ntpmode"] == fields.NO_MODE:
            found["ntpmode"] = 0
            found["length"] += 8
        found["length"] = max(found["length"], wanted)
    found["length"] = len(datagram(found, 1))
    return found


def is_at_host(hook: str, found: Mapping[str, int]) -> bool:
    """Whether it is the host's that takes every address for its own: what goes to `lo` comes back there."""
    return hook == "input" or (hook == "output" and found.get("oif") == LO)


def _replies(found: Mapping[str, int]) -> bool:
    own = found.get("l4proto", 0)
    if own in REPLIES:
        kind, known = found.get("icmptype", 0), found.get("ctstate") in (ESTABLISHED, RELATED)
        return known and (_quotes(found) or (kind in REPLIES[own] and kind not in REQUESTS[own]))
    return bool(found.get("ctdir"))


def _quotes(found: Mapping[str, int]) -> bool:
    """An error is of the connection that it is about, and against its direction."""
    if found.get("ctstate") != RELATED or found.get("l4proto") not in QUOTING or not matches_family(found):
        return False
    return found.get("icmptype", 0) in QUOTING[found["l4proto"]]


def _is_source(v: int, value: int, hook: str) -> bool:
    if _martian(v, value):
        return False
    # "Security critical", says ip6_forward: what has a link-local source goes no further.
    return not (v == 6 and hook == "forward" and _within(value, LINK_LOCAL6))


def _martian(v: int, value: int) -> bool:
    return _within(value, MARTIANS4 if v == 4 else MARTIANS6)


def _within(value: int, intervals: Sequence[Interval]) -> bool:
    for first, last in intervals:  # noqa: SIM110 (half the time of any())
        if first <= value <= last:
            return True
    return False


# The anycast address of every link's routers (RFC 4291, 2.6.1): Linux sends it no errors.
ROUTERS = 0xFE80 << 112
# ICMP that is no error, as Linux sees it (icmp_pointers): router discovery is one.
ANSWERED = (0, 8, 13, 14, 15, 16, 17, 18)


def is_unanswered(found: Mapping[str, int]) -> bool:
    """Whether the kernel rejects such a packet in silence, as a drop: RFC 1122, 3.2.2 and RFC 4443, 2.4."""
    v = found["nfproto"]
    if v == 6 and found["saddr6"] == ROUTERS:
        return True
    if found["daddrtype"] in (MULTICAST, BROADCAST) or found.get("pkttype") or found.get("fragment"):
        return True
    if found["l4proto"] == 6 and found["tcpflags"] & 4:
        return True
    if found["l4proto"] in (ICMP, ICMPV6):
        kind = found["icmptype"]
        if found["l4proto"] == ICMP:
            return v == 4 and kind not in ANSWERED
        return v == 6 and kind < 128
    return False
