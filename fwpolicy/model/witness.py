"""A packet out of a diagram's path: where the path leaves a choice, the values that a person would choose."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from fwpolicy.addresses import of
from fwpolicy.model import fields
from fwpolicy.model.build import LINKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fwpolicy.addresses import Interval
    from fwpolicy.model.atoms import Atoms

# Documentation ranges (RFC 5737, RFC 3849) first: no real host stands accused.
_STRANGERS = of("203.0.113.9", "198.51.100.7", "2001:db8:bad::9", "2001:db8:bad:1::7")
_HERE = of("192.0.2.1", "2001:db8::1")
_NAMES = ("if-any", "eth9", "other0")
LIKELY: dict[str, tuple[int, ...]] = {
    "nfproto": (4, 6),
    "iif": tuple(fields.interface(name)[0][0] for name in _NAMES),
    "oif": tuple(fields.interface(name)[0][0] for name in _NAMES),
    "ctstate": (0, 1, 2, 4, 3),
    "dnat": (0,),
    "snat": (0,),
    "ctdir": (0,),
    "l4proto": (6, 17, 1, 58, 47, 253),
    "fragment": (0,),
    "th": (1,),
    "icmptype": (8, 128),
    "icmpcode": (0,),
    "dport": (9999, 8080, 1, 2),
    "sport": (40000, 40001),
    "origport": (9999, 8080, 1, 2),
    "tcpflags": (2, 16, 18),
    "ntpmode": (3, 4, 7, 6),
    "daddrtype": (2, 1, 3, 5),
    "daddrtype_iif": (2, 1, 3, 5),
    "time": (1_800_000_000, 0),
    "saddr4": (_STRANGERS.v4[1][0], _STRANGERS.v4[0][0]),
    "saddr6": (_STRANGERS.v6[0][0], _STRANGERS.v6[1][0]),
    "daddr4": (_HERE.v4[0][0], _STRANGERS.v4[0][0]),
    "daddr6": (_HERE.v6[0][0], _STRANGERS.v6[0][0]),
}


def preferred(atoms: Atoms) -> list[int]:
    """For each level the atom that a path had better go through."""
    found = []
    for field, classes in zip(atoms.fields, atoms.values, strict=True):
        likely = LIKELY.get(field, (1 if field.startswith("limit:") else 0,))
        bits = (
            1 << number for value in likely for number, own in enumerate(classes) if _in_class(value, own)
        )
        found.append(next(bits, 1))
    return found


def packet(atoms: Atoms, path: Mapping[int, int]) -> dict[str, int]:
    """A value for each field: of those on the path one of the path's, of all others a likely one."""
    found: dict[str, int] = {}
    for level, field in enumerate(atoms.fields):
        mask = path.get(level, atoms.full[level])
        found[field] = _value(field, atoms.intervals(level, mask))
    for of_packet, field in LINKED:
        if field in found and not found.get("dnat") and of_packet in found:
            level = atoms.level[field]
            if _inside(found[of_packet], atoms.intervals(level, path.get(level, atoms.full[level]))):
                found[field] = found[of_packet]
    for field, likely in LIKELY.items():
        if field != "time":
            found.setdefault(field, likely[0] if field not in ("iif", "oif") else fields.NO_INTERFACE)
    return found


def _value(field: str, intervals: list[Interval]) -> int:
    for value in LIKELY.get(field, (1 if field.startswith("limit:") else 0,)):
        if _inside(value, intervals):
            return value
    if field in ("iif", "oif"):
        return _interface(intervals)
    first, last = intervals[0]
    # The network's own address makes a poor example.
    return first + 1 if "addr" in field and field in fields.UNIVERSES and last > first + 1 else first


def _interface(intervals: list[Interval]) -> int:
    """A name that an interface can have."""
    for first, _ in intervals:
        stem = fields.interface_name(first)
        for name in (stem, *(f"{stem}{end}" for end in "01x_")):
            if name and name.isprintable() and len(name) < fields.IFNAMSIZ:
                value = fields.interface(name)[0][0]
                if _inside(value, intervals):
                    return value
    return intervals[0][0]


def _inside(value: int, intervals: Iterable[Interval]) -> bool:
    return any(first <= value <= last for first, last in intervals)


def _in_class(value: int, ordered: list[Interval]) -> bool:
    before = bisect_right(ordered, value, key=itemgetter(0))
    return before > 0 and value <= ordered[before - 1][1]
