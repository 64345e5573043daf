"""YAML text -> located nodes (yamltree.py, flowlines.py): what they are, and where they stand."""

from __future__ import annotations

import re
from bisect import bisect_left

from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Place = tuple[int, int, int, int]

MAX_BYTES = 64 * 1024 * 1024
# From here on a text is worth the expressions of flowlines.py.
_LONG = 10_000
# What a signed bundle of policies begins with (fleet/bundle.py).
BUNDLE = b"fwpolicy-bundle "
_BUNDLE_HINT = (
    "plan, apply, explain, diff, prove, lint and bundle verify take one; from standard input plan and apply, "
    "with --bundle"
)


class Hidden(bytes):
    """The content of a file of which nothing is to be shown (policy/hidden.py)."""

    __slots__ = ()


class Node:
    """A piece of the document: `place` is its line and column, and those of its end, all counted from 0."""

    __slots__ = ("place",)

    # Each kind sets it by itself: a call less for each of a hundred thousand nodes.
    place: Place

    @property
    def start(self) -> Place:
        """The place where it begins."""
        line, column, *_ = self.place
        return line, column, line, column


class Scalar(Node):
    """A scalar's text as written; `plain` when it stood without quotes."""

    __slots__ = ("plain", "value")

    def __init__(self, value: str, plain: bool, place: Place) -> None:
        self.value = value
        self.plain = plain
        self.place = place


class Sequence(Node):
    """A list of nodes, in order."""

    __slots__ = ("items",)

    def __init__(self, items: list[Node], place: Place) -> None:
        self.items = items
        self.place = place


class Mapping(Node):
    """Pairs in file order; keys are scalars and differ from each other."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Scalar, Node]], place: Place) -> None:
        self.pairs = pairs
        self.place = place


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
        return self.span_of(node.place)

    def span_of(self, place: Place) -> Span:
        """The first line of what stands there, as a span."""
        line, column, end_line, end = place
        if end_line != line:
            return self.span_between(line, column, end_line, end)
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
    from fwpolicy.yamltree import quickly, read  # noqa: PLC0415  (10 ms that `--help` does not pay)

    content = decode(file, data)
    text = Text(file, content)
    long = len(content) >= _LONG and _with_plain_breaks(content) is content
    return (quickly(text, content, tagged) if long else None) or read(text, content, tagged)
