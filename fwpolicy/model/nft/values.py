"""Right sides as intervals of integers: one decoder for each kind of field."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from fwpolicy.addresses import merge
from fwpolicy.model import fields
from fwpolicy.model.nft import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from fwpolicy.addresses import Interval, Intervals

    Json = Any
    Decode = Callable[[Json], Intervals]


class Unclear(ValueError):  # noqa: N818
    """The value is none that the field's decoder knows: the match stays opaque."""


def unwrapped(member: Json) -> Json:
    """A set's element without its comment, timeout or counter."""
    while isinstance(member, dict) and "elem" in member:
        member = member["elem"]["val"]
    return member


def many(decode: Decode, members: Iterable[Json]) -> Intervals:
    """The union of all members."""
    return merge([interval for member in members for interval in decode(unwrapped(member))])


def numbers(names: Mapping[Any, int], last: int) -> Decode:
    """Numbers up to `last`, or their `names`; ranges of them."""

    def decode(member: Json) -> Intervals:
        if isinstance(member, dict) and "range" in member:
            first, end = member["range"]
            return ((one(first), one(end)),)
        number = one(member)
        return ((number, number),)

    def one(member: Json) -> int:
        if isinstance(member, str):
            if member in names:
                return names[member]
            member = int(member, 0) if member[:1].isdigit() and member.isalnum() else member
        if not isinstance(member, int) or isinstance(member, bool) or not 0 <= member <= last:
            raise Unclear(member)
        return member

    return decode


def addresses(bits: int) -> Decode:
    """`ADDR`, `ADDR/LEN`, `ADDR-ADDR` as text or as JSON says them."""
    one = _address(AF_INET if bits == 32 else AF_INET6)

    def network(text: str, length: int) -> Intervals:
        hosts = (1 << bits - length) - 1
        first = one(text) & ~hosts
        return ((first, first | hosts),)

    def decode(member: Json) -> Intervals:
        if isinstance(member, dict) and "prefix" in member:
            return network(member["prefix"]["addr"], member["prefix"]["len"])
        if isinstance(member, dict) and "range" in member:
            first, last = map(one, member["range"])
            return ((first, last),)
        if not isinstance(member, str):
            raise Unclear(member)
        if "/" in member:
            address, _, length = member.partition("/")
            return network(address, int(length))
        if "-" in member:
            return decode({"range": [each.strip() for each in member.split("-")]})
        if member == "*":
            return ((0, (1 << bits) - 1),)
        first = one(member)
        return ((first, first),)

    return decode


def _address(family: int) -> Callable[[str], int]:
    from_bytes = int.from_bytes

    def one(text: str) -> int:
        try:
            return from_bytes(inet_pton(family, text), "big")
        except (OSError, TypeError, ValueError):
            raise Unclear(text) from None

    return one


def families(names: Mapping[Any, int]) -> Decode:
    """Words or numbers of a family; of another one than IPv4 and IPv6 no packet of ours is."""

    def decode(member: Json) -> Intervals:
        if not isinstance(member, int | str):
            raise Unclear(member)
        return ((names[member], names[member]),) if member in names else ()

    return decode


def interface(member: Json) -> Intervals:
    """A name, or with a last "*" a prefix; a bare number is an index that no name is known of."""
    if not isinstance(member, str) or member.isdigit() or not member.isascii():
        raise Unclear(member)
    if member.endswith("\\*"):
        ((first, _),) = fields.interface(f"{member[:-2]}*")
        star = ord("*") << 8 * (fields.IFNAMSIZ - len(member) + 1)
        return ((first + star, first + star),)
    if len(member.removesuffix("*").encode()) >= fields.IFNAMSIZ:
        raise Unclear(member)
    return fields.interface(member)


# Bit masks: a value is a bit, a list or an "|" of bits.


def bit_value(names: Mapping[str, int], member: Json) -> int:
    """All of the bits together, as one number."""
    if isinstance(member, list):
        return _joined(names, member)
    if isinstance(member, dict) and "|" in member:
        return _joined(names, member["|"])
    if isinstance(member, str):
        if member in names:
            return names[member]
        member = int(member, 0) if member[:1].isdigit() and member.isalnum() else member
    if not isinstance(member, int) or isinstance(member, bool):
        raise Unclear(member)
    return member


def _joined(names: Mapping[str, int], members: list[Json]) -> int:
    value = 0
    for each in members:
        value |= bit_value(names, each)
    return value


_STATE_OF_BIT = {bit: fields.STATES.index(name) for name, bit in words.CT_STATES.items()}


def state(member: Json) -> Intervals:
    """Exactly these state bits: a packet has one of them, never two."""
    index = _STATE_OF_BIT.get(bit_value(words.CT_STATES, member))
    return () if index is None else ((index, index),)


def states_of(member: Json) -> Intervals:
    """The states that have one of the bits."""
    bits = bit_value(words.CT_STATES, member)
    return fields.values(*(index for bit, index in _STATE_OF_BIT.items() if bit & bits))


def tcp_flags(member: Json) -> Intervals:
    """Exactly these flags."""
    if isinstance(member, dict) and "range" in member:
        first, last = (bit_value(words.TCP_FLAGS, bound) for bound in member["range"])
        return ((first, last),)
    value = bit_value(words.TCP_FLAGS, member)
    return ((value, value),) if value <= 255 else ()


def tcp_flags_of(member: Json) -> Intervals:
    """All values that have one of the flags."""
    bits = bit_value(words.TCP_FLAGS, member)
    return fields.values(*(value for value in range(256) if value & bits))


# Masks.

# A mask with holes cuts a field into single values; more of them than this stay opaque.
_MOST = 4096


def masked(decode: Decode, mask: int, bits: int) -> Decode:
    """The values whose bits under `mask` are one of the decoded ones."""
    free = ~mask & ((1 << bits) - 1)
    hosts = (free & ~(free + 1)).bit_length()
    above = free >> hosts << hosts
    if bin(above).count("1") > 12:

        def unclear(member: Json) -> Intervals:
            raise Unclear(member)

        return unclear

    def preimage(member: Json) -> Intervals:
        found: list[Interval] = []
        for first, last in decode(member):
            low = -(-first >> hosts)
            high = last >> hosts
            if above and high - low > _MOST:
                raise Unclear(member)
            found += _spread(low, high, hosts, above)
        return merge(found)

    return preimage


def _spread(low: int, high: int, hosts: int, above: int) -> list[Interval]:
    """[low, high] of what the mask leaves, above `hosts` free bits, with every value of the bits `above`."""
    if high < low:
        return []
    if not above:
        return [(low << hosts, (high + 1 << hosts) - 1)]
    bases = [number << hosts for number in range(low, high + 1) if not number << hosts & above]
    spread = [0]
    bit = above
    while bit:
        lowest = bit & -bit
        spread += [each | lowest for each in spread]
        bit ^= lowest
    return [(base | more, (base | more) + (1 << hosts) - 1) for base in bases for more in spread]
