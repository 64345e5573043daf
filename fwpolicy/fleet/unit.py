"""A unit: hosts whose policies are the same, which are read, compiled and proved once for all of them."""

from __future__ import annotations

import posixpath

from fwpolicy.compiler.facts import Facts
from fwpolicy.errors import PolicyError
from fwpolicy.fleet import digests
from fwpolicy.fleet.ancestry import without_text
from fwpolicy.fleet.inventory import GROUPS
from fwpolicy.policy.load import gather
from fwpolicy.policy.parse import parse
from fwpolicy.policy.resolve import resolve
from fwpolicy.record import record, replace
from fwpolicy.source import Document, Mapping, Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.fleet.ancestry import Value
    from fwpolicy.fleet.inventory import Host, Inventory
    from fwpolicy.host.mirror import CommitTree
    from fwpolicy.host.tree import GitTree, WorkTree
    from fwpolicy.policy.model import Policy
    from fwpolicy.policy.syntax import PolicyText, Sources, Word

    Tree = WorkTree | GitTree | CommitTree


@record
class Unit:
    """`key`: what makes it: the policies' files and what is the hosts' own, without their places. `facts`:
    what is known of the hosts."""

    key: str
    policies: tuple[Word, ...]
    given: tuple[tuple[str, Value], ...]
    facts: Facts
    hosts: tuple[str, ...]


def units(inventory: Inventory) -> tuple[Unit, ...]:
    """The units of an inventory, each by its first host's place."""
    hosts: dict[str, list[Host]] = {}
    for host in inventory.hosts:
        hosts.setdefault(_key(host), []).append(host)
    return tuple(
        Unit(key, same[0].policies, same[0].given, _facts(same[0]), tuple(host.name for host in same))
        for key, same in hosts.items()
    )


def _key(host: Host) -> str:
    given = [(variable, without_text(value.node)) for variable, value in host.given]
    return digests.of_value([[word.text for word in host.policies], given, host.beside_nat])


def _facts(host: Host) -> Facts:
    return Facts(nat=host.beside_nat)


class Reading:
    """Reads the files of a tree and remembers what was read: digests by name, ABSENT where there was none."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.seen: dict[str, str] = {}
        self.texts: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """As the tree's."""
        try:
            data = self.tree.read(name)
        except OSError:
            self.seen[name] = digests.ABSENT
            raise
        self.seen[name] = digests.of_bytes(data)
        self.texts[name] = data
        return data


def file_of(inventory: Inventory, word: Word) -> str:
    """The file that a word of the inventory names: from the inventory's own folder, or a shipped policy."""
    from fwpolicy.host.texts import shipped  # noqa: PLC0415

    place = shipped(word.text)
    return place or posixpath.normpath(posixpath.join(posixpath.dirname(inventory.text.file), word.text))


def gather_unit(unit: Unit, inventory: Inventory, reading: Reading, now: int | None = None) -> Sources:
    """What was written for a unit's hosts. Raises PolicyError."""
    texts, problems = [], []
    for word in unit.policies:
        name = file_of(inventory, word)
        try:
            texts.append((name, reading.read(name)))
        except OSError as error:
            message = f"cannot read {name}: {error.strerror or error}"
            problems.append(inventory.text.problem(message, word.span))
    if problems:
        raise PolicyError(tuple(problems))
    given = (_given(unit, inventory),) if unit.given else ()
    from fwpolicy.host.tree import INVENTORIES  # noqa: PLC0415

    # The lock file has the groups of all hosts whose first policy is the same.
    file = inventory.text.file
    locked_by = "--all" if file == INVENTORIES[0] else f"--all {file}"
    return replace(gather(tuple(texts), reading.read, now, given), locked_by=locked_by)


def load_unit(
    unit: Unit, inventory: Inventory, reading: Reading, now: int | None = None
) -> tuple[Policy, Sources]:
    """The policy of a unit's hosts, and what was written. Raises PolicyError."""
    sources = gather_unit(unit, inventory, reading, now)
    return resolve(sources, reading.read), sources


def _given(unit: Unit, inventory: Inventory) -> PolicyText:
    """The hosts' own groups and zones, as a file of the policy that has nothing else."""
    pairs = [
        (Scalar("groups" if variable == GROUPS else "zones", True, value.node.start), value.node)
        for variable, value in unit.given
    ]
    root = Mapping([*pairs], unit.given[0][1].node.start)
    return parse(Document(inventory.text, root, ()), included=True)
