"""Classes of packets in words: those of the policy where it has a name for them."""

from __future__ import annotations

from fwpolicy.addresses import BITS, format_address, merge, prefixes, subtract
from fwpolicy.model import fields
from fwpolicy.model.concrete import PORTED
from fwpolicy.model.diagram import NO, YES
from fwpolicy.policy.values import day_text
from fwpolicy.policy.vocabulary import Vocabulary, built_in_services
from fwpolicy.protocols import NAMES
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.build import Build
    from fwpolicy.model.diagram import Edges

NOTHING = Vocabulary(services=built_in_services())
# More alternatives than these are counted, not named.
_MOST = 4
_MANY = 64
# Neither is in a zone: no interface, and the host's own.
_NO_ZONE = merge((*fields.interface("lo"), (fields.NO_INTERFACE, fields.NO_INTERFACE)))
_OF_ADDRESSES = {"saddr": "from", "daddr": "to", "origdaddr": "first sent to", "origsaddr": "first sent from"}


@record
class Cube:
    """A class of packets that is one set of values a field (those left out have any)."""

    values: Mapping[str, Intervals]


def cubes(build: Build, region: int, given: int = YES) -> Iterator[Cube]:
    """Cubes that cover the condition `region` and, of all packets that can be, no others; they are as few
    as splitting at fields that are entangled finds. What is true of every packet is left out, and
    that it is not over `lo` and can be read; and what the condition `given` says anyway."""
    care = build.diagrams.both(build.possible, given)
    for rarity in build.rarities:
        if build.diagrams.both(region, rarity) == NO:
            care = build.diagrams.both(care, build.diagrams.negated(rarity))
    if region != NO:
        yield from _cubes(build, build.diagrams.restricted(region, care), care)


def _cubes(build: Build, part: int, care: int) -> Iterator[Cube]:
    diagrams = build.diagrams
    masks = _projection(build, part)
    if diagrams.both(_product(build, masks), care) == diagrams.both(part, care):
        for level in sorted(masks, reverse=True):
            fewer = {other: mask for other, mask in masks.items() if other != level}
            if diagrams.both(_product(build, fewer), care) == diagrams.both(part, care):
                masks = fewer
        yield _cube(build, masks)
        return
    level = _entangled(build, part)
    for child, mask in diagrams.edges(part) if diagrams.level(part) == level else _ways(build, part, level):
        if child != NO:
            own = diagrams.split(level, mask, YES, NO)
            inner = diagrams.both(care, own)
            if diagrams.both(part, inner) != NO:
                yield from _cubes(build, diagrams.both(part, own), care)


def _entangled(build: Build, part: int) -> int:
    """The first field below which there is more than one way to go on."""
    while True:
        level = build.diagrams.level(part)
        ways = [child for child, _ in build.diagrams.edges(part) if child != NO]
        if len(ways) > 1 or ways[0] in (YES, NO):
            return level
        part = ways[0]


def _ways(build: Build, part: int, level: int) -> Edges:
    """The edges at `level`, down the only way there."""
    while build.diagrams.level(part) != level:
        part = next(child for child, _ in build.diagrams.edges(part) if child != NO)
    return build.diagrams.edges(part)


def _projection(build: Build, region: int) -> dict[int, int]:
    """level -> atoms that some packet of the region has; levels that every value of passes are left out."""
    diagrams = build.diagrams
    seen: set[int] = set()
    found: dict[int, int] = {}
    skipped: set[int] = set()
    waiting = [region]
    while waiting:
        each = waiting.pop()
        if each in seen or each in (YES, NO):
            continue
        seen.add(each)
        level = diagrams.level(each)
        for child, mask in diagrams.edges(each):
            if child == NO:
                continue
            found[level] = found.get(level, 0) | mask
            below = len(build.atoms.fields) if child == YES else diagrams.level(child)
            skipped.update(range(level + 1, below))
            waiting.append(child)
    first = diagrams.level(region) if region not in (YES, NO) else 0
    skipped.update(range(first))
    full = build.atoms.full
    return {level: mask for level, mask in found.items() if level not in skipped and mask != full[level]}


def _product(build: Build, masks: Mapping[int, int]) -> int:
    found = YES
    for level in sorted(masks, reverse=True):
        found = build.diagrams.split(level, masks[level], found, NO)
    return found


def _cube(build: Build, masks: Mapping[int, int]) -> Cube:
    values = {}
    for level, mask in masks.items():
        if mask == build.atoms.full[level]:
            continue
        values[build.atoms.fields[level]] = merge(build.atoms.intervals(level, mask))
    return Cube(values)


def words(hook: str, cube: Cube, names: Vocabulary = NOTHING) -> str:
    """The class as a line: what, from and to where, by which interfaces, in which state."""
    values = dict(cube.values)
    families = values.pop("nfproto", None)
    if values.get("ctstate") == fields.states("new", "untracked"):
        del values["ctstate"]
    said = [hook, _what(values, names)]
    if families is not None and not any(f"{side}{families[0][0]}" in values for side in _OF_ADDRESSES):
        said.append("IPv4" if families == ((4, 4),) else "IPv6")
    for side, word in _OF_ADDRESSES.items():
        said += _addresses(word, side, values, names)
    for field, word in (("iif", "in"), ("oif", "out")):
        if field in values:
            said.append(_interfaces(word, values.pop(field), names))
    for field in sorted(values, key=fields.rank):
        said.append(_other(field, values[field]))
    return " ".join(part for part in said if part)


def _what(values: dict[str, Intervals], names: Vocabulary) -> str:
    protocols = values.pop("l4proto", None)
    values.pop("th", None)
    ports, types = values.pop("dport", None), values.pop("icmptype", None)
    if protocols is None:
        return "anything" if ports is None else f"port {_numbers(ports)}"
    numbers = [number for first, last in protocols for number in range(first, last + 1)]
    if len(numbers) > _MOST:
        missing = [number for number in range(256) if number not in set(numbers)]
        left = ", ".join(NAMES.get(number, f"ip/{number}") for number in missing[:8])
        return f"anything but {left}{', ...' if len(missing) > 8 else ''}"
    return " or ".join(_of_protocol(number, ports, types, names) for number in numbers)


def _of_protocol(number: int, ports: Intervals | None, types: Intervals | None, names: Vocabulary) -> str:
    name = NAMES.get(number, f"ip/{number}")
    if number in PORTED and ports is not None:
        known = _service(number, ports, names)
        return f"{name}/{_numbers(ports)}{known}"
    if number in (1, 58) and types is not None:
        return f"{name}/{_numbers(types)}{_icmp_service(number, types, names)}"
    return name


def _icmp_service(protocol: int, types: Intervals, names: Vocabulary) -> str:
    for name, parts in names.services:
        numbers = (number for part in parts if part.protocol == protocol for number in part.icmp_types)
        if fields.values(*numbers) == types:
            return f" ({name})"
    return ""


def _service(protocol: int, ports: Intervals, names: Vocabulary) -> str:
    """The name of a service that is these ports of the protocol, in brackets."""
    for name, parts in names.services:
        own = merge(i for part in parts if part.protocol == protocol for i in part.ports)
        if own == ports:
            return f" ({name})"
    return ""


def _numbers(intervals: Intervals) -> str:
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in intervals]
    return texts[0] if len(texts) == 1 else f"{{{','.join(_some(texts))}}}"


def _some(texts: list[str], rest: int = 0) -> list[str]:
    """Few, whole; else some of them and how many more there are, with the `rest` that has no text."""
    return texts if len(texts) + rest <= 8 else [*texts[:7], f"... {len(texts) - 7 + rest} more"]


def _addresses(word: str, side: str, values: dict[str, Intervals], names: Vocabulary) -> list[str]:
    found = {family: values.pop(f"{side}{family}") for family in (4, 6) if f"{side}{family}" in values}
    return [_of_family(word, family, intervals, names) for family, intervals in found.items()]


def _of_family(word: str, family: int, intervals: Intervals, names: Vocabulary) -> str:
    for name, addresses in names.groups:
        if addresses.of(family) == intervals:
            return f"{word} {name}"
    others = subtract(fields.universe(f"saddr{family}"), intervals)
    for name, addresses in names.groups:
        if addresses.of(family) == others:
            return f"{word} all but {name}"
    if len(others) < len(intervals):
        return f"{word} all but {_prefixes(family, others)}"
    return f"{word} {_prefixes(family, intervals)}"


def _prefixes(family: int, intervals: Intervals) -> str:
    """Of very many intervals only the first are made into prefixes: nobody reads the rest."""
    texts: list[str] = []
    for first, last in intervals[:_MANY]:
        own = prefixes(family, (first, last))
        if len(own) > 2:
            texts.append(f"{format_address(family, first)}-{format_address(family, last)}")
            continue
        for network, length in own:
            text = format_address(family, network)
            texts.append(text if length == BITS[family] else f"{text}/{length}")
    rest = max(0, len(intervals) - _MANY)
    return texts[0] if len(texts) == 1 else f"{{{', '.join(_some(texts, rest))}}}"


def _interfaces(word: str, intervals: Intervals, names: Vocabulary) -> str:
    """An interface by its name, a pattern, or the zone that is these interfaces."""
    meant = subtract(intervals, _NO_ZONE) or intervals
    others = subtract(subtract(fields.universe("iif"), intervals), _NO_ZONE)
    for name, patterns in names.zones:
        own = merge(i for pattern in patterns for i in fields.interface(pattern))
        if own == meant:
            return f"{word} {name}"
        if own == others:
            return f"{word} none of {name}"
    if len(others) < len(meant):
        return f"{word} another interface than {_patterns(others)}" if others else ""
    return f"{word} {_patterns(meant)}"


def _patterns(intervals: Intervals) -> str:
    texts = []
    for first, last in intervals:
        name = fields.interface_name(first)
        if first == last:
            texts.append(name or "none")
        else:
            texts.append(f"{name}*" if fields.interface(f"{name}*") == ((first, last),) else "another")
    return texts[0] if len(texts) == 1 else f"{{{','.join(_some(texts))}}}"


_ENUMERATED = {
    "ctstate": ("state", fields.STATES),
    "daddrtype": ("to an address that is", fields.ADDRESS_TYPES),
    "daddrtype_iif": ("to an address that on its interface is", fields.ADDRESS_TYPES),
    "saddrtype": ("from an address that is", fields.ADDRESS_TYPES),
    "pkttype": ("sent to", fields.PACKET_TYPES),
}
_SWITCHES = {
    "dnat": ("redirected", "not redirected"),
    "snat": ("with its source translated", "with its source as it was"),
    "ctdir": ("in reply direction", "in original direction"),
    "fragment": ("as a later fragment", "not as a later fragment"),
}
_NUMBERED = {"sport": "source port", "origport": "published", "icmpcode": "code", "tcpflags": "tcp flags"}


def _other(field: str, intervals: Intervals) -> str:
    if field in _ENUMERATED:
        word, known = _ENUMERATED[field]
        own = [known[n] for first, last in intervals for n in range(first, last + 1)]
        rest = [each for each in known if each not in own]
        few = field != "ctstate" and len(rest) < len(own)
        return f"{word} not {' or '.join(rest)}" if few else f"{word} {', '.join(own)}"
    if field in _SWITCHES:
        return _SWITCHES[field][0 if intervals == ((1, 1),) else 1]
    if field == "ntpmode":
        modes = [str(n) if n < fields.NO_MODE else "none" for a, b in intervals for n in range(a, b + 1)]
        return f"mode {', '.join(modes)}"
    if field == "time":
        return _times(intervals)
    kind, _, name = field.partition(":")
    holds = intervals == ((1, 1),)
    if kind == "limit":
        return f"{'within' if holds else 'beyond'} the limit {name.partition(' | ')[0]}"
    if kind == "member":
        set_name, _, side = name.rpartition(":")
        word = "from" if side == "saddr" else "to"
        return f"{word} {'a member' if holds else 'no member'} of {set_name}"
    if kind == "opaque":
        return f"{'with' if holds else 'without'} '{name}'"
    return f"{_NUMBERED.get(field, field)} {_numbers(intervals)}"


def _times(intervals: Intervals) -> str:
    first, last = intervals[0][0], intervals[-1][1]
    if first == 0:
        return f"before {day_text(last + 1)}"
    if last == fields.universe("time")[0][1]:
        return f"from {day_text(first)}"
    return f"from {day_text(first)} until {day_text(last + 1)}"
