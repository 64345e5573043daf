"""fwpolicy lock --all: the lock files of every policy of an inventory."""

from __future__ import annotations

from fwpolicy.commands import fleet, lock, operands
from fwpolicy.errors import PolicyError, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.fleet.repository import Repository
    from fwpolicy.policy.syntax import GroupText

    # A policy, beside which the lock file is -> its groups of hosts by name.
    Groups = dict[str, dict[str, GroupText]]


def run(options: argparse.Namespace) -> int:
    groups = _groups(fleet.repository(fleet.only_operand(options)))
    if groups:
        lock.refuse_offline(options)
    done = [lock.refreshed(policy, tuple(own.values())) for policy, own in groups.items()]
    for each in done:
        lock.print_kept(each)
    if options.json:
        report = {"changed": any(each.changed for each in done), "files": list(map(lock.as_json, done))}
        operands.print_json(report)
    elif not options.quiet:
        for each in done:
            lock.print_text(each)
        if not done:
            print("no group of hosts: nothing to resolve")
    return lock.KEPT if any(each.kept for each in done) else 0


def _groups(repository: Repository) -> Groups:
    """Hosts whose first policy is the same share a lock file: it has the groups of all of them."""
    from fwpolicy.fleet.unit import Reading, gather_unit  # noqa: PLC0415

    found: Groups = {}
    problems = []
    for unit in repository.units:
        sources = gather_unit(unit, repository.inventory, Reading(repository.tree))
        own = lock.groups_of(sources)
        known = found.setdefault(sources.tops[0], {}) if own else {}
        for group in own:
            first = known.setdefault(group.name.text, group)
            if _hosts(first) != _hosts(group):
                message = f"group '{group.name.text}' has other hosts here than at {first.name.span}"
                hint = "policies whose first file is the same share a lock file: choose another name"
                problems.append(Problem(message, group.name.span, None, hint))
    if problems:
        raise PolicyError(tuple(problems))
    return found


def _hosts(group: GroupText) -> set[str]:
    return {word.text for word in group.hosts.names} if group.hosts else set()
