"""A host's packet filter in the kernel's own words (nft(8)): tables, chains, rules, sets, verdicts.

What cannot be said here is not emitted, and what a listing says beyond it is refused by name.
"""

from __future__ import annotations

from itertools import starmap
from operator import ne

from fwpolicy.addresslists import are_single
from fwpolicy.errors import Span
from fwpolicy.ir.maps import CounterMap, Map, VerdictMap
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals

# Matches: nft(8) "PRIMARY EXPRESSIONS" and "PAYLOAD EXPRESSIONS". Members of one match are ORed.


@record
class Interface:
    """`iifname` or `oifname` (key) is one of `names`; by name, so an interface that appears later counts.

    A name that ends in "*" is a prefix, and stands alone: nft 1.0.6 joins neighbours in a set, and
    lists `{ "wg*", "a*", "b" }` as `{ ""-"", "wg*" }`. `negated`: none of them.
    """

    key: str
    names: tuple[str, ...]
    negated: bool = False


LOOPBACK = ("lo",)


@record
class Nfproto:
    """`meta nfproto`: family 4 or 6."""

    family: int


@record
class L4Proto:
    """`meta l4proto`: the last protocol header, IANA numbers."""

    protocols: tuple[int, ...]


@record
class Port:
    """`tcp dport` and its like; `side` is "sport" or "dport". Implies the protocol."""

    protocol: int
    side: str
    ports: Intervals


@record
class AnyPort:
    """`meta l4proto { tcp, udp } th dport`: the same ports of several protocols.

    Never without the guard: on a protocol without ports `th dport` reads whatever bytes are there.
    """

    protocols: tuple[int, ...]
    side: str
    ports: Intervals


@record
class IcmpType:
    """`icmp type` (protocol 1) or `icmpv6 type` (58). Implies protocol and family."""

    protocol: int
    types: tuple[int, ...]


@record
class Address:
    """`ip saddr` and its like; `side` is "saddr" or "daddr". Implies the family, negated or not.

    Either `intervals` in place or a named set (`set_name`) of this table. `original`: as the
    connection's first packet had it, before any NAT (`ct original ip daddr`). `prefix`: only the
    first so many bits of it are looked up, in a set of networks (`ip saddr & 255.255.255.0 @SET`).
    """

    family: int
    side: str
    intervals: Intervals = ()
    set_name: str | None = None
    negated: bool = False
    original: bool = False
    prefix: int | None = None


@record
class CtState:
    """`ct state`: one of `states` (new, established, related, invalid, untracked), sorted."""

    states: tuple[str, ...]


@record
class NtpMode:
    """The NTP mode, the low three bits of the first payload byte (RFC 5905 7.3): `@th,64,8 & 0x7`.

    False where the byte cannot be read, negated or not: an 8-byte first fragment has no payload.
    """

    modes: tuple[int, ...]
    negated: bool = False


@record
class DestinationType:
    """`fib daddr type`: what the destination is to this host: "local", "broadcast", "multicast".

    `here`: to the interface that the packet came in by (`fib daddr . iif type`). A packet for one of
    LOCAL is for this host, and never passed on.
    """

    types: tuple[str, ...]
    here: bool = False
    negated: bool = False


@record
class CtStatus:
    """`ct status`: has this bit; "dnat" where some chain, ours or foreign, redirected the connection."""

    bit: str


@record
class OriginalPort:
    """`ct original proto-dst`: the port that the connection's first packet was addressed to.

    A single range: nft 1.0.6 lists a set here as `0x1bb [invalid type]`. A match of one protocol
    must stand before it; nft has no type for the port otherwise, nor after one of several.
    """

    first: int
    last: int


@record
class Before:
    """`meta time <`: `time` in seconds since 1970, UTC.

    As a number, because nft(8) reads and lists dates in the time zone of whoever runs it. Listings
    are to be made with TZ=UTC (read.py).
    """

    time: int


@record
class TcpSyn:
    """`tcp flags syn`: the SYN bit, alone or with ACK."""


# Conditions with a memory, nft(8) "LIMIT STATEMENT", "CONNECTION LIMIT", "SET STATEMENT": each holds
# while there is room, and takes some. They come last, in the order in which they take.


@record
class Rate:
    """`limit rate`: at most `rate` a `unit` ("second" .. "day"), `burst` at once; for this rule alone."""

    rate: int
    unit: str
    burst: int


@record
class LimitName:
    """`limit name`: the table's limit object, which rules share."""

    name: str


@record
class CtCount:
    """`ct count`: at most `maximum` connections at a time came through this rule."""

    maximum: int


@record
class PerSource:
    """`update @SET { ip saddr limit rate ... }`: `bound` for each source, for IPv6 each /64, by itself.

    Implies the family. No room left in the set: it does not hold.
    """

    family: int
    set_name: str
    bound: Rate | CtCount


Header = Nfproto | L4Proto | Port | AnyPort | IcmpType | Address | NtpMode | TcpSyn
Circumstance = Interface | DestinationType | Before
Tracked = CtState | CtStatus | OriginalPort
WithMemory = Rate | LimitName | CtCount | PerSource
Match = Header | Circumstance | Tracked | WithMemory

# What is never passed on: a packet to a group of hosts (multicast) may be for this one, and for others.
LOCAL = ("local", "broadcast")


# Verdicts: nft(8) "VERDICT STATEMENT", "REJECT STATEMENT", "NAT STATEMENTS".


@record
class Accept:
    """Ends this base chain; later base chains of the hook still decide."""


@record
class Drop:
    """Final."""


@record
class Reject:
    """Final; `kind` is "tcp-reset" or "port-unreachable" (ICMP or ICMPv6, as the packet is)."""

    kind: str


@record
class Jump:
    """Go on in a regular chain, and come back after it."""

    chain: str


@record
class Return:
    """Back to the rule after the jump."""


@record
class Continue:
    """No verdict: the next rule follows."""


@record
class Masquerade:
    """The source becomes the address of the interface that the packet leaves by. Ends its nat chain."""


@record
class SourceNat:
    """The source becomes `address`. Ends its nat chain."""

    family: int
    address: int


@record
class DestinationNat:
    """The destination becomes `address`, and `port` unless None. Ends its nat chain."""

    family: int
    address: int
    port: int | None = None


@record
class ClampMss:
    """`tcp option maxseg size set rt mtu`: no segment larger than the route takes; the next rule follows."""


Translation = Masquerade | SourceNat | DestinationNat
Verdict = Accept | Drop | Reject | Jump | Return | Continue | ClampMss | Translation | VerdictMap


@record
class Log:
    """`log`: to the kernel's log, or to nflog's `group`."""

    prefix: str
    group: int | None = None


@record
class Rule:
    """`step` and `origin` say where it comes from: the step of the evaluation, the policy's text.

    `counter` names one of the table's counters, or the map that names it.
    """

    matches: tuple[Match, ...]
    verdict: Verdict
    step: str
    origin: Span | None = None
    counter: str | CounterMap | None = None
    comment: str | None = None
    log: Log | None = None


@record
class Base:
    """What ties a chain to a hook: `priority` as a number, `policy` "accept" or "drop"."""

    hook: str
    priority: int
    policy: str
    type: str = "filter"


@record
class Chain:
    """A base chain, or a regular one (`base` is None)."""

    name: str
    rules: tuple[Rule, ...]
    base: Base | None = None


@record
class Set:
    """A named set of addresses of one family."""

    name: str
    family: int
    intervals: Intervals

    @property
    def has_ranges(self) -> bool:
        """Does it need `flags interval`? It cannot get them later."""
        return not are_single(self.intervals) if self.family == 4 else any(starmap(ne, self.intervals))


@record
class DynamicSet:
    """A named set that is filled at run time, by rules or by others; its members are no content of ours.

    `timeout` in seconds: 0 where members bring their own, None where none has any.
    """

    name: str
    family: int
    timeout: int | None
    size: int = 65535


@record
class LimitObject:
    """A limit that rules share by name."""

    name: str
    rate: Rate


@record
class Table:
    """`family` is nft's: "inet" for both. `counters`: names; a reload keeps what they count."""

    family: str
    name: str
    sets: tuple[Set | DynamicSet, ...]
    chains: tuple[Chain, ...]
    counters: tuple[str, ...] = ()
    limits: tuple[LimitObject, ...] = ()
    maps: tuple[Map, ...] = ()


@record
class Ruleset:
    """Tables in the order in which they are loaded."""

    tables: tuple[Table, ...]


# The only table that is ours.
FAMILY, TABLE = "inet", "fwpolicy"

# nft(8) "Standard priority names": raw runs before connection tracking (-200).
RAW = -300
MANGLE = -150
DSTNAT = -100
FILTER = 0
SRCNAT = 100
# Before every other tool's filter chains: a closing rule must not depend on their order.
OURS = FILTER - 10
