"""A repository of policies, opened: its inventory read, its hosts gathered into units."""

from __future__ import annotations

import re

from fwpolicy import source
from fwpolicy.errors import HostError, PolicyError, Span
from fwpolicy.fleet import inventory
from fwpolicy.fleet.inventory import MAX_DEPTH
from fwpolicy.fleet.inventorytext import OURS
from fwpolicy.fleet.unit import units
from fwpolicy.host.files import printable
from fwpolicy.record import record
from fwpolicy.source import Mapping, Sequence, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.errors import Problem
    from fwpolicy.fleet.inventory import Inventory
    from fwpolicy.fleet.unit import Tree, Unit
    from fwpolicy.source import Node, Scalar

_OURS = re.compile(rb"^[\s?{]*[\"']?(fwpolicy_\w+)[\"']?\s*(?::|$)", re.MULTILINE)


@record
class Repository:
    """`tree` is where its files are read."""

    tree: Tree
    inventory: Inventory
    units: tuple[Unit, ...]


def open_repository(tree: Tree) -> Repository:
    """The repository of a tree. Raises PolicyError, and HostError where the inventory cannot be read."""
    name = tree.inventory
    try:
        found = inventory.parse(name, tree.read(name))
    except OSError as error:
        raise HostError(f"{name}: {error.strerror or error}") from None
    if elsewhere := tuple(_elsewhere(tree)):
        raise PolicyError(elsewhere)
    if not found.hosts:
        raise HostError(f"{name}: no host has {inventory.POLICIES}: there is nothing to do")
    return Repository(tree, found, units(found))


def _elsewhere(tree: Tree) -> Iterator[Problem]:
    """Our variables in files that Ansible reads beside the inventory, and that we do not."""
    for name in tree.beside():
        try:
            data = tree.read(name)
        except (OSError, ValueError):  # the latter of a name that is none
            continue
        shown = printable(name)
        try:
            text, spans = _variables(shown, data)
        except PolicyError:  # nor does Ansible read it, or it is a YAML of which we read less
            text, spans = _lines(shown, data)
        for word, span in spans:
            yield text.problem(
                f"'{word}' is read from the inventory only", span, f"say it in {tree.inventory}"
            )


def _variables(shown: str, data: bytes) -> tuple[Text, list[tuple[str, Span]]]:
    """Our variables among those of a file. Raises PolicyError where it cannot be parsed."""
    document = source.load(shown, data, tagged=True)
    keys = _keys(document.root) if document.root is not None else ()
    own = [key for key in keys if key.value.startswith(OURS)]
    return document.text, [(key.value, document.text.span(key)) for key in own]


def _keys(node: Node, depth: int = 0) -> Iterator[Scalar]:
    """Those of a mapping, and of what is merged into it."""
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            yield key
            if key.value == "<<" and depth < MAX_DEPTH:
                for each in value.items if isinstance(value, Sequence) else (value,):
                    yield from _keys(each, depth + 1)


def _lines(shown: str, data: bytes) -> tuple[Text, list[tuple[str, Span]]]:
    """What looks like one of our variables at the beginning of a line."""
    found = []
    for match in _OURS.finditer(data):
        line = data.count(b"\n", 0, match.start(1)) + 1
        column = match.start(1) - data.rfind(b"\n", 0, match.start(1))
        word = match[1].decode()
        found.append((word, Span(shown, line, column, column + len(word))))
    return Text(shown, data.decode("utf-8", "replace")), found
