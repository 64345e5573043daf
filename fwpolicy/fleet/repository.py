"""A repository of policies, opened: its inventory read, its hosts gathered into units."""

from __future__ import annotations

import re

from fwpolicy.errors import HostError, PolicyError, Span
from fwpolicy.fleet import inventory
from fwpolicy.fleet.unit import units
from fwpolicy.host.files import printable
from fwpolicy.record import record
from fwpolicy.source import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.errors import Problem
    from fwpolicy.fleet.inventory import Inventory
    from fwpolicy.fleet.unit import Tree, Unit

_OURS = re.compile(rb"^\s*[\"']?(fwpolicy_\w+)[\"']?\s*:", re.MULTILINE)


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
        for match in _OURS.finditer(data):
            text = Text(shown, data.decode("utf-8", "replace"))
            line = data.count(b"\n", 0, match.start(1)) + 1
            column = match.start(1) - data.rfind(b"\n", 0, match.start(1))
            word = match[1].decode()
            span = Span(shown, line, column, column + len(word))
            yield text.problem(
                f"'{word}' is read from the inventory only", span, f"say it in {tree.inventory}"
            )
