"""Zones: named interfaces, matched by name, so that one which appears later is covered."""

from __future__ import annotations

import re

from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import Word
    from fwpolicy.source import Node


@record
class ZoneText:
    """A zone: interface names, a trailing "*" for any rest."""

    name: Word
    interfaces: tuple[Word, ...]


# dev_valid_name() of the kernel, without what a ruleset would have to quote, and without what its readers
# take for something else: nft's JSON has "@x" for a set and for a text, iptables takes "!" for a negation
# and a last "+" for any rest, ip(8) writes NAME@LINK.
INTERFACE = re.compile(r"(?![-!])[^\s/:\"'\\*?\[\]{},;#@]{1,15}(?<!\+)\Z")
LOOPBACK = "lo"
_LISTED = "ip -brief link   lists them"


def interfaces(reader: Reader, node: Node) -> tuple[Word, ...]:
    """The interface names of a zone; a trailing "*" stands for any rest."""
    words = reader.words(node, "a zone's interface") or ()
    return tuple(word for word in words if _is_interface(reader, word))


def _is_interface(reader: Reader, word: Word) -> bool:
    stem = word.text.removesuffix("*")
    if not stem:
        hint = "a line without 'in' and 'out' is about every interface"
        reader.error("'*' alone is every interface, which no zone need name", word.span, hint)
    elif word.text == LOOPBACK:
        hint = "it always passes input and output"
        reader.error("'lo' belongs to no zone: it is the host's traffic with itself", word.span, hint)
    elif "*" in stem or "?" in stem:
        hint = "a '*' at the end stands for any rest, as in: wg*"
        reader.error(f"'{word.text}' has a wildcard that is not a '*' at its end", word.span, hint)
    elif not word.text.isascii():
        message = f"'{word.text}' is not ASCII, and what a ruleset says of such a name cannot be proved"
        reader.error(message, word.span, "rename the interface: ip link set dev OLD name NEW")
    elif len(word.text) > 15 and "@" not in word.text:
        message = f"'{word.text}' is longer than 15 characters, and no interface's name is"
        reader.error(message, word.span, _LISTED)
    elif stem in (".", "..") or not INTERFACE.match(stem):
        message = f"'{word.text}' cannot be an interface's name in a policy"
        reader.error(message, word.span, _name_hint(word.text))
    else:
        return True
    return False


def _name_hint(text: str) -> str:
    """What is meant by what other programs write."""
    name, at, _ = text.partition("@")
    if at and name:
        return f"write {name}: what follows the '@' is the interface that it is tied to"
    if text[0] == "!":
        return "an exception is a key of the rule, as in: except: {in: ZONE}"
    if len(text) > 1 and text[-1] == "+":
        return f"write {text[:-1]}*, where any rest is meant"
    return _LISTED


def resolve(words: tuple[Word, ...] | None, key: str, names: Names) -> tuple[str, ...] | None:
    """The interface names of zones, sorted; None where no zone is named. `key`: "in" or "out"."""
    if words is None:
        return None
    found: set[str] = set()
    for word in words:
        if word.text in names.zones:
            names.used_zones.add(word.text)
            found.update(each.text for each in names.zones[word.text].interfaces)
        else:
            names.error(f"zone '{word.text}' is not declared", word.span, _hint(word.text, key, names))
    return tuple(sorted(found))


def _hint(name: str, key: str, names: Names) -> str:
    from fwpolicy.policy.reader import nearest  # noqa: PLC0415

    if name[0] == "!":
        return f"an exception is a key of the rule, as in: except: {{{key}: {name[1:].strip() or 'ZONE'}}}"
    for zone, text in names.zones.items():
        if any(covers(each.text, name) for each in text.interfaces):
            return f"'{name}' is an interface of zone '{zone}': {key}: {zone}"
    near = nearest(name, tuple(names.zones))
    if near:
        return near
    if names.zones:
        return f"zones: {', '.join(sorted(names.zones)[:12])}"
    return f"declare it, as in: zones: {{{name if name.isalnum() else 'wan'}: eth0}}"


def warn_of_unused(names: Names) -> None:
    for name, zone in names.zones.items():
        if name not in names.used_zones and not names.is_shared(zone.name):
            names.warn(f"zone '{name}' is never used", zone.name.span)


def covers(pattern: str, name: str) -> bool:
    """Whether the interface (or the narrower pattern) `name` is one of `pattern`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def overlap(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether an interface can be in both; None is every one."""
    if some is None or others is None:
        return True
    return any(covers(a, b) or covers(b, a) for a in some for b in others)
