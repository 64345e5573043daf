"""Located nodes -> the policy as written. The grammar of docs/language.md, and nothing of its names."""

from __future__ import annotations

import re

from fwpolicy.policy import lines
from fwpolicy.policy.reader import Reader, kind, looks_like_ipv6
from fwpolicy.policy.syntax import GroupText, NtpText, PolicyText, RuleText, SectionText, ServiceText, Word
from fwpolicy.source import Document, Mapping, Node, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from fwpolicy.policy.gates import GateText
    from fwpolicy.policy.zones import ZoneText

    T = TypeVar("T")

TOP = (
    "version",
    "name",
    "description",
    "backends",
    "include",
    "override",
    "groups",
    "zones",
    "services",
    "roles",
    "input",
    "output",
    "forward",
    "nat",
    "log",
    "tests",
    "apply",
)
HOOKS = ("input", "output", "forward")
DEFAULTS = ("drop", "reject", "accept")
GROUP_SOURCES = ("addresses", "file", "hosts", "dynamic")
HOSTS_KEYS = ("min", "max")
NTP_KEYS = ("mode", "servers", "serve", "monitors", "daemon", "nts")
NTP_MODES = ("client-only", "server", "closed")
DAEMONS = ("auto", "ntpd", "ntpsec", "chrony", "openntpd", "timesyncd", "none")
APPLY_CHOICES = {
    "conntrack": ("purge-denied", "keep"),
    "foreign": ("refuse", "keep"),
    "daemon-config": ("manage", "verify", "leave"),
    "on-boot-failure": ("ssh-only", "open", "closed"),
    "drift": ("ignore", "report", "heal"),
}
APPLY_KEYS = ("confirm", "gates", *APPLY_CHOICES)
# A name becomes part of a set's name in the ruleset: the kernel's identifiers, and short.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}\Z")
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def parse(document: Document, included: bool = False) -> PolicyText:
    """The policy of one document; whatever is wrong with its grammar is in `problems`.

    `included`: a part of another policy, which says the version.
    """
    reader = Reader(document.text)
    reader.problems += document.problems
    if document.root is None or _is_null(document.root):
        root: Node = Mapping([], (0, 0, 0, 0))
        reader.error("the file is empty; a policy begins with 'version: 1'", root)
        return _policy(reader, {}, None)
    top = reader.keys(document.root, "a policy", TOP)
    if isinstance(document.root, Mapping) and not (included and "version" not in top):
        _version(reader, document.root, top.get("version"))
    return _policy(reader, top, document.root)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and not node.value


def _policy(reader: Reader, top: dict[str, Node], root: Node | None) -> PolicyText:
    log = nat = None
    if root and ("log" in top or "nat" in top):
        from fwpolicy.policy import log as logging  # noqa: PLC0415  (most policies have neither)
        from fwpolicy.policy import nat as translation  # noqa: PLC0415

        log = logging.parse(reader, top["log"]) if "log" in top else None
        nat = translation.parse(reader, reader.key_word(root, "nat"), top["nat"]) if "nat" in top else None
    apply, gates = _apply(reader, top.get("apply"))
    return PolicyText(
        text=reader.text,
        name=_name(reader, top.get("name")),
        description=reader.comment(top.get("description"), "'description'"),
        backends=_backends(reader, top.get("backends")),
        groups=_named(reader, top.get("groups"), "group", _group),
        services=_named(reader, top.get("services"), "service", _service),
        ntp=_roles(reader, top.get("roles")),
        sections=tuple(_section(reader, root, hook, top[hook]) for hook in HOOKS if root and hook in top),
        tests=reader.each(top.get("tests"), "tests", lambda node: lines.test(reader, node)),
        apply=apply,
        gates=gates,
        zones=_named(reader, top.get("zones"), "zone", _zone),
        log=log,
        nat=nat,
        includes=reader.words(top.get("include"), "'include'") or (),
        overrides=reader.words(top.get("override"), "'override'") or (),
        problems=tuple(reader.problems),
    )


def _version(reader: Reader, root: Node, node: Node | None) -> None:
    if node is None:
        line, column, *_ = root.place
        span = reader.text.span_between(line, column, line, column + 1)
        reader.error("'version' is missing", span, "begin the file with: version: 1")
    elif not isinstance(node, Scalar) or node.value != "1":
        reader.error(f"version must be 1, the one that this program knows, not {kind(node)}", node)
    elif not node.plain:
        reader.error("version must be the number 1, not a text", node, "leave out the quotes: version: 1")


def _name(reader: Reader, node: Node | None) -> Word | None:
    word = reader.word(node, "'name'")
    if word and not POLICY_NAME.match(word.text):
        reader.error(
            f"'{word.text}' cannot name a policy", word.span, "letters, digits, '.', '_' and '-', at most 64"
        )
        return None
    return word


_BACKENDS = ("nft", "iptables")


def _backends(reader: Reader, node: Node | None) -> tuple[Word, ...]:
    words = reader.words(node, "'backends'") or ()
    for word in words:
        if word.text not in _BACKENDS:
            reader.error(f"unknown backend '{word.text}'", word.span, f"there are: {', '.join(_BACKENDS)}")
    return words


def _named(
    reader: Reader, node: Node | None, what: str, read: Callable[[Reader, Word, Node], T]
) -> tuple[T, ...]:
    found = []
    for key, value in reader.pairs(node, f"{what}s"):
        name = reader.word(key, f"the {what}'s name")
        if name is None:
            continue
        if not NAME.match(name.text):
            reader.error(
                f"'{name.text}' cannot name a {what}",
                name.span,
                "a letter first, then letters, digits, '_' and '-', at most 32",
            )
        # A refused name is kept: the lines that use it are not wrong a second time.
        found.append(read(reader, name, value))
    return tuple(found)


def _group(reader: Reader, name: Word, node: Node) -> GroupText:
    before = len(reader.problems)
    file, optional, dynamic, hosts = None, False, None, None
    if isinstance(node, Mapping) and not looks_like_ipv6(node):
        what = f"group '{name.text}'"
        found = reader.keys(node, what, (*GROUP_SOURCES, "optional", *HOSTS_KEYS))
        _one_source(reader, node, what, found)
        members = _members(reader, found.get("addresses"))
        file = reader.word(found.get("file"), "'file'")
        optional = reader.boolean(found.get("optional"), "'optional'")
        if "dynamic" in found or "hosts" in found or "min" in found or "max" in found:
            from fwpolicy.policy import groups  # noqa: PLC0415  (most groups are addresses)

            dynamic, hosts = groups.dynamic(reader, what, found), groups.hosts(reader, what, found)
    else:
        members = _members(reader, node)
    extends = bool(members) and members[0].text == "+"
    flawed = reader.has_errors(before)
    return GroupText(name, members[extends:], file, optional, flawed, extends, dynamic, hosts)


def _members(reader: Reader, node: Node | None) -> tuple[Word, ...]:
    """An empty list is resolve's to judge: an optional group may have one."""
    if isinstance(node, Sequence) and not node.items:
        return ()
    form = "a group of a file or of hosts has a name of its own, and others have it by that name"
    return reader.words(node, "a group's member", form if _has_mapping(node) else None) or ()


def _has_mapping(node: Node | None) -> bool:
    items = node.items if isinstance(node, Sequence) else []
    return any(isinstance(item, Mapping) and not looks_like_ipv6(item) for item in items)


def _one_source(reader: Reader, node: Mapping, what: str, found: dict[str, Node]) -> None:
    sources = [key for key in GROUP_SOURCES if key in found]
    if len(sources) > 1:
        reader.error(f"{what} has both '{sources[1]}' and '{sources[0]}'; it can have one", node)
    elif not sources and lines.all_known(node, found):
        reader.error(f"{what} has none of 'addresses', 'file', 'hosts' and 'dynamic'", node)


def _zone(reader: Reader, name: Word, node: Node) -> ZoneText:
    from fwpolicy.policy.zones import ZoneText, interfaces  # noqa: PLC0415  (one interface needs none)

    return ZoneText(name, interfaces(reader, node))


def _service(reader: Reader, name: Word, node: Node) -> ServiceText:
    return ServiceText(name, reader.words(node, "a service's port") or ())


def _roles(reader: Reader, node: Node | None) -> NtpText | None:
    if node is None:
        return None
    found = reader.keys(node, "roles", ("ntp",))
    if "ntp" not in found:
        return None
    return _ntp(reader, reader.key_word(node, "ntp"), found["ntp"])


def _ntp(reader: Reader, key: Word, role: Node) -> NtpText:
    before = len(reader.problems)
    if not isinstance(role, Mapping):
        return NtpText(key, reader.choice(role, "roles.ntp", NTP_MODES))
    keys = reader.keys(role, "roles.ntp", NTP_KEYS)
    if "mode" not in keys:
        reader.error("roles.ntp has no 'mode'", key.span, f"mode is one of: {', '.join(NTP_MODES)}")
    return NtpText(
        key,
        reader.choice(keys.get("mode"), "'mode'", NTP_MODES),
        reader.word(keys.get("servers"), "'servers'"),
        reader.words(keys.get("serve"), "'serve'"),
        reader.words(keys.get("monitors"), "'monitors'") or (),
        reader.choice(keys.get("daemon"), "'daemon'", DAEMONS),
        reader.boolean(keys.get("nts"), "'nts'"),
        reader.has_errors(before),
    )


def _section(reader: Reader, root: Node, hook: str, node: Node) -> SectionText:
    key = reader.key_word(root, hook)
    said = node.value if isinstance(node, Scalar) and node.value in DEFAULTS else "drop"
    form = f"write {hook}: {{default: {said}}}"
    found = reader.keys(node, f"'{hook}'", ("default", "allow", "block"), form=form)
    default = reader.choice(found.get("default"), "'default'", DEFAULTS)
    allow, block = (_lines(reader, found.get(kind), hook, kind) for kind in ("allow", "block"))
    return SectionText(
        hook, key, default, allow, block, open=isinstance(node, Mapping) and "default" not in found
    )


def _lines(reader: Reader, node: Node | None, hook: str, kind: str) -> tuple[RuleText, ...]:
    form = f"write {kind}: [{node.value}]" if isinstance(node, Scalar) and node.value else None
    return reader.each(node, f"'{kind}'", lambda item: lines.rule(reader, item, hook, kind), form)


def _apply(reader: Reader, node: Node | None) -> tuple[tuple[tuple[str, Word], ...], tuple[GateText, ...]]:
    """(words by key, gates)."""
    if node is None:
        return (), ()
    found = reader.keys(node, "apply", APPLY_KEYS)
    words = {
        key: reader.choice(found.get(key), f"'{key}'", choices) for key, choices in APPLY_CHOICES.items()
    }
    items: tuple[GateText, ...] = ()
    if "confirm" in found or "gates" in found:
        from fwpolicy.policy import gates  # noqa: PLC0415  (most policies have neither)

        words["confirm"] = gates.confirm(reader, found["confirm"]) if "confirm" in found else None
        items = gates.parse(reader, found["gates"]) if "gates" in found else ()
    return tuple((key, word) for key, word in words.items() if word is not None), items
