"""Sets of IPv4 and IPv6 addresses as sorted, disjoint, non-adjacent intervals of integers.

`inet_pton` and integers rather than `ipaddress`: parsing and collapsing 100k addresses takes a
tenth of the time, and start-up does not pay for the import.
"""

from __future__ import annotations

# The C half of `socket`: the whole module costs 2 ms of start-up for four names.
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Interval = tuple[int, int]
    # A tuple, or what equals the tuple of the same (addresslists.py).
    Intervals = Sequence[Interval]

BITS = {4: 32, 6: 128}
# As they are written: without leading zeros, which some programs read as octal.
_LENGTHS = {str(number): number for number in range(129)}
_AF = {4: AF_INET, 6: AF_INET6}
A_NEGATION = "an exception is a key of the rule, as in: except: {from: ADDRESS}"
A_LIST = "a list is written [A, B]"
_PORTS = "its port belongs to the service, a source's is 'sport'"


class AddressError(ValueError):
    """The text is not an address, prefix or range; the message says why, `hint` what is meant perhaps."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def _parse_address(text: str) -> tuple[int, int]:
    family = 6 if ":" in text else 4
    try:
        return family, int.from_bytes(inet_pton(_AF[family], text), "big")
    except (OSError, ValueError):
        raise _no_address(text, family) from None


def _no_address(text: str, family: int) -> AddressError:
    if text.isascii() and text.replace(".", "").isdigit():
        parts = text.split(".")
        if any(len(part) > 1 and part[0] == "0" for part in parts):
            return AddressError(f"'{text}' has a leading zero, which some programs read as octal")
        if any(len(part) > 3 or (part and int(part) > 255) for part in parts):
            return AddressError(f"'{text}' has a part above 255")
        return AddressError(f"'{text}' is not an IPv4 address: it needs four numbers")
    if text[:1] == "!":
        return AddressError(f"'{text}' is not an address", A_NEGATION)
    if "%" in text:
        return AddressError(
            f"'{text}' names an interface", f"an address without it: {text.partition('%')[0]}"
        )
    if "," in text or " " in text:
        return AddressError(f"'{text}' is not one address", A_LIST)
    if text[:1] == "[":
        address, _, port = text[1:].partition("]")
        hint = f"write {address}: {_PORTS}" if port else "leave out the brackets"
        return AddressError(f"'{text}' is not an address", hint)
    if "." in text and text.count(":") == 1:
        return AddressError(f"'{text}' is not an address", f"write {text.partition(':')[0]}: {_PORTS}")
    if family == 4 and "." in text and text[-1:].isalpha():
        hint = f"a host's name stands in a group of its own, as in: mirrors: {{hosts: [{text}]}}"
        return AddressError(f"'{text}' is not an address", hint)
    return AddressError(f"'{text}' is not an IP{'v6' if family == 6 else ''} address")


def parse(text: str) -> tuple[int, int, int]:
    """`ADDR`, `ADDR/LEN` or `ADDR-ADDR` as (family 4|6, first, last).

    Raises AddressError: not an address, a prefix length out of range, a host bit set, a range that
    runs backwards or mixes families.
    """
    if "/" in text:
        return _parse_prefix(text)
    if "-" in text:
        return _parse_range(text)
    family, value = _parse_address(text)
    return family, value, value


def _parse_range(text: str) -> tuple[int, int, int]:
    first_text, _, last_text = text.partition("-")
    if not last_text:
        raise AddressError(f"the range '{text}' has no end")
    family, first = _parse_address(first_text.strip())
    if family == 4 and last_text.isascii() and last_text.isdigit():
        hint = f"write {first_text}-{first_text.rpartition('.')[0]}.{last_text}"
        raise AddressError(f"the range '{text}' needs two whole addresses", hint)
    last_family, last = _parse_address(last_text.strip())
    if family != last_family:
        raise AddressError(f"the range '{text}' mixes IPv4 and IPv6")
    if first > last:
        hint = f"write {last_text.strip()}-{first_text.strip()}"
        raise AddressError(f"the range '{text}' runs backwards", hint)
    return family, first, last


def _parse_prefix(text: str) -> tuple[int, int, int]:
    address, _, length_text = text.partition("/")
    family, value = _parse_address(address)
    bits = BITS[family]
    length = _prefix_length(text, length_text, bits)
    size = 1 << (bits - length)
    if value & (size - 1):
        network = format_address(family, value & ~(size - 1))
        message = f"'{text}' has host bits set; the prefix is {network}/{length}"
        raise AddressError(message, f"or {address} for this one address")
    return family, value, value + size - 1


def _prefix_length(text: str, length: str, bits: int) -> int:
    found = _LENGTHS.get(length)
    bare = length[:1] == "0" and (length.lstrip("0") or "0")
    if found is None and bare in _LENGTHS:
        message = f"the prefix length of '{text}' has a leading zero, which some programs read as octal"
        raise AddressError(message, f"write {text.partition('/')[0]}/{bare}")
    if found is None or found > bits:
        raise AddressError(f"the prefix length of '{text}' must be 0 to {bits}", _mask_hint(text, length))
    return found


def _mask_hint(text: str, mask: str) -> str | None:
    """The prefix that an IPv4 netmask means."""
    try:
        ones = f"{int.from_bytes(inet_pton(AF_INET, mask), 'big'):032b}"
    except (OSError, ValueError):
        return None
    length = ones.count("1")
    return f"write {text.partition('/')[0]}/{length}" if ones.rstrip("0") == "1" * length else None


def format_address(family: int, value: int) -> str:
    """The canonical text of one address (RFC 5952 for IPv6)."""
    if family == 4:
        return inet_ntop(AF_INET, value.to_bytes(4, "big"))
    return inet_ntop(AF_INET6, value.to_bytes(16, "big"))


def merge(intervals: Iterable[Interval]) -> Intervals:
    """Sorted, with overlapping and adjacent intervals joined."""
    if intervals.__class__ is tuple and len(intervals) == 1:
        return intervals
    return join(sorted(intervals))


def join(ordered: Iterable[Interval]) -> Intervals:
    """Sorted intervals, with overlapping and adjacent ones joined."""
    rest = iter(ordered)
    if (begun := next(rest, None)) is None:
        return ()
    merged: list[Interval] = []
    first, last = begun
    for begin, end in rest:
        if begin > last + 1:
            merged.append((first, last))
            first, last = begin, end
        elif end > last:
            last = end
    merged.append((first, last))
    return tuple(merged)


def common(one: Intervals, other: Intervals) -> Intervals:
    """What both have. Both are as merge() makes them."""
    if one == other:
        return one
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return merge(pair for pair in pairs if pair[0] <= pair[1])


def subtract(whole: Intervals, holes: Intervals) -> Intervals:
    """The intervals of `whole` without those of `holes`; both merged."""
    left: list[Interval] = []
    holes, next_hole = tuple(holes), 0
    for interval in whole:
        first, last = interval
        while next_hole < len(holes) and holes[next_hole][1] < first:
            next_hole += 1
        for index in range(next_hole, len(holes)):
            hole_first, hole_last = holes[index]
            if hole_first > last:
                break
            if hole_first > first:
                left.append((first, hole_first - 1))
            first = hole_last + 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def prefix_length(family: int, interval: Interval) -> int | None:
    """The length of the prefix that `interval` is; None where it is a range of several."""
    first, last = interval
    size = last - first + 1
    return None if size & (size - 1) or first & (size - 1) else BITS[family] - size.bit_length() + 1


def prefixes(family: int, interval: Interval) -> tuple[tuple[int, int], ...]:
    """The fewest (network, length) prefixes that make up `interval`, in order."""
    first, last = interval
    bits = BITS[family]
    found: list[tuple[int, int]] = []
    while first <= last:
        size = min(first & -first if first else 1 << bits, 1 << ((last - first + 1).bit_length() - 1))
        found.append((first, bits - size.bit_length() + 1))
        first += size
    return tuple(found)


@record
class AddressSet:
    """Addresses of both families; `v4` and `v6` are merged intervals of integers."""

    v4: Intervals = ()
    v6: Intervals = ()

    def of(self, family: int) -> Intervals:
        return self.v4 if family == 4 else self.v6

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __contains__(self, address: tuple[int, int]) -> bool:
        """`(family, value) in addresses`, by bisection."""
        family, value = address
        intervals = self.of(family)
        low, high = 0, len(intervals)
        while low < high:
            middle = (low + high) // 2
            if intervals[middle][1] < value:
                low = middle + 1
            else:
                high = middle
        return low < len(intervals) and intervals[low][0] <= value

    def __or__(self, other: AddressSet) -> AddressSet:
        if not self:
            return other
        return AddressSet(merge((*self.v4, *other.v4)), merge((*self.v6, *other.v6)))

    def prefixes(self) -> tuple[str, ...]:
        """`ADDR` or `ADDR/LEN` texts, IPv4 first: for daemons, which know no ranges."""
        texts = []
        for family in (4, 6):
            for interval in self.of(family):
                for network, length in prefixes(family, interval):
                    text = format_address(family, network)
                    texts.append(text if length == BITS[family] else f"{text}/{length}")
        return tuple(texts)


def collect(items: Iterable[tuple[int, int, int]]) -> AddressSet:
    """An AddressSet of parsed (family, first, last) items."""
    items = list(items)
    if len(items) == 1:
        ((family, first, last),) = items
        return AddressSet(((first, last),)) if family == 4 else AddressSet((), ((first, last),))
    v4: list[Interval] = []
    v6: list[Interval] = []
    for family, first, last in items:
        (v4 if family == 4 else v6).append((first, last))
    return AddressSet(merge(v4) if v4 else (), merge(v6) if v6 else ())


def of(*texts: str) -> AddressSet:
    """An AddressSet written out: `of("10.0.0.0/8", "::1")`."""
    return collect(parse(text) for text in texts)


NOWHERE = AddressSet()
EVERYWHERE = AddressSet(((0, (1 << 32) - 1),), ((0, (1 << 128) - 1),))
LOOPBACK = of("127.0.0.0/8", "::1")
