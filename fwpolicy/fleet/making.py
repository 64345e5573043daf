"""From a repository to what goes into its hosts' bundles."""

from __future__ import annotations

import json
import posixpath
import re

from fwpolicy import VERSION
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.fleet import digests
from fwpolicy.fleet.bundle import reader
from fwpolicy.fleet.inventory import GROUPS
from fwpolicy.fleet.payload import Manifest, pack
from fwpolicy.fleet.scripts import scripts
from fwpolicy.fleet.unit import Reading, file_of, load_unit
from fwpolicy.host import commits
from fwpolicy.policy.load import load
from fwpolicy.record import record, replace
from fwpolicy.source import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.fleet.inventory import Inventory
    from fwpolicy.fleet.outcome import Outcome
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.host.mirror import CommitTree
    from fwpolicy.host.tree import WorkTree
    from fwpolicy.policy.model import Policy
    from fwpolicy.source import Node

_PLAIN = re.compile(r"[A-Za-z0-9_.*/-]+\Z")


@record
class Origin:
    """Where a repository's files come from; as in Manifest."""

    sequence: int
    commit: str = ""
    author: str = ""
    time: int = 0


def origin(tree: WorkTree, sequence: int | None) -> Origin:
    """The commit that is checked out. Raises HostError where there is none and no `sequence` is said, and
    where git cannot tell: what is not known to be committed is not signed."""
    if not tree.in_git:
        if sequence is None:
            raise HostError(f"{tree.root} is no git repository: say --sequence N, higher every time")
        return Origin(sequence)
    found = commits.head(tree.root, counted=sequence is None)
    number = found.number if sequence is None else sequence
    return Origin(number, found.id, found.author, found.time)


class Making:
    """The bundles' archives of a repository's hosts."""

    def __init__(self, repository: Repository, tree: WorkTree, came: Origin) -> None:
        self.repository = repository
        self.tree = tree
        self.came = came
        self._as_committed: set[str] = set()
        if came.commit:
            self._require_committed(tree.inventory, tree.read(tree.inventory))

    def archives(self, unit: Unit, outcome: Outcome) -> dict[str, bytes]:
        """The archive of each of a unit's hosts. Raises HostError where a file differs from the commit, or
        the archive would not say on the host what the repository says here."""
        read, operands = contents_of(unit, self.repository.inventory, self.tree, self._require_committed)
        contents: dict[str, tuple[bytes, int]] = {name: (data, 0o644) for name, data in read.items()}
        for name, text, mode in outcome.artifacts:
            contents[f"artifacts/{name}"] = (text.encode(), mode)
        found = scripts(self._reread(unit, operands, contents), unit.facts)
        contents |= {name: (each.text.encode(), each.mode) for name, each in found.made.items()}
        files = {name: digests.of_bytes(data) for name, (data, _) in contents.items()}
        came = self.came
        common = Manifest(
            host="",
            policy=outcome.policy,
            tool=VERSION,
            sequence=came.sequence,
            commit=came.commit,
            author=came.author,
            time=came.time,
            beside_nat=unit.facts.nat,
            operands=operands,
            files=files,
            without_script=found.without,
            script_notes=found.notes,
        )
        return {host: pack(replace(common, host=host), contents) for host in unit.hosts}

    def _require_committed(self, name: str, data: bytes) -> None:
        """What a manifest says of a commit is so."""
        if not self.came.commit or name in self._as_committed or self.tree.is_shipped(name):
            return
        if commits.committed(self.tree.root, self.tree.inside(name)) != data:
            raise HostError(f"{name} is not as commit {self.came.commit[:12]} has it: commit it first")
        self._as_committed.add(name)

    def _reread(
        self, unit: Unit, operands: tuple[str, ...], contents: dict[str, tuple[bytes, int]]
    ) -> Policy:
        """The policy as it is read from the archive alone, which compiles to the same. Raises HostError."""
        read = reader({name: data for name, (data, _) in contents.items()})
        try:
            policy = load(tuple((name, read(name)) for name in operands), read)
        except PolicyError as error:
            raise HostError(f"the policy cannot be read from a bundle alone:\n{error}") from None
        text = render(compile_ruleset(policy, unit.facts), policy.name).text
        if text.encode() != contents["artifacts/ruleset.nft"][0]:
            raise HostError(f"policy {policy.name} says something else in a bundle than in the repository")
        return policy


def contents_of(
    unit: Unit, inventory: Inventory, tree: WorkTree | CommitTree, hear: Callable[[str, bytes], None]
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """(what is read for the unit, by its name in an archive; which of it are the operands). `hear` hears of
    each file. Raises PolicyError."""
    reading = Reading(tree)
    load_unit(unit, inventory, reading)
    contents = {}
    for name, data in reading.texts.items():
        hear(name, data)
        contents[_inside(name, tree)] = data
    operands = [_inside(file_of(inventory, word), tree) for word in unit.policies]
    if unit.given:
        contents["host/given.yaml"] = _given(unit).encode()
        operands.append("host/given.yaml")
    return contents, tuple(operands)


def _inside(name: str, tree: WorkTree | CommitTree) -> str:
    """A file's name in the archive."""
    if tree.is_shipped(name):
        return f"shipped/{posixpath.basename(name)}"
    return f"repository/{tree.inside(name)}"


def _given(unit: Unit) -> str:
    """The hosts' own groups and zones, as a policy."""
    lines = ["version: 1"]
    for variable, value in unit.given:
        lines.append(f"{'groups' if variable == GROUPS else 'zones'}: {_flow(value.node)}")
    return "\n".join(lines) + "\n"


def _flow(node: Node) -> str:
    """A node as YAML in flow style; what stood without quotes and needs none stays so."""
    if isinstance(node, Mapping):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(value)}' for key, value in node.pairs)}}}"
    if isinstance(node, Sequence):
        return f"[{', '.join(map(_flow, node.items))}]"
    assert isinstance(node, Scalar)  # noqa: S101  (there is no fourth kind)
    return node.value if node.plain and _PLAIN.match(node.value) else json.dumps(node.value)
