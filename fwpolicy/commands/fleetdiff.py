"""fwpolicy diff --all git:REV: a change of the repository as the comment of a pull request."""

from __future__ import annotations

from fwpolicy.commands import fleet, operands
from fwpolicy.commands.progress import Progress
from fwpolicy.errors import FwpolicyError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.fleet.changes import Comparison
    from fwpolicy.fleet.repository import Repository


def run(options: argparse.Namespace) -> int:
    from time import time  # noqa: PLC0415

    from fwpolicy.fleet.changes import compare  # noqa: PLC0415
    from fwpolicy.fleet.run import Run  # noqa: PLC0415

    revision, old_operand = _revision(options.old)
    new = fleet.repository(options.new or ".")
    old = _old(revision, old_operand or new.tree.inventory, new)
    progress = Progress(not options.quiet)
    try:
        found = compare(old, new, Run(fleet.store(options), int(time()), True, progress))
    finally:
        progress.end()
    if options.json:
        operands.print_json(_as_json(found, options.old, new), in_order=True)
    elif not options.quiet:
        from fwpolicy.commands.markdown import comment  # noqa: PLC0415

        print(comment(found, revision, old.inventory, new.inventory), end="")
    if found.wrong:
        return 1
    if options.risk and found.risk >= options.risk:
        return 3
    return 2 if found.differs else 0


def _revision(operand: str) -> tuple[str, str]:
    """(revision, inventory in it) of `git:REV` or `git:REV:INVENTORY`. Raises HostError."""
    kind, _, rest = operand.partition(":")
    revision, _, path = rest.partition(":")
    if kind != "git" or not revision:
        raise HostError(f"{operand}: with --all the old side is a revision, as in git:origin/main")
    return revision, path


def _old(revision: str, inventory: str, new: Repository) -> Repository:
    from fwpolicy.fleet.repository import open_repository  # noqa: PLC0415
    from fwpolicy.host.tree import GitTree, WorkTree  # noqa: PLC0415

    assert isinstance(new.tree, WorkTree)  # noqa: S101  (fleet.repository opens no other)
    try:
        return open_repository(GitTree(revision, inventory, new.tree.root))
    except FwpolicyError as error:
        raise HostError(f"in {revision}: {error}") from None


def _as_json(found: Comparison, revision: str, new: Repository) -> dict[str, object]:
    from fwpolicy.fleet.naming import cover  # noqa: PLC0415

    return {
        "changed": False,
        "against": revision,
        "changes": [
            {
                "now": each.now,
                "hook": each.hook,
                "classes": list(each.classes),
                "old": {"verdict": each.old.verdict, "by": each.old.by},
                "new": {"verdict": each.new.verdict, "by": each.new.by},
                "packet": each.packet,
                "risk": each.level,
                "risks": list(each.risks),
                "groups": cover(hosts, new.inventory.groups)[0],
                "hosts": list(hosts),
            }
            for each, hosts in found.traffic
        ],
        "wrong": [{"message": message, "hosts": list(hosts)} for message, hosts in found.wrong],
        "invariants": [
            {
                "now": each.now,
                "text": each.line,
                "at": each.at,
                "risk": each.level,
                "groups": cover(hosts, new.inventory.groups)[0],
                "hosts": list(hosts),
            }
            for each, hosts in found.rules
        ],
        "abandoned": list(found.abandoned),
        "added": list(found.added),
        "removed": list(found.removed),
        "same": len(found.same),
        "not_compared": sum(len(hosts) for _, hosts in found.wrong),
    }
