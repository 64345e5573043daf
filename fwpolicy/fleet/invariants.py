"""Rules about rules: what an organisation never lets through and always does (docs/fleet.md).

They stand on names of their own: a policy that calls something else `admin` weakens nothing.
"""

from __future__ import annotations

from fwpolicy import source
from fwpolicy.errors import PolicyError, Span
from fwpolicy.policy import lines
from fwpolicy.policy.expectations import packet_services
from fwpolicy.policy.include import Gathering
from fwpolicy.policy.matches import narrowed
from fwpolicy.policy.model import Match
from fwpolicy.policy.names import Names
from fwpolicy.policy.parse import parse
from fwpolicy.policy.reader import Reader, nearest
from fwpolicy.policy.resolve import families_of
from fwpolicy.policy.syntax import MatchText, Sources
from fwpolicy.record import record
from fwpolicy.source import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from fwpolicy.policy.names import ReadFile
    from fwpolicy.policy.syntax import Word
    from fwpolicy.source import Document, Node

NAMES = ("version", "include", "groups", "services", "zones")
KINDS = ("never", "always")
ANY = "any"
# Of a line and of its exceptions: as in the lines of a policy, but that a test's `allow` says what.
OF_HOOKS = {
    hook: ("allow", *(key for key in keys if key in ("from", "to", "local", "in", "out", "sport")))
    for hook, keys in lines.MATCH_KEYS.items()
}
LINE_KEYS = ("allow", "from", "to", "local", "in", "out", "sport", "except", "hosts", "comment")


@record
class Invariant:
    """What hosts never let through, or (`always`) always: packets of `hook` that match, and no hole does.

    `everything`: whatever the service, but for what every policy lets through. `hosts`: names of groups and
    hosts that it is about, None for all. `zones`: those that it names, with their interfaces.
    """

    always: bool
    hook: str
    match: Match
    holes: tuple[Match, ...]
    everything: bool
    hosts: tuple[str, ...] | None
    origin: Span
    zones: tuple[tuple[str, tuple[str, ...]], ...] = ()


@record
class _Line:
    """A line as written."""

    always: bool
    hook: str
    what: tuple[Word, ...]
    match: MatchText
    holes: tuple[tuple[tuple[Word, ...] | None, MatchText], ...]
    hosts: tuple[Word, ...] | None


def load(file: str, data: bytes, read_file: ReadFile, known: Collection[str]) -> tuple[Invariant, ...]:
    """The invariants of one file. `known`: the groups and hosts of the inventory. Raises PolicyError with all
    that is wrong, each at its place."""
    document = source.load(file, data)
    reader = Reader(document.text)
    reader.problems += document.problems
    if document.root is None:
        reader.error("the file is empty", Span(file, 1, 1, 2), "as in: never: [{allow: ntp, from: internet}]")
        raise PolicyError(tuple(reader.problems))
    found = reader.keys(document.root, "a file of invariants", (*NAMES, *KINDS))
    written = [line for kind in KINDS for line in _lines(reader, kind, found.get(kind))]
    if not written and not reader.problems:
        reader.error("nothing is never or always", document.root, f"it needs {' or '.join(KINDS)}")
    names = _names(document, read_file)
    names.problems += reader.problems
    resolved = tuple(_resolved(line, names, known) for line in written)
    if names.has_errors():
        raise PolicyError(tuple(each for each in names.problems if each.severity == "error"))
    return tuple(each for each in resolved if each is not None)


def _names(document: Document, read_file: ReadFile) -> Names:
    """The names that the file declares and includes."""
    assert document.root is not None  # noqa: S101  (an empty file is refused before)
    pairs = document.root.pairs if isinstance(document.root, Mapping) else []
    root = Mapping([pair for pair in pairs if pair[0].value in NAMES], document.root.start)
    text = parse(source.Document(document.text, root, ()))
    gathering = Gathering([text], read_file)
    gathering.follow(text)
    if gathering.problems:
        raise PolicyError(tuple(gathering.problems))
    files = tuple(gathering.files.values())
    names = Names(Sources(files, (text.text.file,), gathering.reach()), read_file)
    names.problems += [problem for each in files for problem in each.problems]
    return names


def _lines(reader: Reader, kind: str, node: Node | None) -> list[_Line]:
    """A line alone may stand without its list."""
    if node is None:
        return []
    items = node.items if isinstance(node, Sequence) else [node]
    if not items:
        reader.error(f"'{kind}' is an empty list", node, "leave it out")
    read = (_line(reader, kind, item) for item in items)
    return [line for line in read if line is not None]


def _line(reader: Reader, kind: str, node: Node) -> _Line | None:
    found = reader.keys(node, f"a line of '{kind}'", LINE_KEYS)
    if not isinstance(node, Mapping):
        return None
    whole = lines.all_known(node, found)
    if "allow" not in found:
        if whole:
            reader.error(f"a line of '{kind}' says what, as in: allow: ssh", node, "allow: any is everything")
        return None
    if "from" not in found and "to" not in found:
        if whole:
            reader.error("the line needs 'from' (input), 'to' (output), or both (forward)", node)
        return None
    hook = "output" if "from" not in found else "forward" if "to" in found else "input"
    _belong(reader, node, hook, ("except", "hosts", "comment"))
    what, match = _match(reader, node, found, hook)
    reader.comment(found.get("comment"), "'comment'")
    hosts = reader.words(found.get("hosts"), "'hosts'")
    return _Line(kind == "always", hook, what or (), match, _holes(reader, found.get("except"), hook), hosts)


def _belong(reader: Reader, node: Mapping, hook: str, more: tuple[str, ...] = ()) -> None:
    """A key that the hook's packets cannot have is a mistake."""
    for key, _ in node.pairs:
        if key.value in LINE_KEYS and key.value not in (*OF_HOOKS[hook], *more):
            hint = lines.ELSEWHERE[hook].get(key.value, f"it has: {', '.join(OF_HOOKS[hook])}")
            reader.error(f"'{key.value}' does not belong in a line of {hook}", key, hint)


def _match(
    reader: Reader, node: Node, found: dict[str, Node], hook: str
) -> tuple[tuple[Word, ...] | None, MatchText]:
    def words(key: str) -> tuple[Word, ...] | None:
        return reader.words(found.get(key), f"'{key}'")

    what = words("allow")
    services = None if what and any(word.text == ANY for word in what) else what
    if what and services is None and len(what) > 1:
        reader.error("'any' stands alone: it is everything", found["allow"])
    destinations = words("local" if hook == "input" else "to")
    span = reader.text.span(node)
    match = MatchText(span, services, words("from"), destinations, words("sport"), words("in"), words("out"))
    return what, match


def _holes(
    reader: Reader, node: Node | None, hook: str
) -> tuple[tuple[tuple[Word, ...] | None, MatchText], ...]:
    if node is None:
        return ()
    items = node.items if isinstance(node, Sequence) else [node]
    holes = []
    for item in items:
        found = reader.keys(item, "'except'", tuple(OF_HOOKS[hook]), elsewhere=lines.ELSEWHERE[hook])
        if isinstance(item, Mapping) and not item.pairs:
            reader.error("'except' is empty: it would except everything", item)
        if found:
            holes.append(_match(reader, item, found, hook))
    return tuple(holes)


def _resolved(line: _Line, names: Names, known: Collection[str]) -> Invariant | None:
    """None where something is wrong with it."""
    before = len(names.problems)
    match = _meaning(line.match, names)
    holes = tuple(_meaning(text, names) for _, text in line.holes)
    hosts = _hosts(line.hosts, names, known)
    if names.has_errors(before):
        return None
    if not _concerns(match):
        names.error(
            "no packet is what this line is about", line.match.span, "its addresses and services part"
        )
        return None
    everything = any(word.text == ANY for word in line.what)
    zones = _zones(line, names)
    return Invariant(line.always, line.hook, match, holes, everything, hosts, line.match.span, zones)


def _zones(line: _Line, names: Names) -> tuple[tuple[str, tuple[str, ...]], ...]:
    texts = (line.match, *(text for _, text in line.holes))
    named = {word.text for text in texts for word in (*(text.incoming or ()), *(text.outgoing or ()))}
    return tuple((name, tuple(each.text for each in names.zones[name].interfaces)) for name in sorted(named))


def _meaning(text: MatchText, names: Names) -> Match:
    services = None
    if text.services is not None:
        services = tuple(dict.fromkeys(s for word in text.services for s in packet_services(word, names)))
    match = Match(
        services,
        None if text.sources is None else names.fixed(text.sources),
        None if text.destinations is None else names.fixed(text.destinations),
    )
    return narrowed(match, text, names)


def _concerns(match: Match) -> bool:
    """Whether there is a packet of some family that matches."""
    served = families_of(match.services) or (4, 6)
    sides = [side for side in (match.source, match.destination) if side is not None]
    return any(all(side.of(family) for side in sides) for family in served)


def _hosts(words: tuple[Word, ...] | None, names: Names, known: Collection[str]) -> tuple[str, ...] | None:
    for word in words or ():
        if word.text not in known:
            hint = nearest(word.text, known)
            names.error(f"'{word.text}' is neither a group nor a host of the inventory", word.span, hint)
    return None if words is None else tuple(word.text for word in words)
