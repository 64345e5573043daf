"""YAML text -> located nodes. The only importer of yaml.

The tree is built from the C parser's events, never from constructed values: `safe_load` turns
`0123` into 83, `11:22:33` into 40953 and `no` into False, lets a repeated key win silently, and
takes four times as long.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from fwpolicy.errors import MAX_PROBLEMS, PolicyError, Problem, Span
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 32
MAX_ALIASED_NODES = 100_000
# Half a kilobyte each by the time they are words: what keeps a 64 MiB file within a gigabyte.
MAX_NODES = 1_000_000
# What a signed bundle of policies begins with (fleet/bundle.py).
BUNDLE = b"fwpolicy-bundle "
_BUNDLE_HINT = (
    "plan, apply, explain, diff, prove, lint and bundle verify take one; from standard input plan and apply, "
    "with --bundle"
)
# What a written IPv6 address, prefix or range is made of.
IPV6 = frozenset("0123456789abcdefABCDEF:./%-")


class Node:
    """A piece of the document: where it starts (`line`, `column`) and ends, all counted from 0."""

    __slots__ = ("column", "end_column", "end_line", "line")

    # Each kind sets these by itself: a call less for each of a hundred thousand nodes.
    line: int
    column: int
    end_line: int
    end_column: int


class Scalar(Node):
    """A scalar's text as written; `plain` when it stood without quotes."""

    __slots__ = ("plain", "value")

    def __init__(self, value: str, plain: bool, start: Any, end: Any) -> None:
        self.line, self.column = start.line, start.column
        self.end_line, self.end_column = end.line, end.column
        self.value = value
        self.plain = plain


class Sequence(Node):
    """A list of nodes, in order."""

    __slots__ = ("items",)

    def __init__(self, items: list[Node], start: Any, end: Any) -> None:
        self.line, self.column = start.line, start.column
        self.end_line, self.end_column = end.line, end.column
        self.items = items


class Mapping(Node):
    """Pairs in file order; keys are scalars and differ from each other."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Scalar, Node]], start: Any, end: Any) -> None:
        self.line, self.column = start.line, start.column
        self.end_line, self.end_column = end.line, end.column
        self.pairs = pairs


class Text:
    """A text with the name it goes by in messages.

    A list of its lines would take twenty times the room of a text of short ones, so a line is
    looked for when a message needs it.
    """

    __slots__ = ("_breaks", "_content", "_last", "file")

    def __init__(self, file: str, content: str) -> None:
        self.file = file
        self._content = _with_plain_breaks(content)
        self._breaks: list[int] | None = None
        # The line found last, and where it starts: the next is mostly near.
        self._last = (1, 0)

    def lines(self) -> Iterator[str]:
        """One after the other."""
        start = 0
        while (end := self._content.find("\n", start + _STRIDE)) >= 0:
            yield from self._content[start:end].split("\n")
            start = end + 1
        yield from self._content[start:].split("\n")

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; empty past the end."""
        start = self._start_of(number)
        end = self._content.find("\n", start)
        return self._content[start : end if end >= 0 else None]

    def _start_of(self, number: int) -> int:
        line, start = self._last
        if not line <= number <= line + _NEAR:
            line, start = self._before(number)
        while line < number:
            start = self._content.find("\n", start) + 1
            if not start:
                return len(self._content)
            line += 1
        self._last = line, start
        return start

    def _before(self, number: int) -> tuple[int, int]:
        """A line before `number`, and an offset in it."""
        if self._breaks is None:
            self._breaks = [0]
            for start in range(0, len(self._content), _STRIDE):
                self._breaks.append(self._breaks[-1] + self._content.count("\n", start, start + _STRIDE))
        stride = max(bisect_left(self._breaks, number - 1) - 1, 0)
        return self._breaks[stride] + 1, stride * _STRIDE

    def span(self, node: Node) -> Span:
        """`node`'s first line, as a span."""
        line, column = node.line, node.column
        if node.end_line != line:
            return self.span_between(line, column, node.end_line, node.end_column)
        end = node.end_column
        return Span(self.file, line + 1, column + 1, (end if end > column else column + 1) + 1)

    def span_between(self, line: int, column: int, end_line: int, end_column: int) -> Span:
        """A span from 0-based marks; cut at the end of its first line."""
        end = end_column if end_line == line else len(self.line(line + 1).rstrip())
        return Span(self.file, line + 1, column + 1, max(end, column + 1) + 1)

    def span_at(self, offset: int) -> Span:
        """The one character at `offset` of the lines."""
        line = self._content.count("\n", 0, offset)
        column = offset - (self._content.rfind("\n", 0, offset) + 1)
        return self.span_between(line, column, line, column + 1)

    def has(self, character: str) -> bool:
        return character in self._content

    def find(self, character: str) -> int:
        """The offset of the first `character`; 0 where there is none."""
        return max(self._content.find(character), 0)

    def problem(
        self, message: str, span: Span | None, hint: str | None = None, severity: str = "error"
    ) -> Problem:
        return Problem(message, span, self.line(span.line) if span else None, hint, severity)


# Between two counts of line breaks: a line is found by a search of this many characters.
_STRIDE = 1 << 16
# So many lines on, the search from the last line found is no longer than that.
_NEAR = 1 << 10
# The other line breaks of YAML 1.1 5.4, as libyaml counts lines.
_RARE_BREAKS = "\r\x85\u2028\u2029"


def _with_plain_breaks(content: str) -> str:
    if any(character in content for character in _RARE_BREAKS):
        return re.sub(f"\r\n|[{_RARE_BREAKS}]", "\n", content)
    return content


def decode(file: str, data: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises PolicyError at the first bad byte."""
    if len(data) > MAX_BYTES:
        hint = "long lists of addresses belong in files of their own: groups: {NAME: {file: PATH}}"
        raise PolicyError((Problem("the file is larger than 64 MiB", Span(file, 1, 1, 2), None, hint),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = Text(file, data.decode("utf-8-sig", "replace"))
        before = len(_with_plain_breaks(data[: error.start].decode("utf-8-sig")))
        message = "the text is UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8 text"
        problem = text.problem(message, text.span_at(before), "save the file as UTF-8")
        raise PolicyError((problem,)) from None


class _Builder:
    """Events -> nodes; recursion stops at MAX_DEPTH, long before Python's own limit."""

    def __init__(self, text: Text, content: str, tagged: bool) -> None:
        import yaml  # noqa: PLC0415  (10 ms that `--help` does not pay)

        if not yaml.__with_libyaml__:
            raise PolicyError((Problem("PyYAML is installed without libyaml (the C parser)", None),))
        self.yaml = yaml
        self.events = yaml.events
        self.text = text
        self.next: Callable[[], Any] = yaml.cyaml.CParser(content).get_event  # type: ignore[attr-defined]
        self.anchors: dict[str, Node | None] = {}
        self.sizes: dict[int, int] = {}
        self.aliased = 0
        self.nodes = 0
        self.flow = 0
        self.problems: list[Problem] = []
        self.tagged = tagged
        self.tags: list[tuple[Node, Problem]] = []

    def document(self) -> Node | None:
        events = self.events
        self.next()
        if isinstance(self.next(), events.StreamEndEvent):
            return None
        root = self.node(self.next(), 0)
        self.next()
        following = self.next()
        if isinstance(following, events.DocumentStartEvent):
            self.refuse(
                "a second document begins here; a policy is one", following, "take out '---' or '...'"
            )
        return root

    def add(self, message: str, node: Node, hint: str | None = None) -> None:
        """A problem that the reading survives."""
        self.problems.append(self.text.problem(message, self.text.span(node), hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise PolicyError(tuple(self.problems))

    def refuse(self, message: str, event: Any, hint: str | None = None) -> NoReturn:
        raise PolicyError((*self.problems, self.text.problem(message, self.event_span(event), hint)))

    def event_span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return self.text.span_between(start.line, start.column, end.line, end.column)

    def node(self, event: Any, depth: int) -> Node:
        events = self.events
        kind = type(event)
        if kind is events.AliasEvent:
            return self.alias(event)
        if event.tag is not None:
            return self.tag(event, depth)
        if depth > MAX_DEPTH:
            self.refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            hint = "long lists of addresses belong in files of their own: {file: PATH}"
            self.refuse(f"more than {MAX_NODES:,} words, lists and mappings in one file", event, hint)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
        node: Node
        if kind is events.ScalarEvent:
            node = self.scalar(event)
        elif kind is events.SequenceStartEvent:
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def scalar(self, event: Any) -> Scalar:
        node = Scalar(event.value, event.implicit[0], event.start_mark, event.end_mark)
        if self.flow and "::" in node.value and node.plain and IPV6.issuperset(node.value):
            # One that ends in '::' breaks the list, so none is let through by luck.
            message = "an IPv6 address without quotes inside [ ] or { }"
            self.problems.append(
                self.text.problem(message, self.text.span(node), f'quote it: "{node.value}"')
            )
        return node

    def tag(self, event: Any, depth: int) -> Node:
        """The node behind a tag. That no tag may be here goes to `tags`: who asked knows better."""
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        line, column = event.start_mark.line, event.start_mark.column
        span = self.text.span_between(line, column, line, column + len(tag))
        problem = self.text.problem(f"tags are not part of the language: {tag}", span, "take it out")
        if not self.tagged:
            raise PolicyError((*self.problems, problem))
        event.tag = None
        node = self.node(event, depth)
        self.tags.append((node, problem))
        return node

    def alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self.anchors
            self.refuse(f"*{event.anchor} {'contains itself' if known else 'is not defined'}", event)
        self.aliased += self.size(node)
        if self.aliased > MAX_ALIASED_NODES:
            self.refuse(f"aliases expand beyond {MAX_ALIASED_NODES:,} nodes", event)
        return node

    def size(self, node: Node) -> int:
        """Nodes below `node`, aliases expanded; remembered, so that a bomb costs no more than its text."""
        known = self.sizes.get(id(node))
        if known is None:
            known = 1 + sum(self.size(child) for child in _children(node))
            self.sizes[id(node)] = known
        return known

    def sequence(self, start: Any, depth: int) -> Sequence:
        items: list[Node] = []
        end = self.events.SequenceEndEvent
        self.flow += start.flow_style
        while type(event := self.next()) is not end:
            items.append(self.node(event, depth + 1))
        self.flow -= start.flow_style
        return Sequence(items, start.start_mark, event.end_mark)

    def mapping(self, start: Any, depth: int) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        first: dict[str, Scalar] = {}
        end = self.events.MappingEndEvent
        self.flow += start.flow_style
        depth += 1
        while type(event := self.next()) is not end:
            key = self.node(event, depth)
            if not isinstance(key, Scalar):
                hint = "'{{ }}' belongs to a template: fill it in first" if isinstance(key, Mapping) else None
                self.refuse("a key must be a word, not a list or a mapping", event, hint)
            value = self.node(self.next(), depth)
            if key.value in first:
                line = first[key.value].line + 1
                self.add(f"'{key.value}' is here twice; the first is on line {line}", key)
                continue
            first[key.value] = key
            pairs.append((key, value))
        self.flow -= start.flow_style
        return Mapping(pairs, start.start_mark, event.end_mark)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Mapping):
        return [child for pair in node.pairs for child in pair]
    return []


@record
class Document:
    """A parsed text: its root node (None for an empty text) and the duplicate keys found on the way. `tags`:
    nodes that have one, with the problem that it is where none may be."""

    text: Text
    root: Node | None
    problems: tuple[Problem, ...]
    tags: tuple[tuple[Node, Problem], ...] = ()


def load(file: str, data: bytes, tagged: bool = False) -> Document:
    """Parse one YAML document into located nodes.

    `file` is the name that messages show; `tagged`: tags are no error but the document's `tags`. Raises
    PolicyError with located problems: not UTF-8, not YAML, tags, several documents, aliases that expand
    too far, nesting too deep.
    """
    if data.startswith(BUNDLE):
        raise PolicyError((Problem("this is a signed bundle", Span(file, 1, 1, 2), None, _BUNDLE_HINT),))
    content = decode(file, data)
    text = Text(file, content)
    builder = _Builder(text, content, tagged)
    try:
        root = builder.document()
    except builder.yaml.YAMLError as error:
        from fwpolicy.yamlerrors import explain  # noqa: PLC0415  (only a mistake pays for it)

        raise PolicyError((*builder.problems, explain(error, text))) from None
    return Document(text, root, tuple(builder.problems), tuple(builder.tags))
