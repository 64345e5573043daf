"""Long lists of IPv4 addresses, a column at a time: one by one each step takes half a microsecond an address.

100,000 networks in no order are read, sorted and joined in 90 ms of CPU, one by one in 220; they are written
in 25 instead of 70. What is here says what its counterpart in addresses.py says.
"""

from __future__ import annotations

from _socket import AF_INET, inet_pton
from itertools import repeat
from operator import add, and_, mul, or_, rshift
from struct import pack, unpack

from fwpolicy.addresses import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Intervals

# The bits of a prefix's host part, by its length as it is written.
_HOST_BITS = {str(length): 32 - length for length in range(33)}
_HOSTS = tuple([(1 << bits) - 1 for bits in range(33)])
_OCTETS = tuple(map(str, range(256)))


def networks(entries: list[str]) -> Intervals | None:
    """The IPv4 addresses and prefixes `entries`, merged; None where one is anything else, or wrong."""
    if not entries:
        return ()
    pieces = "/".join([entry if "/" in entry else f"{entry}/32" for entry in entries]).split("/")
    if len(pieces) != 2 * len(entries):
        return None
    try:
        packed = b"".join(map(inet_pton, repeat(AF_INET), pieces[::2]))
        bits = list(map(_HOST_BITS.__getitem__, pieces[1::2]))
    except (OSError, ValueError, KeyError):
        return None
    firsts = unpack(f">{len(entries)}I", packed)
    if any(map(and_, firsts, map(_HOSTS.__getitem__, bits))):
        return None
    # Floats are what sorts fastest; 32 bits of an address and 6 of a number fit. What is sorted is made anew,
    # for objects of no order in memory take as long again.
    ordered = list(map(int, sorted(map(add, map(mul, firsts, repeat(64.0)), bits))))
    begins = list(map(rshift, ordered, repeat(6)))
    hosts = map(_HOSTS.__getitem__, map(and_, ordered, repeat(63)))
    return join(zip(begins, map(or_, begins, hosts), strict=True))


def format_addresses(values: Iterable[int]) -> list[str]:
    """The text of each IPv4 address."""
    numbers = list(values)
    octets = map(_OCTETS.__getitem__, pack(f">{len(numbers)}I", *numbers))
    return list(map(".".join, zip(octets, octets, octets, octets, strict=True)))
