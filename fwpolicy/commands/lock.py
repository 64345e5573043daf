"""fwpolicy lock: resolve the host names of a policy into the lock file beside it."""

from __future__ import annotations

import os
import sys

from fwpolicy.commands import operands
from fwpolicy.errors import HostError
from fwpolicy.host import texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.policy.lock import Answer, Locked
    from fwpolicy.policy.syntax import GroupText

KEPT = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    operands.policy_arguments(parser)
    operands.report_arguments(parser)
    parser.add_argument("--offline", action="store_true", help="refuse to resolve: no network")


def run(options: argparse.Namespace) -> int:
    from fwpolicy.policy.load import gather  # noqa: PLC0415
    from fwpolicy.policy.lock import path_beside, refresh, render  # noqa: PLC0415
    from fwpolicy.policy.names import Names  # noqa: PLC0415

    sources = gather(tuple(texts.read_operand(each) for each in options.policy), texts.read_file)
    # The definitions that count: an overridden one is nobody's.
    names = Names(sources, texts.read_file)
    of_files = (problem for file in sources.files for problem in file.problems)
    operands.refuse_errors([*of_files, *names.problems])
    groups = tuple(group for group in names.groups.values() if group.hosts)
    policy = sources.tops[0]
    path = path_beside(policy)
    if not groups:
        return _nothing(options, path)
    if options.offline:
        raise HostError("--offline: nothing is resolved, and the lock file stays as it is")
    old = _old(path)
    new, lost = refresh(groups, old, _answers(groups))
    if lost:
        said = "; ".join(f"group '{name}': {why}" for name, why in sorted(lost.items()))
        raise HostError(f"{path} stays as it is, and holds no last good value: {said}")
    changed = _write(path, render(policy, new))
    _report(options, path, old, new, changed)
    return KEPT if any(locked.kept for locked in new.values()) else 0


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


def _report(
    options: argparse.Namespace, path: str, old: dict[str, Locked], new: dict[str, Locked], changed: bool
) -> None:
    kept = {name: locked.kept for name, locked in new.items() if locked.kept}
    for name, why in sorted(kept.items()):
        print(f"fwpolicy: group '{name}' keeps its last good addresses: {why}", file=sys.stderr)
    if options.json:
        report = {
            name: {"addresses": len(locked.addresses), "kept": locked.kept} for name, locked in new.items()
        }
        operands.print_json({"changed": changed, "file": path, "groups": report})
    elif not options.quiet:
        for name, locked in sorted(new.items()):
            print(_line(name, old.get(name), locked))
        print(f"{path}: {'written; commit it' if changed else 'as it was'}")


def _line(name: str, old: Locked | None, new: Locked) -> str:
    before, after = set(old.addresses if old else ()), set(new.addresses)
    change = f" ({len(after - before)} new, {len(before - after)} gone)" if before != after else ""
    return f"{name}: {len(after)} address{'es' if len(after) != 1 else ''}{change}"
