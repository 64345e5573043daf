"""The inventory: which policies make up which host, by group. YAML that Ansible reads, too (docs/fleet.md).

Where Ansible would pick one of two groups by their depth or their names, the inventory is refused: both
read the same of what is left.
"""

from __future__ import annotations

import posixpath

from fwpolicy.errors import MAX_PROBLEMS, PolicyError, Span
from fwpolicy.fleet import hostnames, inventorytext
from fwpolicy.fleet.ancestry import Ancestry, Value
from fwpolicy.policy.reader import Reader, kind, nearest
from fwpolicy.record import record
from fwpolicy.source import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.syntax import Word
    from fwpolicy.source import Node, Text

ALL = "all"
POLICIES, GROUPS, ZONES = "fwpolicy_policies", "fwpolicy_groups", "fwpolicy_zones"
BESIDE_NAT, INVARIANTS = "fwpolicy_beside_nat", "fwpolicy_invariants"
VARIABLES = (POLICIES, GROUPS, ZONES, BESIDE_NAT, INVARIANTS)
GROUP_KEYS = ("hosts", "vars", "children")
_ELSEWHERE = {
    "inventory": "a group's keys are hosts, vars and children",
    **dict.fromkeys(VARIABLES, "a variable of a group belongs in its 'vars'"),
}
MAX_DEPTH = 16


@record
class Host:
    """A host that policies are for. `groups`: all that it is in, `all` among them; `policies`: as written;
    `given`: its own groups and zones, (variable, node) pairs that may be one group's for all its hosts."""

    name: str
    groups: frozenset[str]
    policies: tuple[Word, ...]
    given: tuple[tuple[str, Value], ...] = ()
    beside_nat: bool = False


@record
class Inventory:
    """`hosts` in order; `groups`: the hosts of each, by name; `unmanaged`: hosts that no policy is for;
    `invariants`: the files with rules about rules, as written."""

    text: Text
    hosts: tuple[Host, ...]
    groups: dict[str, tuple[str, ...]]
    unmanaged: tuple[str, ...]
    invariants: tuple[Word, ...]


def parse(file: str, data: bytes) -> Inventory:
    """The inventory in the bytes of `file`. Raises PolicyError with all that is wrong, each at its place."""
    document = inventorytext.load(file, data)
    reading = _Reading(Reader(document.text))
    reading.reader.problems += document.problems
    if document.root is None:
        reading.reader.error(
            "the inventory is empty", Span(file, 1, 1, 2), "as in: all: {children: {web: ...}}"
        )
    else:
        reading.groups(document.root, None)
    found = reading.inventory() if not reading.reader.problems else None
    if found is None or reading.reader.problems:
        raise PolicyError(tuple(reading.reader.problems[:MAX_PROBLEMS]))
    return found


class _Reading:
    """Nodes -> groups, hosts and their variables."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.tree = Ancestry()
        self.policies: dict[int, tuple[Word, ...]] = {}
        self.beside_nat: dict[int, bool] = {}
        self.clashes: set[tuple[str, str, str]] = set()

    def groups(self, node: Node, parent: str | None, depth: int = 0) -> None:
        what = "the inventory" if parent is None else "'children'"
        for key, value in self.reader.pairs(node, what):
            name = self._name(key, "group")
            if name is None:
                continue
            if depth > MAX_DEPTH:
                self.reader.error(f"groups are nested more than {MAX_DEPTH} levels deep", key)
                return
            if name == ALL and parent is not None:
                self.reader.error("'all' is above every group; it cannot be below one", key)
            self.tree.add(name, key, parent)
            if not is_null(value):
                self._group(name, value, depth)

    def _name(self, key: Scalar, what: str) -> str | None:
        word = self.reader.word(key, f"the {what}'s name")
        if word is None:
            return None
        if not hostnames.NAME.match(word.text):
            self.reader.error(f"'{word.text}' cannot name a {what}", key, "letters, digits, '.', '_' and '-'")
            return None
        return word.text

    def _group(self, name: str, node: Node, depth: int) -> None:
        found = self.reader.keys(node, f"group '{name}'", GROUP_KEYS, elsewhere=_ELSEWHERE)
        if "hosts" in found and not is_null(found["hosts"]):
            for key, value in self.reader.pairs(found["hosts"], "'hosts'"):
                self._hosts(name, key, value)
        if "vars" in found and not is_null(found["vars"]):
            self._variables(self.tree.of_groups.setdefault(name, {}), found["vars"], f"group '{name}'")
        if "children" in found and not is_null(found["children"]):
            self.groups(found["children"], name, depth + 1)

    def _hosts(self, group: str, key: Scalar, node: Node) -> None:
        word = self.reader.word(key, "the host's name")
        if word is None:
            return
        try:
            names = hostnames.expand(word.text)
        except hostnames.HostNameError as error:
            self.reader.error(str(error), key, error.hint)
            return
        own: dict[str, Value] = {}
        if not is_null(node):
            self._variables(own, node, f"host '{word.text}'")
        for name in names:
            self.tree.member(group, name, key)
            for variable, value in own.items():
                known = self.tree.of_hosts.setdefault(name, {})
                self._once(known, variable, value, f"host '{name}'")

    def _variables(self, known: dict[str, Value], node: Node, what: str) -> None:
        """Those of ours; the others are Ansible's affair."""
        for key, value in self.reader.pairs(node, f"the variables of {what}"):
            if key.value == "<<":
                self.reader.error("merge keys ('<<') are not read here", key, "write the variables out")
            if not key.value.startswith(inventorytext.OURS):
                continue
            if key.value not in VARIABLES:
                hint = nearest(key.value, VARIABLES) or f"there are: {', '.join(VARIABLES)}"
                self.reader.error(f"unknown variable '{key.value}'", key, hint)
            elif key.value == INVARIANTS and what != f"group '{ALL}'":
                self.reader.error(f"'{INVARIANTS}' is everybody's", key, f"it belongs in the vars of '{ALL}'")
            else:
                self._once(known, key.value, Value(value, self.reader.text.span(key)), what)

    def _once(self, known: dict[str, Value], variable: str, value: Value, what: str) -> None:
        first = known.setdefault(variable, value)
        if first is not value:
            message = f"{what} has '{variable}' twice; the first is on line {first.span.line}"
            self.reader.error(message, value.span)

    def inventory(self) -> Inventory:
        """Every group's and host's variables, settled."""
        for name, key in self.tree.circles():
            self.reader.error(f"group '{name}' is below itself", key)
        for name, key in self.tree.both():
            self.reader.error(f"'{name}' is a group and a host", key, "give one of them another name")
        if self.reader.problems:
            return Inventory(self.reader.text, (), {}, (), ())
        hosts, unmanaged = [], []
        for name in self.tree.hosts:
            values = self._values(name)
            if POLICIES in values:
                given = tuple((each, values[each]) for each in (GROUPS, ZONES) if each in values)
                words, beside_nat = self._words(values[POLICIES]), self._beside_nat(values.get(BESIDE_NAT))
                hosts.append(Host(name, self.tree.groups_of(name), words, given, beside_nat))
            else:
                unmanaged.append(name)
        return Inventory(
            self.reader.text, tuple(hosts), self.tree.members(), tuple(unmanaged), self._invariants()
        )

    def _values(self, host: str) -> dict[str, Value]:
        found, clashes = self.tree.values(host)
        for variable, one, other in set(clashes) - self.clashes:
            self.clashes.add((variable, one, other))
            message = f"host '{host}' is in groups '{one}' and '{other}', which differ in {variable}"
            hint = f"say which in the host's own variables, or in a group below both: {variable}: ..."
            self.reader.error(message, self.tree.of_groups[other][variable].span, hint)
        return found

    def _words(self, value: Value) -> tuple[Word, ...]:
        """The policies of one value; read once for all its hosts."""
        if id(value) not in self.policies:
            before = len(self.reader.problems)
            words = self._files(value, POLICIES)
            if not words and len(self.reader.problems) == before:
                self.reader.error(f"'{POLICIES}' is {kind(value.node)}", value.span)
            self.policies[id(value)] = words
        return self.policies[id(value)]

    def _beside_nat(self, value: Value | None) -> bool:
        if value is None:
            return False
        if id(value) not in self.beside_nat:
            self.beside_nat[id(value)] = self.reader.boolean(value.node, f"'{BESIDE_NAT}'")
        return self.beside_nat[id(value)]

    def _invariants(self) -> tuple[Word, ...]:
        value = self.tree.of_groups.get(ALL, {}).get(INVARIANTS)
        return self._files(value, INVARIANTS) if value else ()

    def _files(self, value: Value, variable: str) -> tuple[Word, ...]:
        """Files that a variable names, none of them twice."""
        before = len(self.reader.problems)
        words = self.reader.words(value.node, f"'{variable}'") or ()
        # What is a warning of other lists is said below of files, whatever they are called.
        self.reader.problems[before:] = [
            each for each in self.reader.problems[before:] if each.severity == "error"
        ]
        known: dict[str, Word] = {}
        for word in words:
            first = known.setdefault(_file(word.text), word)
            if first is not word:
                same = None if first.text == word.text else f"it is the file '{first.text}'"
                self.reader.error(f"'{word.text}' is in this list twice", word.span, same)
        return words


def _file(text: str) -> str:
    """The same for all names of a file; a bare word is a shipped policy's (texts.shipped)."""
    return posixpath.join(".", posixpath.normpath(text)) if "/" in text or "." in text else text


def is_null(node: Node) -> bool:
    """Nothing stands there: what Ansible's own examples have for hosts without variables."""
    return isinstance(node, Scalar) and node.plain and node.value in ("", "~", "null")
