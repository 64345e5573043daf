"""`tests`, resolved, and their rarer keys."""

from __future__ import annotations

from fwpolicy.policy import values, zones
from fwpolicy.policy.matches import PORTED
from fwpolicy.policy.model import Test
from fwpolicy.policy.names import FAMILY_NAMES
from fwpolicy.policy.resolve import families_of
from fwpolicy.policy.services import Service
from fwpolicy.protocols import NUMBERS
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import TestText, Word
    from fwpolicy.source import Node


@record
class TestMoreText:
    """The rarer keys of a test; None where one is left out."""

    local: tuple[Word, ...] | None = None
    incoming: tuple[Word, ...] | None = None
    outgoing: tuple[Word, ...] | None = None
    sports: tuple[Word, ...] | None = None
    published: Word | None = None
    time: int | None = None
    source_in: tuple[Word, ...] | None = None
    destination_in: tuple[Word, ...] | None = None


NOTHING = TestMoreText()
# The rarer keys, and the hooks that have them.
OF_HOOKS = {
    "local": ("input",),
    "in": ("input", "forward"),
    "out": ("output", "forward"),
    "published": ("input", "forward"),
    "source-in": ("input", "forward"),
}


def more_keys(reader: Reader, found: dict[str, Node]) -> TestMoreText:
    """The keys of TEST_MORE."""

    def words(key: str) -> tuple[Word, ...] | None:
        return reader.words(found[key], f"'{key}'") if key in found else None

    return TestMoreText(
        words("local"),
        words("in"),
        words("out"),
        words("sport"),
        reader.word(found.get("published"), "'published'"),
        values.midnight(reader, found.get("at"), "'at'"),
        words("source-in"),
        words("destination-in"),
    )


def resolve_test(text: TestText, names: Names) -> Test | None:
    """None for a test for which there is no packet, or that has a mistake."""
    hook = "forward" if text.sources and text.destinations else "input" if text.sources else "output"
    before = len(names.problems)
    more = text.more or NOTHING
    _keys_of_hook(hook, text, more, names)
    services = packet_services(text.what, names)
    source = None if text.sources is None else names.fixed(text.sources)
    destinations = text.destinations if text.destinations is not None else more.local
    destination = None if destinations is None else names.fixed(destinations)
    test = Test(
        text.allow,
        hook,
        services,
        text.what.text,
        text.span,
        source,
        destination,
        text.state.text if text.state else "new",
        int(text.mode.text) if text.mode else 3,
        zones.resolve(more.incoming, "in", names),
        zones.resolve(more.outgoing, "out", names),
        _sports(text, more, services, names),
        _published(text, more, services, names),
        more.time,
        _members(more.source_in, names),
        _members(more.destination_in, names),
    )
    if names.has_errors(before) or not _tests_something(text, test, names):
        return None
    return test


def _keys_of_hook(hook: str, text: TestText, more: TestMoreText, names: Names) -> None:
    said = {
        "local": more.local,
        "in": more.incoming,
        "out": more.outgoing,
        "published": more.published,
        "source-in": more.source_in,
    }
    for key, value in said.items():
        if value is not None and hook not in OF_HOOKS[key]:
            kind = {"input": "has 'from' alone", "output": "has 'to' alone"}.get(hook, "has 'from' and 'to'")
            message = f"'{key}' does not belong in a test of {hook}, which {kind}"
            names.error(message, text.span, f"'{key}' belongs to {' and '.join(OF_HOOKS[key])}")


def packet_services(word: Word, names: Names) -> tuple[Service, ...]:
    """A packet's WHAT: what a rule's service is, or a bare protocol: all of its ports."""
    if word.text in NUMBERS and word.text not in names.services:
        return (Service(NUMBERS[word.text], family={"icmp": 4, "icmpv6": 6}.get(word.text)),)
    return names.service((word,))


def _have_ports(key: str, text: TestText, services: tuple[Service, ...], names: Names) -> None:
    if any(service.protocol not in PORTED for service in services):
        message = f"'{key}' needs a service with ports, and '{text.what.text}' has none"
        names.error(message, text.what.span, "ports belong to tcp, udp, sctp and dccp")


def _sports(
    text: TestText, more: TestMoreText, services: tuple[Service, ...], names: Names
) -> Intervals | None:
    if not more.sports:
        return None
    _have_ports("sport", text, services, names)
    return values.ports(more.sports, names)


def _published(text: TestText, more: TestMoreText, services: tuple[Service, ...], names: Names) -> int | None:
    """The port that the connection first asked for."""
    if more.published is None:
        return None
    _have_ports("published", text, services, names)
    (ports,) = values.ports((more.published,), names) or ((0, 0),)
    if ports[0] != ports[1]:
        names.error(f"'published' is one port, not {more.published.text}", more.published.span)
    return ports[0]


def _members(words: tuple[Word, ...] | None, names: Names) -> tuple[str, ...] | None:
    """The dynamic groups that the packet's address is in; `none` for none."""
    if words is None or [word.text for word in words] == ["none"]:
        return None if words is None else ()
    for word in words:
        if word.text not in names.filled:
            hint = f"dynamic groups: {', '.join(sorted(names.filled)) or 'none is declared'}"
            names.error(f"'{word.text}' is not a dynamic group", word.span, hint)
        names.used.add(word.text)
    return tuple(sorted({word.text for word in words}))


def _tests_something(text: TestText, test: Test, names: Names) -> bool:
    """A test for which there is no packet would hold whatever the policy says."""
    peers = [part for part in (test.source, test.destination) if part is not None]
    if not all(peers):
        names.warn("this line tests nothing: its group is empty", text.span)
        return False
    served = families_of(test.services)
    if not served:  # a service of the policy's own that could not be read
        return False
    families = [family for family in (4, 6) if all(part.of(family) for part in peers)]
    if not families:
        names.error("the addresses of one side are IPv4 only, of the other IPv6 only", text.span)
        return False
    if not any(family in families for family in served):
        names.error(
            f"'{text.what.text}' is {FAMILY_NAMES[served[0]]} only, the addresses are not: "
            "no packet is what this line tests",
            text.span,
        )
        return False
    return True
