"""YAML as an editor reads it: the core schema of YAML 1.2, where `no`, `0123` and dates are no surprise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import yaml

_CORE = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
)


if TYPE_CHECKING:
    from collections.abc import Iterator


class Listed(list):
    """Shown in short: in words, a list whose aliases expand ten thousandfold took a validator minutes."""

    def __repr__(self) -> str:
        return f"<a list of {len(self)}>"


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict] = {}


def _listed(loader: Loader, node: yaml.SequenceNode) -> Iterator[Listed]:
    found = Listed()
    yield found
    found.extend(loader.construct_sequence(node))


for _kind, _pattern, _first in _CORE:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))
Loader.add_constructor("tag:yaml.org,2002:seq", _listed)
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def read(text: str | bytes) -> object:
    """The document; raises yaml.YAMLError and ValueError where there is none."""
    return yaml.load(text, Loader)
