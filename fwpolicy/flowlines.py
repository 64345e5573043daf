"""Lines like `- {service: ssh, from: [admin, 192.0.2.0/24]}`, which long policies are made of: nodes by two
regular expressions, in a third of the time that libyaml and a look at each of its events take.

Exact, because libyaml still decides: it reads the text without such lines, but with the first of each run of
them. Only where that one comes back as an item of a list, at its very place, do the others go behind it. They
are in its column, and each is a whole mapping of words that YAML takes for nothing else. Where a run is not
asked for (it stands in a block scalar, in quotes), or anything is wrong, libyaml reads the whole text
(yamltree.py). tests/policy/test_flowlines.py holds the two ways against each other.
"""

from __future__ import annotations

import re

from fwpolicy.source import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.source import Node, Place

    Runs = dict[tuple[int, int], list[Node]]

_LINE = re.compile(r"\n( *)- (\{[ -~]*\})(?: +#[ -~]*)?(?=\n)")
# No word begins like something else, and none has a ':' or '#' in it; a key is no longer than libyaml's. How
# often a part comes is bounded, for each time costs the search memory.
_WORD = r"[A-Za-z0-9_.][A-Za-z0-9_./+%@*-]*(?: [A-Za-z0-9_./+%@*-]+){0,50}"
_TEXT = rf"""{_WORD}|"[ !#-\[\]-~]*"|'[ -&(-~]*'"""
_PAIRS = re.compile(rf"(?:\A\{{|, )([A-Za-z][A-Za-z0-9_-]{{0,63}}): ({_TEXT}|\[[^][{{}}]*\]|\{{[^{{}}]*\}})")
_MARKS = "{[\"'"
_ITEMS = re.compile(rf"(?:\A\[|, )({_TEXT})")


class _OtherTextError(ValueError):
    """Something else is there, too, or a key is there twice: libyaml's to read."""


def cut(content: str) -> tuple[str, Runs]:
    """The text for libyaml, with nothing but the line break where a line was taken out of it; and what these
    lines say, by the place (line, column) of the mapping in the line before the first of them."""
    rest: list[str] = []
    runs: Runs = {}
    kept = 0
    for place, begin, end, nodes in _runs(content):
        rest += (content[kept:begin], "\n" * len(nodes))
        runs[place] = nodes
        kept = end
    return "".join((*rest, content[kept:])), runs


def _runs(content: str) -> Iterator[tuple[tuple[int, int], int, int, list[Node]]]:
    """(place of its first mapping, where the other lines begin and end in `content`, what they say)."""
    number = end = begin = last = 0
    indent, place = None, (0, 0)
    nodes: list[Node] = []
    for found in _LINE.finditer(content):
        start = found.start()
        follows = start == end and found[1] == indent
        number += 1 if follows else content.count("\n", end, start + 1)
        end, indent, text = found.end(), found[1], found[2]
        column = len(indent) + 2
        try:
            node = _mapping(text, (number, column, number, column + len(text)))
        except _OtherTextError:
            indent = None
            continue
        if follows:
            nodes.append(node)
            last = end
            continue
        if nodes:
            yield place, begin, last, nodes
        place, begin, nodes = node.place[:2], end, []
    if nodes:
        yield place, begin, last, nodes


def most_nodes(content: str) -> int:
    """No less than what lines that were taken out hold."""
    return 2 * content.count("{") + sum(map(content.count, ",:["))


def _mapping(text: str, place: Place) -> Mapping:
    line, at, _, end = place
    at += 1
    found = _PAIRS.findall(text)
    pairs: list[tuple[Scalar, Node]] = []
    for key, value in found:
        begin = at + len(key) + 2
        there = line, begin, line, begin + len(value)
        node = _marked(value, there) if value[0] in _MARKS else Scalar(value, True, there)
        pairs.append((Scalar(key, True, (line, at, line, begin - 2)), node))
        at = begin + len(value) + 2
    _require_all(at, end)
    if len(dict(found)) < len(found):
        raise _OtherTextError
    return Mapping(pairs, place)


def _marked(text: str, place: Place) -> Node:
    """What begins with one of _MARKS."""
    if text[0] == "{":
        return _mapping(text, place)
    return _list(text, place) if text[0] == "[" else Scalar(text[1:-1], False, place)


def _list(text: str, place: Place) -> Sequence:
    line, at, _, end = place
    at += 1
    items: list[Node] = []
    for item in _ITEMS.findall(text):
        there = line, at, line, at + len(item)
        items.append(_marked(item, there) if item[0] in _MARKS else Scalar(item, True, there))
        at += len(item) + 2
    _require_all(at, end)
    return Sequence(items, place)


def _require_all(at: int, end: int) -> None:
    """Whatever a search has skipped is missing in front of the closing bracket."""
    if at != end + 1:
        raise _OtherTextError
