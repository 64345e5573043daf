"""The lock file: the addresses behind the host names of a policy, as they were last resolved.

It is committed beside the policy, so that what is loaded never holds a name and two hosts load the
same. Pure: texts and answers in, texts out; host/resolver.py asks.
"""

from __future__ import annotations

import posixpath

from fwpolicy import source
from fwpolicy.addresses import AddressError, AddressSet, collect, format_address, of
from fwpolicy.errors import PolicyError, Span
from fwpolicy.policy.hidden import refusal
from fwpolicy.policy.names import packet_address, stem_of
from fwpolicy.policy.reader import Reader
from fwpolicy.record import record
from fwpolicy.source import Hidden, Mapping, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.groups import HostsText
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.syntax import GroupText
    from fwpolicy.source import Node

HEAD = """\
# The addresses behind the host names of {policy}, as they were last resolved.
# Written by: fwpolicy lock {policy}   Commit it beside the policy.
version: 1
"""


# This host, no host, many hosts: a resolver that blocks a name answers with one of these, too.
NOWHERE = of("0.0.0.0", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255", "::", "::1", "ff00::/8")  # noqa: S104


@record
class Locked:
    """A group's addresses: (family, integer), sorted. `kept`: why an older value still stands."""

    hosts: tuple[str, ...]
    addresses: tuple[tuple[int, int], ...]
    kept: str | None = None
    span: Span | None = None


@record
class Answer:
    """What resolving one host gave: addresses as texts, or why there are none."""

    addresses: tuple[str, ...] = ()
    failure: str | None = None


def path_beside(policy: str) -> str:
    """The lock file of a policy's file."""
    return posixpath.join(posixpath.dirname(policy), f"{stem_of(policy)}.lock")


def parse(path: str, data: bytes) -> dict[str, Locked]:
    """The groups of a lock file. Raises PolicyError."""
    document = source.load(path, data)
    reader = Reader(document.text)
    reader.problems += document.problems
    locked: dict[str, Locked] = {}
    if document.root is None:
        reader.error("the lock file is empty", Span(path, 1, 1, 2), "write it again: fwpolicy lock POLICY")
    else:
        found = reader.keys(document.root, "a lock file", ("version", "groups"))
        reader.choice(found.get("version"), "the lock file's version", ("1",))
        for key, node in reader.pairs(found.get("groups"), "groups"):
            locked[key.value] = _locked(reader, key.value, node)
    if reader.problems:
        raise PolicyError(tuple(reader.problems))
    return locked


def _locked(reader: Reader, name: str, node: Node) -> Locked:
    found = reader.keys(node, f"group '{name}'", ("hosts", "addresses", "kept"))
    addresses = []
    for word in reader.words(found.get("addresses"), "an address") or ():
        try:
            family, first, last = packet_address(word.text)
        except AddressError as error:
            reader.error(str(error), word.span, error.hint)
            continue
        if first != last:
            reader.error(f"'{word.text}' is more than one address", word.span)
        elif (family, first) in NOWHERE:
            reader.error(f"'{word.text}' is no address of a host elsewhere", word.span)
        addresses.append((family, first))
    if isinstance(node, Mapping) and "addresses" not in found:
        reader.error(f"group '{name}' has no 'addresses'", node)
    kept = reader.comment(found.get("kept"), "'kept'")
    hosts = tuple(word.text for word in reader.words(found.get("hosts"), "a host") or ())
    return Locked(hosts, tuple(sorted(set(addresses))), kept.text if kept else None, reader.text.span(node))


def render(policy: str, groups: dict[str, Locked]) -> str:
    """The lock file's text; the same groups give the same text."""
    lines = [HEAD.format(policy=posixpath.basename(policy)), "groups:" if groups else "groups: {}", "\n"]
    for name, locked in sorted(groups.items()):
        lines.append(f"  {name}:\n    hosts: [{', '.join(locked.hosts)}]\n    addresses:\n")
        for family, value in locked.addresses:
            text = format_address(family, value)
            lines.append(f"      - {text}\n" if family == 4 else f'      - "{text}"\n')
        if locked.kept:
            lines.append(f'    kept: "{locked.kept}"\n')
    return "".join(lines)


def locked(group: GroupText, names: Names) -> AddressSet:
    """The addresses of a group of hosts; a problem, that says how to refresh, where there are none."""
    if group.hosts is None:
        return AddressSet()
    policy = names.sources.tops[0]
    refresh = f"resolve and commit them: fwpolicy lock {names.sources.locked_by or policy}"
    path = path_beside(policy)
    span, name = group.name.span, group.name.text
    try:
        entry = _read(path, names).get(name)
    except OSError as error:
        names.error(f"cannot read {path}: {error.strerror}", span)
        return AddressSet()
    if entry is None and any(p.span and p.span.file == path for p in names.problems):
        return AddressSet()  # the lock itself is wrong
    if entry is None:
        names.error(f"the hosts of group '{name}' are not in {path}", span, refresh)
    elif entry.hosts != _texts(group.hosts):
        names.error(f"group '{name}' has other hosts than {path} has for it", span, refresh)
    elif wrong := outside(group.hosts, len(entry.addresses)):
        names.error(f"group '{name}' has {wrong} in {path}", span, refresh)
    else:
        if entry.kept:
            names.warn(f"group '{name}' keeps its last good addresses: {entry.kept}", span, refresh)
        return collect((family, value, value) for family, value in entry.addresses)
    return AddressSet()


def _read(path: str, names: Names) -> dict[str, Locked]:
    """The lock file, read once; empty where there is none: every group of hosts says what to do then. And
    where it is wrong (a problem). Raises OSError."""
    if names.lock is None:
        try:
            data = names.read_file(path)
        except FileNotFoundError:
            data = None
        names.lock = {} if data is None else _parsed(path, data, names)
    return names.lock


def _parsed(path: str, data: bytes, names: Names) -> dict[str, Locked]:
    try:
        text = Text(path, source.decode(path, data))
        found = parse(path, data)
    except PolicyError as error:
        names.problems += (refusal(path, "a lock file") if isinstance(data, Hidden) else error).problems
        return {}
    names.texts[path] = text
    return found


def _texts(hosts: HostsText) -> tuple[str, ...]:
    return tuple(sorted({word.text for word in hosts.names}))


def outside(hosts: HostsText, number: int) -> str | None:
    """What is wrong with so many addresses; None where min..max holds."""
    found = f"{number} address{'es' if number != 1 else ''}"
    if number < hosts.least:
        return f"{found}, fewer than its min of {hosts.least}"
    if hosts.most and number > hosts.most:
        return f"{found}, more than its max of {hosts.most}"
    return None


def refresh(
    groups: tuple[GroupText, ...], old: dict[str, Locked], answers: dict[str, Answer]
) -> tuple[dict[str, Locked], dict[str, str]]:
    """The new content of the lock, and by group why nothing, old or new, may stand there.

    A group whose hosts do not all resolve, or whose addresses leave min..max, keeps its last good
    value while that still is one: the same hosts, within min..max.
    """
    new: dict[str, Locked] = {}
    lost: dict[str, str] = {}
    for group in groups:
        if group.hosts is None:
            continue
        name, wanted = group.name.text, _texts(group.hosts)
        fresh, wrong = _fresh(wanted, answers)
        wrong = wrong or outside(group.hosts, len(fresh))
        last = old.get(name)
        if wrong is None:
            new[name] = Locked(wanted, fresh)
        elif last and last.hosts == wanted and not outside(group.hosts, len(last.addresses)):
            new[name] = Locked(wanted, last.addresses, wrong)
        else:
            lost[name] = wrong
    return new, lost


def _fresh(
    hosts: tuple[str, ...], answers: dict[str, Answer]
) -> tuple[tuple[tuple[int, int], ...], str | None]:
    found: set[tuple[int, int]] = set()
    for host in hosts:
        answer = answers[host]
        if answer.failure:
            return (), f"{host}: {answer.failure}"
        found.update(packet_address(text)[:2] for text in answer.addresses)
    return tuple(sorted(found)), None
