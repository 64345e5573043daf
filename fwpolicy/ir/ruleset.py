"""A host's packet filter in the kernel's own words (nft(8)): tables, chains, rules, sets, verdicts.

What cannot be said here is not emitted, and what a listing says beyond it is refused by name.
"""

from __future__ import annotations

from fwpolicy.errors import Span
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals

# Matches: nft(8) "PRIMARY EXPRESSIONS" and "PAYLOAD EXPRESSIONS". Members of one match are ORed.


@record
class Interface:
    """`iifname` or `oifname` (key) is one of `names`; by name, so an interface that appears later counts."""

    key: str
    names: tuple[str, ...]


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
class IcmpType:
    """`icmp type` (protocol 1) or `icmpv6 type` (58). Implies protocol and family."""

    protocol: int
    types: tuple[int, ...]


@record
class Address:
    """`ip saddr` and its like; `side` is "saddr" or "daddr". Implies the family, negated or not.

    Either `intervals` in place or a named set (`set_name`) of this table.
    """

    family: int
    side: str
    intervals: Intervals = ()
    set_name: str | None = None
    negated: bool = False


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
class LocalDestination:
    """`fib daddr type { local, broadcast, multicast }`: the packet is for this host, not forwarded."""


Match = Interface | Nfproto | L4Proto | Port | IcmpType | Address | CtState | NtpMode | LocalDestination


# Verdicts: nft(8) "VERDICT STATEMENT" and "REJECT STATEMENT".


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


Verdict = Accept | Drop | Reject | Jump | Return


@record
class Rule:
    """`step` and `origin` say where it comes from: the step of the evaluation, the policy's text."""

    matches: tuple[Match, ...]
    verdict: Verdict
    step: str
    origin: Span | None = None
    counter: bool = True
    comment: str | None = None


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


@record
class Table:
    """`family` is nft's: "inet" for both."""

    family: str
    name: str
    sets: tuple[Set, ...]
    chains: tuple[Chain, ...]


@record
class Ruleset:
    """Tables in the order in which they are loaded."""

    tables: tuple[Table, ...]


# The only table that is ours.
FAMILY, TABLE = "inet", "fwpolicy"

# nft(8) "Standard priority names": raw runs before connection tracking (-200), filter is 0.
RAW = -300
FILTER = 0
# Before every other tool's filter chains: a closing rule must not depend on their order.
OURS = FILTER - 10
