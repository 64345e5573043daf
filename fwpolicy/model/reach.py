"""Who can open a connection to a port of this host, before and after a change."""

from __future__ import annotations

from fwpolicy.addresses import merge, subtract
from fwpolicy.model import fields
from fwpolicy.model.build import Build
from fwpolicy.model.describe import NOTHING, Cube, cubes, words
from fwpolicy.model.diagram import NO
from fwpolicy.model.hooks import LO
from fwpolicy.model.program import ACCEPT, And, Lit, Not, Or, used_fields
from fwpolicy.model.question import SYN
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.addresses import AddressSet, Intervals
    from fwpolicy.model.program import Expr, Program
    from fwpolicy.policy.vocabulary import Vocabulary

# What a socket that takes everything may get beside packets to the host's own addresses: those to groups.
_GROUPS: dict[int, Intervals] = {
    4: ((0xE0000000, 0xEFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)),
    6: ((0xFF << 120, (1 << 128) - 1),),
}
# Addresses that only neighbours on the same link can send to (RFC 4291).
_LINK: Intervals = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)
_LOCAL = fields.values(fields.ADDRESS_TYPES.index("local"))
_MANY = fields.values(*(fields.ADDRESS_TYPES.index(name) for name in ("broadcast", "multicast")))
# A packet that opens a connection and that nobody translated; over `lo` comes only what is the host's own.
_NEW = And((Lit("dnat", ((0, 0),)), Lit("ctdir", ((0, 0),)), Not(Lit("iif", LO))))


@record
class Door:
    """A port that somebody listens on, at addresses of this host; `groups`: those of whose groups it also
    takes packets (4, 6)."""

    protocol: int
    port: int
    addresses: AddressSet
    groups: tuple[int, ...] = ()


@record
class Reach:
    """Who can open a connection to a door: `lost`, who could and no longer can by an interface that is here;
    `kept`, who still can; each as classes in words, () for nobody, ("",) for all who could.

    `absent`: all of `kept` come by interfaces that are not here. `closed`: after it nobody at all can.
    """

    lost: tuple[str, ...]
    kept: tuple[str, ...]
    absent: bool
    closed: bool


def reaches(
    before: Program,
    after: Program,
    doors: Sequence[Door],
    interfaces: Sequence[str],
    now: int = 0,
    names: Vocabulary = NOTHING,
) -> list[Reach]:
    """What becomes of each door when `after` takes the place of `before`, as far as new connections go: with
    limits unspent, at `now` (Unix time), and in NTP's case questions. Raises TooLargeError."""
    asked = [_asked(door) for door in doors]
    here = _of_interfaces(interfaces)
    build = Build((before, after), "input", (*asked, here), fixed_new((before, after), now))
    diagrams = build.diagrams
    could, can = (_opened(build, index) for index in (0, 1))
    by_these = build.condition(here)
    found = []
    for each in asked:
        region = diagrams.both(build.possible, build.condition(each))
        kept = diagrams.both(region, diagrams.both(could, can))
        gone = diagrams.both(region, diagrams.both(could, diagrams.negated(can)))
        found.append(
            Reach(
                _classes(build, gone, region, names) if diagrams.both(gone, by_these) != NO else (),
                _classes(build, kept, region, names),
                kept != NO and diagrams.both(kept, by_these) == NO,
                diagrams.both(region, diagrams.both(can, by_these)) == NO,
            )
        )
    return found


def _asked(door: Door) -> Expr:
    ends: list[Expr] = []
    for family in (4, 6):
        own, many = door.addresses.of(family), _GROUPS[family] if family in door.groups else ()
        far = subtract(own, _LINK) if family == 6 else own
        near = subtract(own, far)
        for kind, destinations in ((_LOCAL, far), (_LOCAL, near), (_MANY, many)):
            if destinations:
                of_family = (Lit("nfproto", ((family, family),)), Lit(f"daddr{family}", destinations))
                sources = (Lit("saddr6", _LINK),) if destinations == near else ()
                ends.append(And((*of_family, *sources, Lit("daddrtype", kind))))
    what = Lit("l4proto", ((door.protocol,) * 2,)), Lit("dport", ((door.port,) * 2,))
    return And((*what, _NEW, Or(tuple(ends))))


def _of_interfaces(names: Sequence[str]) -> Expr:
    found = merge(each for name in names if name != "lo" for each in fields.interface(name))
    return Lit("iif", found) if found else Or(())


def fixed_new(programs: Sequence[Program], now: int) -> dict[str, int]:
    """What is known of a packet that opens a connection at `now`, with every limit unspent."""
    new = {"ctstate": fields.STATES.index("new"), "th": 1, "fragment": 0, "snat": 0, "tcpflags": SYN}
    limiters = {
        field: 1
        for program in programs
        for chain in program.chains.values()
        for rule in chain.rules
        for field in used_fields(rule.guard)
        if field.startswith(fields.limiter(""))
    }
    return {**new, "ntpmode": 3, "time": now, **limiters}


def _opened(build: Build, index: int) -> int:
    return build.diagrams.where(build.outcome(index), lambda end: build.kind(end) == ACCEPT.kind)


def _classes(build: Build, region: int, given: int, names: Vocabulary) -> tuple[str, ...]:
    """Without what no packet says: the conditions that the model does not look into."""
    found = []
    for cube in cubes(build, region, given):
        seen = {field: value for field, value in cube.values.items() if not field.startswith("opaque:")}
        found.append(words("", Cube(seen), names).removeprefix("anything").strip())
    return tuple(dict.fromkeys(found))
