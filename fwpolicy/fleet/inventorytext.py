"""An inventory's text -> nodes. Tags (`!vault`, `!unsafe`) may stand in what only Ansible reads; an INI
inventory is told as one."""

from __future__ import annotations

import re

from fwpolicy import source
from fwpolicy.errors import PolicyError
from fwpolicy.record import replace
from fwpolicy.source import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.source import Document, Node

OURS = "fwpolicy_"
_SECTION = re.compile(r"^\[[A-Za-z_][\w.-]*(:(children|vars))?\][ \t]*([#;].*)?$", re.MULTILINE)
# What stands below what, by the key; below everything else nothing has a meaning of its own.
_BELOW = {
    "groups": {"": "group"},
    "group": {"hosts": "hosts", "vars": "variables", "children": "groups"},
    "hosts": {"": "variables"},
}


def load(file: str, data: bytes) -> Document:
    """The nodes of an inventory. Raises PolicyError as source.load does; for tags where we read."""
    try:
        document = source.load(file, data, tagged=True)
    except PolicyError:
        _refuse_ini(file, data)
        raise
    if document.root is not None and not isinstance(document.root, Mapping):
        _refuse_ini(file, data)
    if not document.tags or document.root is None:
        return document
    read = {id(node) for node in _read(document.root, "groups")}
    wrong = tuple(problem for node, problem in document.tags if id(node) in read)
    return replace(document, problems=document.problems + wrong)


def _refuse_ini(file: str, data: bytes) -> None:
    content = source.decode(file, data)
    section = _SECTION.search(content)
    if section:
        text = source.Text(file, content)
        hint = f"ansible-inventory -i {file} --list -y writes it as YAML"
        message = "this is an inventory in INI format; here it is YAML"
        raise PolicyError((text.problem(message, text.span_at(section.start()), hint),))


def _read(node: Node, what: str) -> Iterator[Node]:
    """The nodes below that are read here: all but the values of variables that are not ours."""
    yield node
    if isinstance(node, Sequence):
        for item in node.items:
            yield from _read(item, "")
    elif isinstance(node, Mapping):
        below = _BELOW.get(what, {})
        for key, value in node.pairs:
            yield key
            if what != "variables" or key.value.startswith(OURS):
                yield from _read(value, below.get(key.value, below.get("", "")))
