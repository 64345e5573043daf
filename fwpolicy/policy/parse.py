"""Located nodes -> the policy as written. The grammar of docs/language.md, and nothing of its names."""

from __future__ import annotations

import re

from fwpolicy.policy.reader import Reader, kind, looks_like_ipv6
from fwpolicy.policy.syntax import (
    GroupText,
    MatchText,
    NtpText,
    PolicyText,
    RuleText,
    SectionText,
    ServiceText,
    TestText,
    Word,
)
from fwpolicy.source import Document, Mapping, Node, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

TOP = (
    "version",
    "name",
    "description",
    "backends",
    "groups",
    "services",
    "roles",
    "input",
    "output",
    "tests",
    "apply",
)
TOP_LATER = ("include", "override", "zones", "forward", "nat", "log")
ADDRESS_KEY = {"input": "from", "output": "to"}
ELSEWHERE = {
    "input": {"to": "'to' belongs to output; input has 'from'", "action": "'action' belongs to 'block'"},
    "output": {"from": "'from' belongs to input; output has 'to'", "action": "'action' belongs to 'block'"},
}
RULE_LATER = (
    "sport", "local", "in", "out", "published", "family", "limit", "burst", "per", "max", "log", "id",
    "owner", "ticket", "expires",
)  # fmt: skip
GROUP_KEYS = ("file", "addresses")
GROUP_LATER = ("hosts", "min", "max", "dynamic")
NTP_KEYS = ("mode", "servers", "serve", "monitors", "daemon", "nts")
NTP_MODES = ("client-only", "server", "closed")
DAEMONS = ("auto", "ntpd", "ntpsec", "chrony", "openntpd", "timesyncd", "none")
TEST_KEYS = ("allow", "deny", "from", "to", "state", "mode")
APPLY_CHOICES = {
    "conntrack": ("purge-denied", "keep"),
    "foreign": ("refuse", "keep"),
    "daemon-config": ("manage", "verify", "leave"),
    "on-boot-failure": ("ssh-only", "open", "closed"),
}
# A name becomes part of a set's name in the ruleset: the kernel's identifiers, and short.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}\Z")
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def parse(document: Document) -> PolicyText:
    """The policy of one document; whatever is wrong with its grammar is in `problems`."""
    reader = Reader(document.text)
    reader.problems += document.problems
    if document.root is None or _is_null(document.root):
        root: Node = Mapping([], _START, _START)
        reader.error("the file is empty; a policy begins with 'version: 1'", root)
        return _policy(reader, {}, None)
    top = reader.keys(document.root, "a policy", TOP, TOP_LATER)
    if isinstance(document.root, Mapping):
        _version(reader, document.root, top.get("version"))
    return _policy(reader, top, document.root)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and not node.value


class _Start:
    line = column = 0


_START = _Start()


def _policy(reader: Reader, top: dict[str, Node], root: Node | None) -> PolicyText:
    return PolicyText(
        text=reader.text,
        name=_name(reader, top.get("name")),
        description=reader.comment(top.get("description"), "'description'"),
        backends=_backends(reader, top.get("backends")),
        groups=_named(reader, top.get("groups"), "group", _group),
        services=_named(reader, top.get("services"), "service", _service),
        ntp=_roles(reader, top.get("roles")),
        sections=tuple(
            _section(reader, root, hook, top[hook]) for hook in ADDRESS_KEY if root and hook in top
        ),
        tests=reader.each(top.get("tests"), "tests", lambda node: _test(reader, node)),
        apply=_apply(reader, top.get("apply")),
        problems=tuple(reader.problems),
    )


def _version(reader: Reader, root: Node, node: Node | None) -> None:
    if node is None:
        span = reader.text.span_between(root.line, root.column, root.line, root.column + 1)
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


def _backends(reader: Reader, node: Node | None) -> tuple[Word, ...]:
    words = reader.words(node, "'backends'") or ()
    for word in words:
        if word.text == "iptables":
            reader.error("the iptables backend is not supported by this version yet", word.span)
        elif word.text != "nft":
            reader.error(f"unknown backend '{word.text}'", word.span, "there is: nft")
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
    members: tuple[Word, ...]
    file, optional = None, False
    if isinstance(node, Mapping) and not looks_like_ipv6(node):
        what = f"group '{name.text}'"
        found = reader.keys(node, what, (*GROUP_KEYS, "optional"), GROUP_LATER)
        _one_source(reader, node, what, found)
        members = _members(reader, found.get("addresses"))
        file = reader.word(found.get("file"), "'file'")
        optional = reader.boolean(found.get("optional"), "'optional'")
    else:
        members = _members(reader, node)
    return GroupText(name, members, file, optional, flawed=reader.has_errors(before))


def _members(reader: Reader, node: Node | None) -> tuple[Word, ...]:
    """An empty list is resolve's to judge: an optional group may have one."""
    if isinstance(node, Sequence) and not node.items:
        return ()
    return reader.words(node, "a group's member") or ()


def _one_source(reader: Reader, node: Mapping, what: str, found: dict[str, Node]) -> None:
    if "file" in found and "addresses" in found:
        reader.error(f"{what} has both 'file' and 'addresses'; it can have one", node)
    elif not any(key in found for key in GROUP_KEYS) and _all_known(node, found):
        reader.error(f"{what} has neither 'addresses' nor 'file'", node)


def _all_known(node: Mapping, found: dict[str, Node]) -> bool:
    """No key was refused: only then is a missing one a mistake of its own."""
    return len(found) == len(node.pairs)


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
    found = reader.keys(node, f"'{hook}'", ("default", "allow", "block"))
    if isinstance(node, Mapping) and "default" not in found:
        reader.error(f"'{hook}' has no 'default'", key.span, "write what happens to the rest: default: drop")
    default = reader.choice(found.get("default"), "'default'", ("drop", "reject", "accept"))
    allow = reader.each(found.get("allow"), "'allow'", lambda item: _rule(reader, item, hook, "allow"))
    block = reader.each(found.get("block"), "'block'", lambda item: _rule(reader, item, hook, "block"))
    return SectionText(hook, key, default, allow, block)


def _rule(reader: Reader, node: Node, hook: str, kind_: str) -> RuleText | None:
    if isinstance(node, Scalar):
        service = reader.word(node, "a service")
        return RuleText(MatchText(service.span, (service,))) if service else None
    own = ("action",) if kind_ == "block" else ()
    match_keys = ("service", ADDRESS_KEY[hook])
    what = f"a rule of '{hook}: {kind_}'"
    keys = (*match_keys, "except", *own, "comment")
    found = reader.keys(node, what, keys, RULE_LATER, ELSEWHERE[hook])
    if not isinstance(node, Mapping):
        return None
    if not any(key in found for key in match_keys) and _all_known(node, found):
        reader.error(f"{what} says nothing about the traffic: it needs {_or(match_keys)}", node)
    return RuleText(
        _match(reader, node, found, hook),
        _holes(reader, found.get("except"), hook),
        reader.choice(found.get("action"), "'action'", ("drop", "reject")),
        reader.comment(found.get("comment"), "'comment'"),
    )


def _or(keys: tuple[str, ...]) -> str:
    return " or ".join(f"'{key}'" for key in keys)


def _match(reader: Reader, node: Node, found: dict[str, Node], hook: str) -> MatchText:
    services = reader.words(found.get("service"), "'service'")
    addresses = reader.words(found.get(ADDRESS_KEY[hook]), f"'{ADDRESS_KEY[hook]}'")
    span = reader.text.span(node)
    return (
        MatchText(span, services, addresses, None)
        if hook == "input"
        else MatchText(span, services, None, addresses)
    )


def _holes(reader: Reader, node: Node | None, hook: str) -> tuple[MatchText, ...]:
    if node is None:
        return ()
    items = node.items if isinstance(node, Sequence) else [node]
    if not items:
        reader.error("'except' is an empty list", node, "leave it out where there is no exception")
    holes = []
    for item in items:
        keys = ("service", ADDRESS_KEY[hook])
        found = reader.keys(item, "'except'", keys, RULE_LATER, ELSEWHERE[hook])
        if isinstance(item, Mapping) and not item.pairs:
            reader.error("'except' is empty: it would except everything", item, f"it needs {_or(keys)}")
        if found:
            holes.append(_match(reader, item, found, hook))
    return tuple(holes)


def _test(reader: Reader, node: Node) -> TestText | None:
    found = reader.keys(node, "a test", TEST_KEYS, ("in", "out"))
    if not isinstance(node, Mapping):
        return None
    whole = _all_known(node, found)
    if ("allow" in found) == ("deny" in found):
        if whole or "allow" in found:
            reader.error("a test says either 'allow' or 'deny'", node)
        return None
    verdict = "allow" if "allow" in found else "deny"
    what = reader.word(found[verdict], f"'{verdict}'")
    if "from" not in found and "to" not in found:
        if whole:
            reader.error("a test needs 'from' (input) or 'to' (output)", node)
        return None
    if what is None:
        return None
    return TestText(
        verdict == "allow",
        what,
        reader.text.span(node),
        reader.words(found.get("from"), "'from'"),
        reader.words(found.get("to"), "'to'"),
        reader.choice(
            found.get("state"), "'state'", ("new", "established", "related", "invalid", "untracked")
        ),
        reader.choice(found.get("mode"), "'mode'", tuple("01234567")),
    )


def _apply(reader: Reader, node: Node | None) -> tuple[tuple[str, Word], ...]:
    if node is None:
        return ()
    found = reader.keys(node, "apply", tuple(APPLY_CHOICES), ("confirm", "gates"))
    words = ((key, reader.choice(value, f"'{key}'", APPLY_CHOICES[key])) for key, value in found.items())
    return tuple((key, word) for key, word in words if word is not None)
