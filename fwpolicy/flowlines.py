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
    from fwpolicy.source import Node

    Runs = dict[tuple[int, int], list[Node]]

# No word begins like something else, and none has a ':' or '#' in it; a key is no longer than libyaml's. How
# often something comes is bounded, for each time costs the search memory.
_WORD = r"[A-Za-z0-9_.][A-Za-z0-9_./+%@*-]*(?: [A-Za-z0-9_./+%@*-]+){0,50}"
_TEXT = rf"""(?:{_WORD}|"[ !#-\[\]-~]*"|'[ -&(-~]*')"""
_LIST = rf"\[{_TEXT}(?:, {_TEXT}){{0,500}}\]"
_KEY = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_INNER = rf"{_KEY}: (?:{_TEXT}|{_LIST})"
_VALUE = rf"(?:{_TEXT}|{_LIST}|\{{{_INNER}(?:, {_INNER}){{0,20}}\}})"
_LINE = re.compile(rf"\n( *)- (\{{{_KEY}: {_VALUE}(?:, {_KEY}: {_VALUE}){{0,20}}\}})(?: +#[ -~]*)?(?=\n)")
_PAIRS = re.compile(rf"({_KEY}): ({_VALUE})")
_TEXTS = re.compile(_TEXT)


class _RepeatedKeyError(ValueError):
    """A key is in a mapping twice, which is a mistake to tell."""


def cut(content: str) -> tuple[str, Runs]:
    """The text for libyaml, with nothing but the line break where a line was taken out of it; and what these
    lines say, by the place (line, column) of the mapping in the line before the first of them."""
    rest: list[str] = []
    runs: Runs = {}
    run: list[Node] = []
    number = end = kept = 0
    indent = None
    for found in _LINE.finditer(content):
        start = found.start()
        follows = start == end and found[1] == indent
        number += content.count("\n", end, start + 1)
        end, indent = found.end(), found[1]
        place = number, len(indent) + 2
        try:
            node = _mapping(found[2], *place)
        except _RepeatedKeyError:
            indent = None
            continue
        if follows:
            run.append(node)
            rest.append(content[kept : start + 1])
            kept = end
        else:
            run = runs[place] = []
    rest.append(content[kept:])
    return "".join(rest), {place: run for place, run in runs.items() if run}


def most_nodes(content: str) -> int:
    """No less than what lines that were taken out hold."""
    return 2 * content.count("{") + sum(map(content.count, ",:["))


def _mapping(text: str, line: int, column: int) -> Mapping:
    found = _PAIRS.findall(text, 1)
    if len(dict(found)) < len(found):
        raise _RepeatedKeyError
    pairs: list[tuple[Scalar, Node]] = []
    at = column + 1
    for key, value in found:
        begin = at + len(key) + 2
        pairs.append((Scalar(key, True, (line, at, line, begin - 2)), _value(value, line, begin)))
        at = begin + len(value) + 2
    return Mapping(pairs, (line, column, line, column + len(text)))


def _value(text: str, line: int, column: int) -> Node:
    first = text[0]
    if first == "{":
        return _mapping(text, line, column)
    if first == "[":
        return _list(text, line, column)
    plain = first not in "\"'"
    return Scalar(text if plain else text[1:-1], plain, (line, column, line, column + len(text)))


def _list(text: str, line: int, column: int) -> Sequence:
    items: list[Node] = []
    at = column + 1
    for item in _TEXTS.findall(text):
        items.append(_value(item, line, at))
        at += len(item) + 2
    return Sequence(items, (line, column, line, column + len(text)))
