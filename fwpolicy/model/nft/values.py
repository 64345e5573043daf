"""Right sides as intervals of integers: one decoder for each kind of field."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from fwpolicy.addresses import merge
from fwpolicy.addresslists import networks
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
    bare = list(members)
    if set(map(type, bare)) != {str}:
        bare = list(map(unwrapped, bare))
    if isinstance(decode, OfNetworks) and len(bare) >= _LONG:
        found = decode.together(bare)
        if found is not None:
            return found
    return merge([interval for member in bare for interval in decode(member)])


def _forwards(first: int, last: int) -> Intervals:
    if first > last:
        raise ValueError(f"the range {first}-{last} runs backwards")
    return ((first, last),)


def numbers(names: Mapping[Any, int], last: int) -> Decode:
    """Numbers up to `last`, or their `names`; ranges of them."""

    def decode(member: Json) -> Intervals:
        if isinstance(member, dict) and "range" in member:
            return _forwards(*map(one, member["range"]))
        if isinstance(member, dict) and "prefix" in member:
            number, rest = one(member["prefix"]["addr"]), last >> member["prefix"]["len"]
            return ((number & ~rest, number | rest),)
        number = one(member)
        return ((number, number),)

    def one(member: Json) -> int:
        if isinstance(member, str):
            member = names[member] if member in names else _number(member)
        if not isinstance(member, int) or isinstance(member, bool) or not 0 <= member <= last:
            raise Unclear(member)
        return member

    return decode


def _number(text: str) -> Json:
    """`ct original proto-dst` after `meta l4proto { tcp, udp }` is "0x50 [invalid type]" as JSON (1.0.6)."""
    digits = text.removesuffix(" [invalid type]")
    try:
        return int(digits, 0) if digits[:1].isdigit() else text
    except ValueError:
        return text


class OfNetworks:
    """A decoder of IPv4 addresses that takes a long list at once, too: `length` bits of them count."""

    def __init__(self, decode: Decode, length: int) -> None:
        self._decode = decode
        self._length = length

    def __call__(self, member: Json) -> Intervals:
        return self._decode(member)

    def together(self, members: list[Json]) -> Intervals | None:
        """The union of all; None where one by one may say more."""
        texts = members if set(map(type, members)) == {str} else list(map(_network_text, members))
        return networks(texts, self._length)


# A list that is worth two passes.
_LONG = 64
_WHOLE = 32


def _network_text(member: Json) -> str:
    """ "" where it is no address and no network."""
    if isinstance(member, str):
        return member
    found = member.get("prefix") if isinstance(member, dict) else None
    return f"{found['addr']}/{found['len']}" if found else ""


def addresses(bits: int) -> Decode:
    """`ADDR`, `ADDR/LEN`, `ADDR-ADDR` as text or as JSON says them."""
    found = _addresses(bits)
    return OfNetworks(found, _WHOLE) if bits == _WHOLE else found


def _addresses(bits: int) -> Decode:
    one = _address(AF_INET if bits == 32 else AF_INET6)

    def network(text: str, length: int) -> Intervals:
        hosts = (1 << bits - length) - 1
        first = one(text) & ~hosts
        return ((first, first | hosts),)

    def decode(member: Json) -> Intervals:
        if isinstance(member, dict) and "prefix" in member:
            return network(member["prefix"]["addr"], member["prefix"]["len"])
        if isinstance(member, dict) and "range" in member:
            return _forwards(*map(one, member["range"]))
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
        if isinstance(member, int | str) and member in names:
            return ((names[member], names[member]),)
        if not isinstance(member, int):
            raise Unclear(member)
        return ()

    return decode


def interface(member: Json) -> Intervals:
    """An interface by its index; a number is one that no name is known of, not a name of digits."""
    if isinstance(member, str) and member.isdigit():
        raise Unclear(member)
    return interface_name(member)


def interface_name(member: Json) -> Intervals:
    """A name, or with a last "*" a prefix."""
    if not isinstance(member, str) or not member.isascii():
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
        member = names[member] if member in names else _number(member)
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


def states_under(mask: int) -> Decode:
    """The states whose bits under `mask` are the value's."""

    def decode(member: Json) -> Intervals:
        wanted = bit_value(words.CT_STATES, member)
        return fields.values(*(index for bit, index in _STATE_OF_BIT.items() if bit & mask == wanted))

    return decode


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

    if isinstance(decode, OfNetworks) and not above and 0 < hosts < bits:
        return OfNetworks(preimage, bits - hosts)
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
