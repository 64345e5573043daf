"""YAML -> nodes, from the events of libyaml. The only importer of yaml.

Never from constructed values: `safe_load` turns `0123` into 83, `11:22:33` into 40953 and `no` into False,
lets a repeated key win silently, and takes four times as long.
"""

from __future__ import annotations

import yaml

from fwpolicy.errors import MAX_PROBLEMS, PolicyError, Problem
from fwpolicy.source import Document, Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from fwpolicy.errors import Span
    from fwpolicy.flowlines import Runs
    from fwpolicy.source import Node, Place, Text

MAX_DEPTH = 32
MAX_ALIASED_NODES = 100_000
# Half a kilobyte each by the time they are words: what keeps a 64 MiB file within a gigabyte.
MAX_NODES = 1_000_000
# What a written IPv6 address, prefix or range is made of.
IPV6 = frozenset("0123456789abcdefABCDEF:./%-")
# So many levels lie below the list that a line of flowlines.py is in.
_LEVELS = 4


def read(text: Text, content: str, tagged: bool) -> Document:
    """The one document of `content`, as source.load says."""
    return _Builder(text, content, tagged, {}).document()


def quickly(text: Text, content: str, tagged: bool) -> Document | None:
    """The same in less time; None where that is not certain, or there is something to complain of."""
    from fwpolicy.flowlines import cut, most_nodes  # noqa: PLC0415  (most policies are short)

    # A character makes two nodes at most.
    most = most_nodes(content) if len(content) > MAX_NODES // 2 else 0
    if most > MAX_NODES:
        return None
    rest, runs = cut(content)
    builder = _Builder(text, rest, tagged, runs)
    builder.nodes = most
    try:
        document = builder.document()
    except PolicyError:
        return None
    return None if runs else document


class _Builder:
    """Events -> nodes; recursion stops at MAX_DEPTH, long before Python's own limit. `runs`: lines that are
    not in `content`; they go as they find their place."""

    def __init__(self, text: Text, content: str, tagged: bool, runs: Runs) -> None:
        if not yaml.__with_libyaml__:
            raise PolicyError((Problem("PyYAML is installed without libyaml (the C parser)", None),))
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
        self.runs = runs

    def document(self) -> Document:
        try:
            root = self.root()
        except yaml.YAMLError as error:
            from fwpolicy.yamlerrors import explain  # noqa: PLC0415  (only a mistake pays for it)

            raise PolicyError((*self.problems, explain(error, self.text))) from None
        return Document(self.text, root, tuple(self.problems), tuple(self.tags))

    def root(self) -> Node | None:
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
        return self.text.span_between(*_place(event, event))

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
        node = Scalar(event.value, event.implicit[0], _place(event, event))
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
            if self.runs and depth <= MAX_DEPTH - _LEVELS:
                items += self.runs.pop(items[-1].place[:2], ())
        self.flow -= start.flow_style
        return Sequence(items, _place(start, event))

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
                line = first[key.value].place[0] + 1
                self.add(f"'{key.value}' is here twice; the first is on line {line}", key)
                continue
            first[key.value] = key
            pairs.append((key, value))
        self.flow -= start.flow_style
        return Mapping(pairs, _place(start, event))


def _place(first: Any, last: Any) -> Place:
    """From the start of one event to the end of another."""
    start, end = first.start_mark, last.end_mark
    return start.line, start.column, end.line, end.column


def _children(node: Node) -> list[Node]:
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Mapping):
        return [child for pair in node.pairs for child in pair]
    return []
