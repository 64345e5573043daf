"""Names for the lines of a policy: of their counters, limits, sets and chains.

`STEP_HOOK_ID`, where the line has an id; else what the line says takes its place, so that a name
stays when other lines come, go or move, and a counter goes on counting over a reload.
"""

from __future__ import annotations

import re
from binascii import crc32
from collections import Counter

from fwpolicy.addresses import BITS, EVERYWHERE, NOWHERE, format_address, prefix_length, prefixes
from fwpolicy.errors import PolicyError, Problem
from fwpolicy.protocols import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import AddressSet
    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.policy.model import Match, Rule
    from fwpolicy.policy.services import Service

# nft identifiers hold more, but no ':' (nft(8) "LEXICAL CONVENTIONS"), and start with a letter.
_OTHERS = re.compile(r"[^a-zA-Z0-9_.-]")
# Of 255 bytes (NFT_NAME_MAXLEN): a line of a listing should not consist of a name.
_LONGEST = 48
# How many services or interfaces a name lists before it only counts on its checksum.
_SHOWN = 3


class Names:
    """Hands out names, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """`wanted`, or with a number where another has it."""
        number, name = 1, wanted
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def lines(self, prefix: str, lines: tuple[Rule, ...]) -> tuple[str, ...]:
        """A name for each of `lines`. Those with an id choose first."""
        chosen = [line.id and self.take(f"{prefix}_{_plain(line.id)}") for line in lines]
        pairs = zip(chosen, lines, strict=True)
        return tuple([name or self.take(f"{prefix}_{_said(line)}") for name, line in pairs])


def distinct(ruleset: Ruleset) -> Ruleset:
    """`ruleset`, in which no two chains, sets, maps or limits of a table share a name: the kernel would
    make one of them, and rules of one line would stand in for another's. Raises PolicyError: it is a
    fault of the compiler, and nothing is loaded."""
    for table in ruleset.tables:
        for what, named in (
            ("chains", table.chains),
            ("sets or maps", (*table.sets, *table.maps)),
            ("limits", table.limits),
        ):
            counts = Counter(each.name for each in named)
            for name in (name for name, count in counts.items() if count > 1):
                message = f"the compiler has given two {what} the name '{name}'; please report this policy"
                raise PolicyError((Problem(message),))
    return ruleset


def shortened(words: Iterable[str], whole: object) -> str:
    """`words` as a name; with a checksum of `whole` where they are not all of it."""
    text = "_".join(words)
    if whole is None and len(text) <= _LONGEST and not _OTHERS.search(text):
        return text
    return f"{_plain(text)[:_LONGEST]}_{crc32(repr((text, whole)).encode()):08x}".lstrip("_")


def _plain(text: str) -> str:
    return _OTHERS.sub("_", text)


def _said(line: Rule) -> str:
    """What the line is about: services, then addresses and interfaces; a checksum for the rest.

    Its limit, its log and its expiry it may change and still be the same line.
    """
    match = line.match
    parts = _parts(match)
    words, left_out = zip(*parts, strict=True) if parts else ((), ())
    if line.verdict == "reject":
        words = ("reject", *words)
    unsaid: list[tuple[str, object]] = []
    # Beside addresses the families follow from what groups hold, and that may change.
    if line.families not in ((4, 6), ()) and not _has_addresses(match):
        unsaid.append(("families", line.families))
    if line.holes:
        unsaid.append(("holes", [_told(hole) for hole in line.holes]))
    if left_out.count(None) < len(left_out):
        unsaid.append(("parts", [part for part in left_out if part is not None]))
    if match.published:
        unsaid.append(("published", True))
    if match.sports:
        unsaid.append(("sports", match.sports))
    return shortened(words or ("any",), unsaid or None)


def _has_addresses(match: Match) -> bool:
    known = match.source is not None or match.destination is not None
    return known or bool(match.source_dynamic or match.destination_dynamic)


def _told(match: Match) -> object:
    """A condition without what may change while it stays the same one: the members of groups."""
    return (_parts(match), match.sports, match.published)


def _parts(match: Match) -> list[tuple[str, object]]:
    """(word, what the word leaves out or None), in a fixed order."""
    parts: list[tuple[str, object]] = []
    if match.services is not None:
        parts.append(_of_services(match.services))
    if match.source is not None or match.source_dynamic:
        parts.append(_of_side("from", match.source_group, match.source, match.source_dynamic))
    if match.destination is not None or match.destination_dynamic:
        parts.append(_of_side("to", match.destination_group, match.destination, match.destination_dynamic))
    if match.incoming is not None:
        parts.append(_of_interfaces("in", match.incoming))
    if match.outgoing is not None:
        parts.append(_of_interfaces("out", match.outgoing))
    return parts


def _of_interfaces(word: str, names: tuple[str, ...]) -> tuple[str, object]:
    return f"{word}_{'_'.join(names[:_SHOWN])}", names if len(names) > _SHOWN else None


def _of_services(services: tuple[Service, ...]) -> tuple[str, object]:
    if len(services) == 1 and len(texts := service_words(services[0])) == 1:
        return texts[0], None
    texts = sorted({text for service in services for text in service_words(service)})
    return "_".join(texts[:_SHOWN]), texts if len(texts) > _SHOWN else None


def _of_side(
    word: str, group: str | None, addresses: AddressSet | None, dynamic: tuple[str, ...]
) -> tuple[str, object]:
    if group or dynamic:
        names = [*([group] if group else []), *dynamic]
        return f"{word}_{'_'.join(names)}", None if group or not addresses else addresses
    return _of_addresses(word, addresses or NOWHERE)


def service_words(service: Service) -> list[str]:
    """`tcp_22`, `udp_10000-20000`, `icmp_8`, `ip_47`."""
    protocol = NAMES.get(service.protocol)
    if service.ports and protocol:
        return [f"{protocol}_{a}" if a == b else f"{protocol}_{a}-{b}" for a, b in service.ports]
    if service.icmp_types and protocol:
        return [f"{protocol}_{number}" for number in service.icmp_types]
    return [f"ip_{service.protocol}"]


def _of_addresses(word: str, addresses: AddressSet) -> tuple[str, object]:
    """The first prefix of a set, as a reminder of which it is. It is all there is to say of a set that is one
    prefix with a plain text, which one of IPv6 has not, for its colons."""
    if addresses.v4 and addresses.v6 and addresses == EVERYWHERE:
        return f"{word}_any", None
    family = 4 if addresses.v4 else 6
    intervals = addresses.v4 or addresses.v6
    if not intervals:
        return f"{word}_none", addresses
    length = whole = prefix_length(family, intervals[0])
    network = intervals[0][0]
    if length is None:
        length = prefixes(family, intervals[0])[0][1]
    text = format_address(family, network)
    if length != BITS[family]:
        text = f"{text}_{length}"
    alone = whole is not None and family == 4 and len(intervals) == 1 and not addresses.v6
    return f"{word}_{text}", None if alone else addresses
