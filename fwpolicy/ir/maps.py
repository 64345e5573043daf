"""Maps, and the two ways to look a packet up in one (nft(8) "MAPS", "VERDICT MAPS", "STATEFUL OBJECTS").

One lookup stands for as many rules as the map has elements: a linear rule costs about 27 ns a packet,
a hash 105 and a concatenation 145, however many elements there are.
"""

from __future__ import annotations

from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Interval
    from fwpolicy.errors import Span


@record
class Element:
    """`key`: an interval for each field. `to`: the counter's name, or that of the chain to jump to.

    `comment` and `origin` are those of the policy's line.
    """

    key: tuple[Interval, ...]
    to: str
    comment: str | None = None
    origin: Span | None = None


@record
class Map:
    """A named map. `types`: nft's for the fields of a key; `holds`: "counter" or "verdict" (jumps).

    No two keys overlap: the kernel refuses some that do, and answers with either for others.
    """

    name: str
    types: tuple[str, ...]
    holds: str
    elements: tuple[Element, ...]


@record
class CounterMap:
    """`counter name ip saddr . tcp dport map @NAME`: counts with the counter that the map names.

    A match as well: where the map has nothing the rule does not hold. `fields`: what is looked up, as
    nft writes it ("ip saddr", "tcp dport"); implies families and protocols.
    """

    fields: tuple[str, ...]
    map_name: str


@record
class VerdictMap:
    """`ip saddr . tcp dport vmap @NAME`: a jump to the chain that the map names, or the next rule."""

    fields: tuple[str, ...]
    map_name: str


def type_of(field: str) -> str:
    """nft's type of a field."""
    protocol, _, name = field.partition(" ")
    if name.endswith("port"):
        return "inet_service"
    return "ipv4_addr" if protocol == "ip" else "ipv6_addr"
