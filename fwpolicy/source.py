"""YAML text -> located nodes. The only importer of yaml.

The tree is built from the C parser's events, never from constructed values: `safe_load` turns
`0123` into 83, `11:22:33` into 40953 and `no` into False, lets a repeated key win silently, and
takes four times as long.
"""

from __future__ import annotations

import re

from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 32
MAX_ALIASED_NODES = 100_000


class Node:
    """A piece of the document: where it starts (`line`, `column`) and ends, all counted from 0."""

    __slots__ = ("column", "end_column", "end_line", "line")

    def __init__(self, start: Any, end: Any) -> None:
        self.line: int = start.line
        self.column: int = start.column
        self.end_line: int = end.line
        self.end_column: int = end.column


class Scalar(Node):
    """A scalar's text as written; `plain` when it stood without quotes."""

    __slots__ = ("plain", "value")

    def __init__(self, value: str, plain: bool, start: Any, end: Any) -> None:
        super().__init__(start, end)
        self.value = value
        self.plain = plain


class Sequence(Node):
    """A list of nodes, in order."""

    __slots__ = ("items",)

    def __init__(self, items: list[Node], start: Any, end: Any) -> None:
        super().__init__(start, end)
        self.items = items


class Mapping(Node):
    """Pairs in file order; keys are scalars and differ from each other."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Scalar, Node]], start: Any, end: Any) -> None:
        super().__init__(start, end)
        self.pairs = pairs


@record
class Text:
    """A text with the name it goes by in messages."""

    file: str
    lines: tuple[str, ...]

    def span(self, node: Node) -> Span:
        """`node`'s first line, as a span."""
        return self.span_between(node.line, node.column, node.end_line, node.end_column)

    def span_between(self, line: int, column: int, end_line: int, end_column: int) -> Span:
        """A span from 0-based marks; cut at the end of its first line."""
        end = end_column if end_line == line else len(self.line(line + 1).rstrip())
        return Span(self.file, line + 1, column + 1, max(end, column + 1) + 1)

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; empty past the end."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def problem(
        self, message: str, span: Span | None, hint: str | None = None, severity: str = "error"
    ) -> Problem:
        return Problem(message, span, self.line(span.line) if span else None, hint, severity)


def decode(file: str, data: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises PolicyError at the first bad byte."""
    if len(data) > MAX_BYTES:
        raise PolicyError((Problem(f"{file}: larger than 64 MiB", None),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        text = split(file, data.decode("utf-8", "replace"))
        span = text.span_between(line, column, line, column + 1)
        raise PolicyError((text.problem("not UTF-8 text", span),)) from None


# The line breaks of YAML 1.1 5.4, as libyaml counts lines.
_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def split(file: str, text: str) -> Text:
    """`text` in lines, as the parser counts them."""
    return Text(file, tuple(_BREAKS.split(text)))


class _Builder:
    """Events -> nodes; recursion stops at MAX_DEPTH, long before Python's own limit."""

    def __init__(self, text: Text, content: str) -> None:
        import yaml  # noqa: PLC0415  (10 ms that `--help` does not pay)

        if not yaml.__with_libyaml__:
            raise PolicyError((Problem("PyYAML is installed without libyaml (the C parser)", None),))
        self.yaml = yaml
        self.text = text
        self.parser: Any = yaml.cyaml.CParser(content)  # type: ignore[attr-defined]
        self.anchors: dict[str, Node | None] = {}
        self.sizes: dict[int, int] = {}
        self.aliased = 0
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        events = self.yaml.events
        self.next()
        if isinstance(self.next(), events.StreamEndEvent):
            return None
        root = self.node(self.next(), 0)
        self.next()
        following = self.next()
        if isinstance(following, events.DocumentStartEvent):
            self.refuse("more than one document in the file; a policy is one", following)
        return root

    def next(self) -> Any:
        return self.parser.get_event()

    def refuse(self, message: str, event: Any, hint: str | None = None) -> NoReturn:
        raise PolicyError((*self.problems, self.text.problem(message, self.event_span(event), hint)))

    def event_span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return self.text.span_between(start.line, start.column, end.line, end.column)

    def node(self, event: Any, depth: int) -> Node:
        events = self.yaml.events
        kind = type(event)
        if kind is events.AliasEvent:
            return self.alias(event)
        if event.tag is not None:
            self.refuse(f"tags are not part of the language: {event.tag}", event)
        if depth > MAX_DEPTH:
            self.refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
        node: Node
        if kind is events.ScalarEvent:
            node = Scalar(event.value, event.implicit[0], event.start_mark, event.end_mark)
        elif kind is events.SequenceStartEvent:
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if anchor is not None:
            self.anchors[anchor] = node
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
        end = self.yaml.events.SequenceEndEvent
        while type(event := self.next()) is not end:
            items.append(self.node(event, depth + 1))
        return Sequence(items, start.start_mark, event.end_mark)

    def mapping(self, start: Any, depth: int) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        first: dict[str, Scalar] = {}
        end = self.yaml.events.MappingEndEvent
        while type(event := self.next()) is not end:
            key = self.node(event, depth + 1)
            if not isinstance(key, Scalar):
                self.refuse("a key must be a plain word", event)
            value = self.node(self.next(), depth + 1)
            if key.value in first:
                line = first[key.value].line + 1
                message = f"'{key.value}' is here twice; the first is on line {line}"
                self.problems.append(self.text.problem(message, self.text.span(key)))
                continue
            first[key.value] = key
            pairs.append((key, value))
        return Mapping(pairs, start.start_mark, event.end_mark)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Mapping):
        return [child for pair in node.pairs for child in pair]
    return []


def _syntax_problem(error: Any, text: Text, content: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return _character_problem(error, text, content)
    span = text.span_between(mark.line, mark.column, mark.line, mark.column + 1)
    message = error.problem or error.context or "not YAML"
    if getattr(error, "context", None) and error.problem:
        message = f"{error.problem}, {error.context}"
    line = text.line(mark.line + 1)
    if re.search(r"[\[{,:]\s*[0-9a-fA-F:]*::", line[: mark.column + 2]):
        return text.problem(
            "an IPv6 address inside [ ] or { } that YAML cannot read", span, 'quote it: "::1"'
        )
    if "\t" in line[: mark.column + 1]:
        return text.problem(message, span, "YAML indents with spaces, never with tabs")
    return text.problem(message, span)


def _character_problem(error: Any, text: Text, content: str) -> Problem:
    """libyaml names an unwanted character by code and byte offset only; find where it stands."""
    character = getattr(error, "character", None)
    where = content.find(chr(character)) if isinstance(character, int) and 0 <= character < 0x110000 else -1
    if where < 0:
        return Problem(f"{text.file}: {error}".split("\n", maxsplit=1)[0], None)
    breaks = list(_BREAKS.finditer(content, 0, where))
    line, column = len(breaks), where - (breaks[-1].end() if breaks else 0)
    span = text.span_between(line, column, line, column + 1)
    return text.problem(f"a control character (U+{character:04X}) in the text", span)


@record
class Document:
    """A parsed text: its root node (None for an empty text) and the duplicate keys found on the way."""

    text: Text
    root: Node | None
    problems: tuple[Problem, ...]


def load(file: str, data: bytes) -> Document:
    """Parse one YAML document into located nodes.

    `file` is the name that messages show. Raises PolicyError with located problems: not UTF-8, not
    YAML, tags, several documents, aliases that expand too far, nesting too deep.
    """
    content = decode(file, data)
    text = split(file, content)
    builder = _Builder(text, content)
    try:
        root = builder.document()
    except builder.yaml.YAMLError as error:
        raise PolicyError((*builder.problems, _syntax_problem(error, text, content))) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise PolicyError((Problem(f"{file}: cannot be read as YAML ({error})", None),)) from None
    return Document(text, root, tuple(builder.problems))
