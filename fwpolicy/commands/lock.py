"""fwpolicy lock: resolve the host names of a policy into the lock file beside it."""

from __future__ import annotations

import os
import sys

from fwpolicy.commands import operands
from fwpolicy.errors import HostError
from fwpolicy.host import texts
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.policy.lock import Answer, Locked
    from fwpolicy.policy.syntax import GroupText, Sources

KEPT = 3


@record
class Refreshed:
    """A lock file as it was and as it is: its groups by name; `changed`: it was written."""

    file: str
    old: dict[str, Locked]
    new: dict[str, Locked]
    changed: bool

    @property
    def kept(self) -> dict[str, str]:
        """By group: why its last good value still stands."""
        return {name: locked.kept for name, locked in self.new.items() if locked.kept}


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "a file, or the name of a shipped policy; with --all the inventory, or its folder (.)"
    parser.add_argument("policy", nargs="*", metavar="POLICY", help=text)
    parser.add_argument("--all", action="store_true", help="every host of an inventory (docs/fleet.md)")
    operands.report_arguments(parser)
    parser.add_argument("--offline", action="store_true", help="refuse to resolve: no network")


def run(options: argparse.Namespace) -> int:
    operands.require_operands("lock", options)
    if options.all:
        from fwpolicy.commands import fleetlock  # noqa: PLC0415

        return fleetlock.run(options)
    from fwpolicy.policy.load import gather  # noqa: PLC0415
    from fwpolicy.policy.lock import path_beside  # noqa: PLC0415

    sources = gather(tuple(texts.read_operand(each) for each in options.policy), texts.reader(options.policy))
    groups = groups_of(sources)
    policy = sources.tops[0]
    if not groups:
        return _nothing(options, path_beside(policy))
    refuse_offline(options)
    done = refreshed(policy, groups)
    _report(options, done)
    return KEPT if done.kept else 0


def groups_of(sources: Sources) -> tuple[GroupText, ...]:
    """The groups of hosts of a policy: the definitions that count, an overridden one is nobody's.
    Raises PolicyError."""
    from fwpolicy.policy.names import Names  # noqa: PLC0415

    names = Names(sources, texts.read_file)
    of_files = (problem for file in sources.files for problem in file.problems)
    operands.refuse_errors([*of_files, *names.problems])
    return tuple(group for group in names.groups.values() if group.hosts)


def refuse_offline(options: argparse.Namespace) -> None:
    if options.offline:
        raise HostError("--offline: nothing is resolved, and the lock file stays as it is")


def refreshed(policy: str, groups: tuple[GroupText, ...]) -> Refreshed:
    """Resolve the groups into the lock file beside `policy`. Raises HostError, and PolicyError where the
    file that is there is wrong."""
    from fwpolicy.policy.lock import path_beside, refresh, render  # noqa: PLC0415

    path = path_beside(policy)
    old = _old(path)
    new, lost = refresh(groups, old, _answers(groups))
    if lost:
        said = "; ".join(f"group '{name}': {why}" for name, why in sorted(lost.items()))
        raise HostError(f"{path} stays as it is, and holds no last good value: {said}")
    return Refreshed(path, old, new, _write(path, render(policy, new)))


def _nothing(options: argparse.Namespace, path: str) -> int:
    if options.json:
        operands.print_json({"changed": False, "file": path, "groups": {}})
    elif not options.quiet:
        print("no group of hosts: nothing to resolve")
    return 0


def _answers(groups: tuple[GroupText, ...]) -> dict[str, Answer]:
    from fwpolicy.host.resolver import resolve  # noqa: PLC0415

    hosts = sorted({word.text for group in groups if group.hosts for word in group.hosts.names})
    return {host: resolve(host) for host in hosts}


def _old(path: str) -> dict[str, Locked]:
    from fwpolicy.policy.lock import parse  # noqa: PLC0415

    try:
        data = texts.read_file(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HostError(f"{path}: {error.strerror or error}") from None
    return parse(path, data)


def _write(path: str, text: str) -> bool:
    """Whether the file is another one now."""
    from fwpolicy.host.files import Files  # noqa: PLC0415

    absolute = os.path.abspath(path)  # noqa: PTH100
    files = Files()
    if files.read(absolute) == text:
        return False
    files.write(absolute, text)
    return True


def _report(options: argparse.Namespace, done: Refreshed) -> None:
    print_kept(done)
    if options.json:
        operands.print_json({"changed": done.changed, **as_json(done)})
    elif not options.quiet:
        print_text(done)


def print_kept(done: Refreshed) -> None:
    for name, why in sorted(done.kept.items()):
        print(f"fwpolicy: group '{name}' keeps its last good addresses: {why}", file=sys.stderr)


def as_json(done: Refreshed) -> dict[str, object]:
    groups = {
        name: {"addresses": len(locked.addresses), "kept": locked.kept} for name, locked in done.new.items()
    }
    return {"file": done.file, "groups": groups}


def print_text(done: Refreshed) -> None:
    for name, locked in sorted(done.new.items()):
        print(_line(name, done.old.get(name), locked))
    print(f"{done.file}: {'written; commit it' if done.changed else 'as it was'}")


def _line(name: str, old: Locked | None, new: Locked) -> str:
    before, after = set(old.addresses if old else ()), set(new.addresses)
    change = f" ({len(after - before)} new, {len(before - after)} gone)" if before != after else ""
    return f"{name}: {len(after)} address{'es' if len(after) != 1 else ''}{change}"
