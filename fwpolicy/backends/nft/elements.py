"""Elements of sets as the kernel's own messages, and back (linux/netfilter/nf_tables.h).

nft reads text at 10 us an element and lists an interval set before it changes one of them: 1,600 ms of
CPU to load 100,000 networks and 1,700 to change one. The same messages made here take 370 and 0.1, and
the kernel takes what one batch holds whole or not at all.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from bisect import bisect_left
from functools import lru_cache
from itertools import chain
from operator import ge, gt

from fwpolicy.addresses import BITS
from fwpolicy.addresslists import AddressList, packed, singles
from fwpolicy.backends.nft.words import interval_text
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Interval, Intervals

# enum nf_tables_msg_types, nlmsg_flags of netlink.h.
NEW_TABLE, NEW_SET, NEW_ELEMENTS, DELETE_ELEMENTS = 0, 9, 12, 14
CREATE, EXCLUSIVE = 0x400, 0x200
INTERVAL = 4  # NFT_SET_INTERVAL
_INTERVAL_END = 1
_KEY_TYPES = {4: 7, 6: 8}  # nft's own numbers (datatype.h), by which it lists them
# What nft notes for itself about a set: its keys are big endian (libnftnl/udata.h).
_BIG_ENDIAN = bytes((0, 4, 2, 0, 0, 0))
# ... and about an interval without an end: SET_ELEM_F_INTERVAL_OPEN.
_OPEN = bytes((1, 4, 1, 0, 0, 0))
# A nested attribute has 16 bits for its length.
_ROOM = 65_000


@record
class Change:
    """What leaves the set `name` and what comes into it; `made`: the set itself is new.

    `interval`: the kernel's set is one of intervals.
    """

    name: str
    family: int
    interval: bool
    gone: Intervals
    new: Intervals
    made: bool = False


@record
class Message:
    """One message of a batch: `kind` and `flags` for its header, `body` what follows nfgenmsg.

    `elements`: those that it holds, from `begin` on.
    """

    kind: int
    flags: int
    body: bytes
    about: Change | None = None
    elements: Intervals = ()
    begin: int = 0


def attribute(kind: int, data: bytes) -> bytes:
    """struct nlattr; its length is without the padding."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def name_of_set(table: str, name: str) -> bytes:
    """Which set: its table and its name, in messages about elements as about sets."""
    return attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")


def messages(table: str, changes: tuple[Change, ...], new_table: bool = False) -> tuple[Message, ...]:
    """What makes the changes to sets of `table`, in the order that the kernel needs: what comes may
    overlap what goes."""
    named = attribute(1, table.encode() + b"\0")
    found = [Message(NEW_TABLE, CREATE | EXCLUSIVE, named)] if new_table else []
    for number, change in enumerate(changes, 1):
        if change.made:
            found.append(Message(NEW_SET, CREATE | EXCLUSIVE, _new_set(table, change, number)))
    for kind, flags in ((DELETE_ELEMENTS, 0), (NEW_ELEMENTS, CREATE | EXCLUSIVE)):
        for change in changes:
            found += _element_messages(table, change, kind, flags)
    return tuple(found)


def lookups(table: str, change: Change, interval: Interval) -> tuple[bytes, ...]:
    """The bodies of the messages that ask whether a set holds exactly this interval."""
    where = name_of_set(table, change.name)
    return tuple(where + attribute(3, key) for key in _keys(change, interval))


def answers(change: Change, interval: Interval) -> tuple[bytes, ...]:
    """What the kernel says to lookups() if it does."""
    return tuple(_keys(change, interval))


def _new_set(table: str, change: Change, number: int) -> bytes:
    """As nft makes it, so that it lists the same."""
    numbers = {3: INTERVAL * change.interval, 4: _KEY_TYPES[change.family], 5: _width(change.family)}
    numbers[10] = number
    body = b"".join(attribute(kind, struct.pack(">I", value)) for kind, value in numbers.items())
    return name_of_set(table, change.name) + body + attribute(13, _BIG_ENDIAN)


def _element_messages(table: str, change: Change, kind: int, flags: int) -> Iterable[Message]:
    intervals = change.gone if kind == DELETE_ELEMENTS else change.new
    where = name_of_set(table, change.name)
    if change.interval and intervals and intervals[-1][1] == _highest(change.family):
        open_one = _element(_number(change.family, intervals[-1][0]), extra=attribute(6, _OPEN))
        yield _message(kind, flags, where, open_one, change, intervals[-1:])
        intervals = intervals[:-1]
    pattern = _pattern(change.family, change.interval)
    most = _ROOM // len(pattern)
    for start in range(0, len(intervals), most):
        part = intervals[start : start + most]
        data = _filled(pattern, change.family, part, change.interval)
        yield _message(kind, flags, where, data, change, part)


def _message(kind: int, flags: int, where: bytes, data: bytes, about: Change, elements: Intervals) -> Message:
    return Message(kind, flags, where + attribute(3, data), about, elements, len(where) + 4)


def culprit(message: Message, offset: int | None) -> str:
    """What the kernel's complaint about the byte at `offset` of the body is about, in words."""
    if message.about is None:
        return "a set"
    where = f"set {message.about.name}"
    if not message.elements or offset is None or offset < message.begin:
        return where
    size = (len(message.body) - message.begin) // len(message.elements)
    number = min((offset - message.begin) // size, len(message.elements) - 1)
    return f"{interval_text(message.about.family, message.elements[number])} of {where}"


# One element: nlattr(LIST_ELEM) { nlattr(KEY) { nlattr(VALUE) }, [nlattr(FLAGS)] }, as the kernel dumps it
_KEY = 12


def _width(family: int) -> int:
    return BITS[family] // 8


def _highest(family: int) -> int:
    return (1 << BITS[family]) - 1


def _number(family: int, value: int) -> bytes:
    return value.to_bytes(_width(family), "big")


def _element(key: bytes, end: bool = False, extra: bytes = b"") -> bytes:
    flags = attribute(3, struct.pack(">I", _INTERVAL_END)) if end else b""
    return attribute(1, attribute(1, attribute(1, key)) + flags + extra)


def _keys(change: Change, interval: Interval) -> Iterable[bytes]:
    first, last = interval
    is_open = change.interval and last == _highest(change.family)
    yield _element(_number(change.family, first), extra=attribute(6, _OPEN) if is_open else b"")
    if change.interval and not is_open:
        yield _element(_number(change.family, last + 1), end=True)


def _pattern(family: int, interval: bool) -> bytes:
    zero = bytes(_width(family))
    return _element(zero) + (_element(zero, end=True) if interval else b"")


def _filled(pattern: bytes, family: int, intervals: Intervals, interval: bool) -> bytes:
    """The pattern once for each interval, the keys put in a byte of all of them at a time: 8 ms for
    100,000, where packing each takes 200."""
    data = bytearray(pattern * len(intervals))
    width, stride = _width(family), len(pattern)
    bounds = _bounds(family, intervals)
    holes = [(_KEY, 0)]
    if interval:
        # An end is the first address that is not in it.
        one_more = (bytes(2 * width - 1) + b"\1") * len(intervals)
        added = int.from_bytes(bounds, "big") + int.from_bytes(one_more, "big")
        bounds = added.to_bytes(len(bounds), "big")
        holes.append((_KEY + width + _KEY, width))
    for hole, begin in holes:
        for byte in range(width):
            data[hole + byte :: stride] = bounds[begin + byte :: 2 * width]
    return bytes(data)


def _bounds(family: int, intervals: Intervals) -> bytes:
    """First and last addresses in a row."""
    return packed(intervals) if family == 4 else _packed(family, list(chain.from_iterable(intervals)))


def _packed(family: int, numbers: list[int]) -> bytes:
    if family == 4:
        return struct.pack(f">{len(numbers)}I", *numbers)
    return b"".join([number.to_bytes(16, "big") for number in numbers])


def _unpacked(family: int, packed: bytes) -> tuple[int, ...]:
    if family == 4:
        return struct.unpack(f">{len(packed) // 4}I", packed)
    halves = struct.unpack(f">{len(packed) // 8}Q", packed)
    return tuple([high << 64 | low for high, low in zip(halves[::2], halves[1::2], strict=True)])


# What a dump holds


def held(dump: Iterable[bytes], family: int, interval: bool) -> Intervals | None:
    """The intervals of a set, each as the kernel holds it, of the bodies of a dump's messages.

    None where there is anything that we never make: a time-out, a comment, an expression.
    """
    data = b"".join([_list_of(body) for body in dump])
    if not interval:
        keys = _regular(data, family, interval=False)
        if keys is None:
            return None
        return singles(sorted(keys[0])) if family == 4 else tuple([(key, key) for key in sorted(keys[0])])
    return _held_intervals(data, family)


def _list_of(body: bytes) -> bytes:
    """The elements: attribute 3 of a message."""
    at = 0
    while at + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        if kind & 0x3FFF == 3:
            return body[at + 4 : at + size]
        at += max(4, size + 3 & ~3)
    return b""


def _held_intervals(data: bytes, family: int) -> Intervals | None:
    """The tree is dumped from its highest end down to its lowest start."""
    found: list[Interval] = []
    open_one = _element(bytes(_width(family)), extra=attribute(6, _OPEN))
    width = _width(family)
    first = data[_KEY : _KEY + width]
    if data[:_KEY] + bytes(width) + data[_KEY + width : len(open_one)] == open_one:
        found.append((int.from_bytes(first, "big"), _highest(family)))
        data = data[len(open_one) :]
    # nft begins a set with an end at zero, where nothing began.
    data = data.removesuffix(_element(bytes(width), end=True))
    keys = _regular(data, family, interval=True)
    if keys is None:
        return None
    ends, starts = keys
    above = (*(start for start, _ in found), *starts)
    if not all(map(gt, ends, starts)) or not all(map(ge, above, ends[not found :])):
        return None
    found += [(start, end - 1) for end, start in zip(ends, starts, strict=True)]
    return tuple(reversed(found))


def _regular(data: bytes, family: int, interval: bool) -> list[tuple[int, ...]] | None:
    """The columns of keys, if `data` is nothing but the pattern over and over."""
    zero = bytes(_width(family))
    first = _element(zero, end=True) if interval else b""
    pattern = first + _element(zero)
    width, stride = _width(family), len(pattern)
    count, rest = divmod(len(data), stride)
    if rest:
        return None
    holes = (_KEY, len(first) + _KEY) if interval else (_KEY,)
    blank, columns = bytearray(data), []
    for hole in holes:
        packed = bytearray(count * width)
        for byte in range(width):
            packed[byte::width] = data[hole + byte :: stride]
            blank[hole + byte :: stride] = bytes(count)
        columns.append(_unpacked(family, bytes(packed)))
    return columns if blank == pattern * count else None


# As text, for what is remembered of a set


def to_text(family: int, intervals: Intervals) -> str:
    """A set's intervals in base64: first and last addresses, big endian."""
    return b2a_base64(_bounds(family, intervals), newline=False).decode()


@lru_cache(maxsize=64)
def from_text(family: int, text: str) -> Intervals:
    """Raises ValueError. The same text gives the same object, which is quickly compared."""
    held = a2b_base64(text.encode())
    if len(held) % (2 * _width(family)):
        raise ValueError(f"{len(held)} bytes are no intervals")
    if family == 4:
        return AddressList(held)
    bounds = iter(_unpacked(family, held))
    return tuple(zip(bounds, bounds, strict=True))


def changed_text(text: str, change: Change) -> str:
    """The text of a set that was `text` before the change. Raises ValueError where it did not hold what goes,
    or held what comes.

    What stays is not read: 1 ms for 100,000 elements, where making their text takes 10.
    """
    held = a2b_base64(text.encode())
    size = 2 * _width(change.family)
    gone, new = ({_packed(change.family, [*each]) for each in every} for every in (change.gone, change.new))
    parts: list[bytes] = []
    at = 0
    for each in sorted(gone ^ new):
        place = _place(held, size, each, at)
        if (held[place : place + size] == each) is not (each in gone):
            raise ValueError("the set was not as it was looked at")
        parts += [held[at:place], each] if each in new else [held[at:place]]
        at = place if each in new else place + size
    return b2a_base64(b"".join([*parts, held[at:]]), newline=False).decode()


def _place(held: bytes, size: int, wanted: bytes, begin: int) -> int:
    """Where the first record is from `begin` on that is not less than `wanted`."""

    def numbered(number: int) -> bytes:
        return held[number * size : (number + 1) * size]

    every = range(begin // size, len(held) // size)
    return begin + size * bisect_left(every, wanted, key=numbered)
