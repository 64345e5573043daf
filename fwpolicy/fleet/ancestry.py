"""Groups of groups of hosts, and which of them a host's variables come from."""

from __future__ import annotations

from fwpolicy.record import record
from fwpolicy.source import Mapping, Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.errors import Span
    from fwpolicy.source import Node

_ALL = "all"


@record
class Value:
    """What a variable is set to, and where (`span`: of its name)."""

    node: Node
    span: Span


class Ancestry:
    """`of_groups`, `of_hosts`: variables by name; `hosts` in order, each with where it is named first."""

    def __init__(self) -> None:
        self.keys: dict[str, Scalar] = {}
        self.parents: dict[str, dict[str, None]] = {}
        self.hosts: dict[str, Scalar] = {}
        self.direct: dict[str, dict[str, None]] = {}
        self.of_groups: dict[str, dict[str, Value]] = {}
        self.of_hosts: dict[str, dict[str, Value]] = {}
        self._above: dict[str, frozenset[str]] = {}

    def add(self, name: str, key: Scalar, parent: str | None) -> None:
        """A group, below `parent` or at the top."""
        self.keys.setdefault(name, key)
        known = self.parents.setdefault(name, {})
        if parent is not None:
            known[parent] = None

    def member(self, group: str, host: str, key: Scalar) -> None:
        self.hosts.setdefault(host, key)
        self.direct.setdefault(host, {})[group] = None

    def circles(self) -> Iterator[tuple[str, Scalar]]:
        """The first group that is below itself."""
        for name, key in self.keys.items():
            if name in self._reached(self.parents[name]):
                yield name, key
                return

    def both(self) -> Iterator[tuple[str, Scalar]]:
        """Names that are a group's and a host's."""
        return ((name, self.hosts[name]) for name in self.keys if name in self.hosts)

    def above(self, group: str) -> frozenset[str]:
        """The groups that a group is in, over any number of steps."""
        if group not in self._above:
            self._above[group] = self._reached(self.parents[group]) | ({_ALL} - {group})
        return self._above[group]

    def _reached(self, names: dict[str, None]) -> frozenset[str]:
        seen: set[str] = set()
        waiting = list(names)
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += self.parents.get(each, ())
        return frozenset(seen)

    def groups_of(self, host: str) -> frozenset[str]:
        """All the groups that a host is in."""
        direct = self.direct[host]
        return frozenset(direct).union(*(self.above(group) for group in direct))

    def members(self) -> dict[str, tuple[str, ...]]:
        """The hosts of each group, in order; `all` first."""
        found: dict[str, list[str]] = {_ALL: []}
        for host in self.hosts:
            for group in self.groups_of(host):
                found.setdefault(group, []).append(host)
        return {name: tuple(hosts) for name, hosts in found.items()}

    def values(self, host: str) -> tuple[dict[str, Value], list[tuple[str, str, str]]]:
        """The host's variables: its own, else of the one group that has it and is not above another that
        has; and (variable, group, group) where there are two such with different values."""
        found: dict[str, Value] = {}
        clashes = []
        inside = self.groups_of(host)
        for variable in sorted({name for group in inside for name in self.of_groups.get(group, ())}):
            having = [
                group for group in self.keys if group in inside and variable in self.of_groups.get(group, ())
            ]
            nearest = [group for group in having if not any(group in self.above(other) for other in having)]
            first, *others = ((group, self.of_groups[group][variable]) for group in nearest)
            found[variable] = first[1]
            clashes += [
                (variable, first[0], group)
                for group, value in others
                if without_text(value.node) != without_text(first[1].node)
            ]
        own = self.of_hosts.get(host, {})
        return found | own, [clash for clash in clashes if clash[0] not in own]


def without_text(node: Node) -> object:
    """What a node says, without its place: for comparing and for digests."""
    if isinstance(node, Mapping):
        return {key.value: without_text(value) for key, value in node.pairs}
    if isinstance(node, Scalar):
        return node.value
    return [without_text(item) for item in node.items]  # type: ignore[attr-defined]
