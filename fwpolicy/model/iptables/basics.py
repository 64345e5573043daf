"""What every rule can say without a match module: addresses, interfaces, protocol, fragments."""

from __future__ import annotations

from fwpolicy import addresses
from fwpolicy.model import fields
from fwpolicy.model.iptables import names
from fwpolicy.model.program import ALWAYS, NEVER, And, Lit, Not, NotModelledError
from fwpolicy.protocols import AH
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.model.iptables.words import Option
    from fwpolicy.model.program import Expr

# A mask with more holes than this becomes one opaque condition.
MOST_INTERVALS = 1024
READABLE = Lit("th", ((1, 1),))


@record
class Context:
    """What a match must know of its rule. `protocol`: that of `-p`; 0 without one, or with a negated one.
    `readable`: another match sees to it that the transport header is there."""

    family: int
    protocol: int = 0
    readable: bool = False


def negate(part: Expr, negated: bool) -> Expr:
    """`!`, as the kernel's XOR with a flag."""
    return Not(part) if negated else part


def only(option: Option) -> str:
    """The value of an option that has one."""
    name, _, values = option
    if len(values) != 1:
        raise NotModelledError(f"'--{name}' takes one value, not {len(values)}")
    return values[0]


def flag(option: Option) -> bool:
    """Whether an option without a value is given, and not negated."""
    name, negated, values = option
    if values:
        raise NotModelledError(f"'--{name}' takes no value")
    return not negated


def masked(bits: int, value: int, mask: int) -> Intervals | None:
    """The values whose bits under `mask` are those of `value`; None where that is too many intervals."""
    if value & ~mask:
        return ()
    size = mask & -mask or 1 << bits
    if mask + size == 1 << bits:  # a prefix, as nearly all are
        return ((value, value + size - 1),)
    holes = [bit for bit in range(size.bit_length(), bits) if not mask >> bit & 1]
    if 1 << len(holes) > MOST_INTERVALS:
        return None
    starts = [value]
    for bit in holes:
        starts += [start | 1 << bit for start in starts]
    return addresses.merge((start, start + size - 1) for start in starts)


def masked_text(field: str, bits: int, text: str) -> Expr:
    """`VALUE[/MASK]` of a field with `bits` bits."""
    top = (1 << bits) - 1
    value_text, slash, mask_text = text.partition("/")
    value = names.number(value_text, top)
    mask = names.number(mask_text, top) if slash else top
    found = masked(bits, value, mask)
    if found is None:
        return Lit(fields.opaque(f"{field} & {mask:#x} == {value:#x}"), fields.YES)
    return Lit(field, found) if found else NEVER


def network(family: int, text: str) -> tuple[int, int]:
    """(address, mask) of `A`, `A/LEN` or `A/MASK`; "10/8" is short for 10.0.0.0/8."""
    address, slash, mask_text = text.partition("/")
    bits = addresses.BITS[family]
    if slash and family == 4:
        address += ".0" * (3 - address.count("."))
    if not slash:
        mask = (1 << bits) - 1
    elif mask_text.isdecimal():
        mask = (1 << bits) - (1 << bits - names.number(mask_text, bits, "prefix length"))
    else:
        mask = _address(family, mask_text)
    return _address(family, address) & mask, mask


def _address(family: int, text: str) -> int:
    try:
        found, first, last = addresses.parse(text)
    except addresses.AddressError as error:
        raise NotModelledError(str(error)) from None
    if found != family or first != last:
        raise NotModelledError(f"'{text}' is no address of IPv{family}")
    return first


def address_range(family: int, text: str) -> Intervals:
    """`A-B` or `A`."""
    first, dash, last = text.partition("-")
    interval = _address(family, first), _address(family, last if dash else first)
    if interval[0] > interval[1]:
        raise NotModelledError(f"the range '{text}' runs backwards")
    return (interval,)


def in_network(family: int, field: str, text: str) -> Expr:
    """Whether the address in `field` ("saddr", "origdaddr") is in a network."""
    value, mask = network(family, text)
    if not mask:
        return ALWAYS
    found = masked(addresses.BITS[family], value, mask)
    if found is None:
        shown = [addresses.format_address(family, number) for number in (value, mask)]
        return Lit(fields.opaque(f"{field}{family} & {shown[1]} == {shown[0]}"), fields.YES)
    return Lit(f"{field}{family}", found)


def interface(field: str, text: str) -> Expr:
    """`eth0`, or `eth+` for what begins with "eth"; "+" alone is any, even none (ifname_compare_aligned)."""
    if text == "+":
        return ALWAYS
    name, prefix = (text[:-1], True) if text.endswith("+") else (text, False)
    octets = name.encode()
    if not 0 < len(octets) < fields.IFNAMSIZ:
        raise NotModelledError(f"'{text}' cannot be an interface: 1 to {fields.IFNAMSIZ - 1} bytes")
    rest = 8 * (fields.IFNAMSIZ - len(octets))
    first = int.from_bytes(octets, "big") << rest
    return Lit(field, ((first, first + (1 << rest) - 1 if prefix else first),))


def _protocol(family: int, number: int) -> Expr:
    """ip6tables-legacy never finds AH by `-p ah`: it steps over it to what follows (ipv6_find_hdr)."""
    found = Lit("l4proto", ((number, number),))
    return And((found, Lit(fields.opaque("-p ah"), fields.YES))) if (family, number) == (6, AH) else found


def header(family: int, option: Option) -> Expr:
    """The condition of one of iptables' own options."""
    name, negated, values = option
    match name:
        case "source" | "destination":
            field = "saddr" if name == "source" else "daddr"
            return negate(in_network(family, field, values[0]), negated)
        case "in" | "out":
            return negate(interface("iif" if name == "in" else "oif", values[0]), negated)
        case "protocol":
            number = names.protocol(values[0])
            if not number and negated:
                raise NotModelledError("'! -p all' matches nothing; iptables refuses it")
            return negate(_protocol(family, number), negated) if number else ALWAYS
        case "fragment":
            if family == 6:
                raise NotModelledError("ip6tables has no '-f'")
            return Lit("fragment", ((0, 0),) if negated else ((1, 1),))
    raise NotModelledError(f"'--{name}' is not handled")
