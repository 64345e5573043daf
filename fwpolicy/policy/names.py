"""What the names of a policy stand for: groups of addresses, services."""

from __future__ import annotations

import posixpath

from fwpolicy.addresses import (
    EVERYWHERE,
    NOWHERE,
    AddressError,
    AddressSet,
    collect,
    format_address,
    parse,
)
from fwpolicy.errors import MAX_PROBLEMS, Problem, Span
from fwpolicy.policy import services
from fwpolicy.policy.services import Service, ServiceError
from fwpolicy.protocols import NUMBERS
from fwpolicy.source import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from fwpolicy.policy.lock import Locked
    from fwpolicy.policy.syntax import GroupText, PolicyText, ServiceText, Sources, Word
    from fwpolicy.policy.zones import ZoneText

    ReadFile = Callable[[str], bytes]

FAMILY_NAMES = {4: "IPv4", 6: "IPv6"}
BUILT_IN_GROUPS = ("any", "internet", "private")
# Words that stand where a group or a service may stand, and mean something else.
RESERVED_GROUPS = ("from-daemon", "local")
RESERVED_SERVICES = (*NUMBERS, "ip", "any")
# Every level of names costs Python frames; nobody reads so many.
MAX_NESTED = 32
# What lists of addresses that nobody has contain, and is no way to say IPv4.
MAPPED = (6, 0xFFFF << 32, (0x10000 << 32) - 1)
NO_IPV4 = "is IPv4 in IPv6 form, which no packet carries: it matches no IPv4 packet"


class Names:
    """Groups and services of all the files of one policy; problems are collected in `problems`."""

    def __init__(self, sources: Sources, read_file: ReadFile) -> None:
        self.problems: list[Problem] = []
        self.errors = 0
        self.sources = sources
        self.texts: dict[str, Text] = {file.text.file: file.text for file in sources.files}
        self.read_file = read_file
        self.groups: dict[str, GroupText] = {}
        self.services: dict[str, ServiceText] = {}
        self.zones: dict[str, ZoneText] = {}
        self.used: set[str] = set()
        self.used_zones: set[str] = set()
        self.overridden: set[tuple[str, str]] = set()
        self.lock: dict[str, Locked] | None = None
        self._resolved: dict[str, AddressSet] = {}
        self._resolving: list[str] = []
        self._services: dict[str, tuple[Service, ...]] = {}
        self._read: dict[str, tuple[Service, ...]] = {}
        self._too_deep = False
        self._define(sources.files)
        self.filled = {name for name, group in self.groups.items() if group.dynamic is not None}

    def _define(self, files: tuple[PolicyText, ...]) -> None:
        extensions = []
        for file in files:
            for group in file.groups:
                if group.extends:
                    extensions.append(group)
                elif self._is_new("group", group.name, self.groups, BUILT_IN_GROUPS, RESERVED_GROUPS):
                    self.groups[group.name.text] = group
            for service in file.services:
                if self._is_new("service", service.name, self.services, services.BUILT_IN, RESERVED_SERVICES):
                    self.services[service.name.text] = service
            for zone in file.zones:
                if self._is_new("zone", zone.name, self.zones):
                    self.zones[zone.name.text] = zone
        if extensions:
            from fwpolicy.policy.groups import extend  # noqa: PLC0415

            extend(tuple(extensions), self)

    def error(self, message: str, span: Span, hint: str | None = None) -> None:
        self.errors += 1
        if self.errors <= MAX_PROBLEMS:
            self.problems.append(self.texts[span.file].problem(message, span, hint))

    def warn(self, message: str, span: Span, hint: str | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self.texts[span.file].problem(message, span, hint, "warning"))

    def has_errors(self, since: int = 0) -> bool:
        """Whether one of the problems from number `since` on is an error."""
        if len(self.problems) == since:
            return False
        return any(problem.severity == "error" for problem in self.problems[since:])

    def _is_new(
        self,
        what: str,
        name: Word,
        table: dict[str, GroupText] | dict[str, ServiceText] | dict[str, ZoneText],
        built_in: Container[str] = (),
        reserved: Container[str] = (),
    ) -> bool:
        if name.text in built_in:
            message = f"'{name.text}' is a built-in {what}; it cannot be defined again"
            self.error(message, name.span, "choose another name")
            return False
        if name.text in reserved:
            message = f"'{name.text}' is a word of the language; it cannot name a {what}"
            self.error(message, name.span, "choose another name")
            return True  # kept, so that its users are not wrong a second time
        if name.text in table:
            return self._replaces(what, name, table[name.text].name)
        return True

    def _replaces(self, what: str, name: Word, first: Word) -> bool:
        """Whether the second definition counts, and not the first."""
        key = f"{what}s.{name.text}"
        if self.overrides(first.span.file, key, name.span.file):
            return False
        if self.overrides(name.span.file, key, first.span.file):
            return True
        message = f"{what} '{name.text}' is defined twice; the first is at {first.span}"
        hint = self.override_hint(key)
        if what == "group" and self._is_included(name, first):
            more = f"{name.text}: [+, ...]"
            hint = f"the including file may add to it: {more}, or replace it: override: [{key}]"
        self.error(message, name.span, hint)
        return False

    def _is_included(self, one: Word, other: Word) -> bool:
        """Whether the file of one of them includes the other's."""
        files = one.span.file, other.span.file
        return self.includes(*files) or self.includes(*reversed(files))

    # Files

    def includes(self, file: str, other: str) -> bool:
        """Whether `file` includes `other`, over any number of steps."""
        return other in self.sources.reach.get(file, ())

    def overrides(self, file: str, key: str, other: str) -> bool:
        """Whether what `file` says of `key` stands in the place of what `other` says."""
        if not self.includes(file, other):
            return False
        said = any(
            word.text == key
            for text in self.sources.files
            if text.text.file == file
            for word in text.overrides
        )
        if said:
            self.overridden.add((file, key))
        return said

    def override_hint(self, key: str) -> str | None:
        return f"the including file may say: override: [{key}]" if self.sources.reach else None

    def settle(self, key: str, words: list[Word], what: str) -> Word | None:
        """What several files say of one thing: the same, or one overrides the others."""
        if len(words) > 1:
            words = [
                word
                for word in words
                if not any(self.overrides(other.span.file, key, word.span.file) for other in words)
            ]
        for other in words[1:]:
            if other.text != words[0].text:
                message = f"{what} '{other.text}' differs from '{words[0].text}' at {words[0].span}"
                self.error(message, other.span, self.override_hint(key))
        return words[0] if words else None

    # Groups

    def fixed(self, words: tuple[Word, ...], others: tuple[str, ...] = ()) -> AddressSet:
        """As `addresses`, where what is filled at run time cannot stand."""
        for word in words:
            if self.filled_by((word,)):
                hint = "it may stand in the lines of input, output and forward"
                message = f"the members of '{word.text}' are known at run time only"
                self.error(message, word.span, hint)
        return self.addresses(words, others)

    def filled_by(self, words: tuple[Word, ...] | None) -> tuple[str, ...]:
        """The dynamic groups behind `words`, sorted."""
        if not words or not self.filled:
            return ()
        return tuple(sorted(self.filled & self.behind(words)))

    def behind(self, words: tuple[Word, ...]) -> set[str]:
        """The groups that `words` name, and those that these name."""
        found: set[str] = set()
        todo = [word.text for word in words]
        while todo:
            name = todo.pop()
            if name in self.groups and name not in found:
                found.add(name)
                todo += [member.text for member in self.groups[name].members]
        return found

    def addresses(self, words: tuple[Word, ...], others: tuple[str, ...] = ()) -> AddressSet:
        """The union of addresses, prefixes, ranges and groups; a hint may name `others`."""
        items: list[tuple[int, int, int]] = []
        found = NOWHERE
        for word in words:
            if word.text not in self.groups and _looks_like_address(word.text):
                self._literal(word, items)
            else:
                named = self._named(word, others)
                found = named if found is NOWHERE else found | named
        if not items:
            return found
        written = collect(items)
        return written if found is NOWHERE else found | written

    def group_name(self, words: tuple[Word, ...] | None) -> str | None:
        """The group's name when `words` are exactly one group with members of the policy's own."""
        if not words or len(words) > 1 or words[0].text not in self.groups:
            return None
        return None if words[0].text in self.filled else words[0].text

    def _literal(self, word: Word, items: list[tuple[int, int, int]]) -> None:
        """Add the parsed address to `items`; a problem instead where it is wrong."""
        try:
            item = packet_address(word.text)
        except AddressError as error:
            self.error(str(error), word.span, error.hint)
            return
        items.append(item)
        if item == MAPPED:
            self.warn(f"'{word.text}' {NO_IPV4}", word.span, "every IPv4 address is 0.0.0.0/0")
        if word.text in ("0.0.0.0", "::"):  # noqa: S104
            hint = f"'any' is every address; '{word.text}/0' every one of its family"
            self.warn(f"'{word.text}' is one address, not every address", word.span, hint)

    def _named(self, word: Word, others: tuple[str, ...]) -> AddressSet:
        name = word.text
        if name in self.groups:
            self.used.add(name)
            return self._group(word)
        if name == "any":
            return EVERYWHERE
        if name in BUILT_IN_GROUPS:
            from fwpolicy.policy.groups import built_in  # noqa: PLC0415

            return built_in(name)
        from fwpolicy.policy import hints  # noqa: PLC0415  (only a mistake pays for it)

        hint = hints.of_group(name, others, self)
        self.error(f"'{name}' is neither an address nor a group", word.span, hint)
        return NOWHERE

    def _group(self, word: Word) -> AddressSet:
        name = word.text
        if name in self._resolved:
            return self._resolved[name]
        if not self._may_enter("group", word, self._resolving):
            return NOWHERE
        group = self.groups[name]
        before = len(self.problems)
        self._resolving.append(name)
        addresses = self.addresses(group.members)
        if group.file is not None:
            from fwpolicy.policy.groupfiles import members  # noqa: PLC0415  (most policies have none)

            addresses |= members(group.file, self)
        if group.hosts is not None and not group.flawed:
            from fwpolicy.policy.lock import locked  # noqa: PLC0415  (most policies name addresses)

            addresses |= locked(group, self)
        self._resolving.pop()
        may_be_empty = group.optional or group.flawed or group.hosts or self.filled_by((group.name,))
        if not addresses and not may_be_empty and not self.has_errors(before):
            named = ", ".join(member.text for member in group.members)
            said = f"file: {group.file.text}" if group.file else f"addresses: [{named}]"
            hint = f"{name}: {{optional: true, {said}}} if it may be empty"
            self.error(f"group '{name}' is empty, so its rules would match nothing", group.name.span, hint)
        self._resolved[name] = addresses
        return addresses

    def _may_enter(self, what: str, word: Word, path: list[str]) -> bool:
        """Whether the name may be followed; a cycle, or a chain without end, is a problem."""
        if word.text in path:
            circle = [*path[path.index(word.text) :], word.text]
            self.error(f"the {what} contains itself: {' -> '.join(circle)}", word.span)
            return False
        if len(path) < MAX_NESTED:
            return True
        if not self._too_deep:
            self.error(f"{what}s name {what}s more than {MAX_NESTED} levels deep", word.span)
        self._too_deep = True
        return False

    def check_unused(self) -> None:
        """Resolve what nothing names, so that its mistakes show, and warn of groups."""
        for name in [name for name in self.groups if name not in self.used]:
            group = self.groups[name]
            self._group(group.name)
            if name not in self.used and not self.is_shared(group.name):
                self.warn(f"group '{name}' is never used", group.name.span)
        for service in self.services.values():
            self._service(service.name, [])
        if self.zones:
            from fwpolicy.policy.zones import warn_of_unused  # noqa: PLC0415

            warn_of_unused(self)

    def is_shared(self, name: Word) -> bool:
        """Whether it is of an included file, which others may include for other names."""
        return any(name.span.file in reached for reached in self.sources.reach.values())

    # Services

    def service(self, words: tuple[Word, ...]) -> tuple[Service, ...]:
        """All that the words name, in order."""
        if len(words) == 1:
            return self._one_service(words[0])
        return tuple(dict.fromkeys(service for word in words for service in self._one_service(word)))

    def _one_service(self, word: Word) -> tuple[Service, ...]:
        """Each text is read once, unless it is wrong: then each place has a problem."""
        found = self._read.get(word.text)
        if found is None:
            found = self._service(word, [])
            if found:
                self._read[word.text] = found
        return found

    def _service(self, word: Word, path: list[str]) -> tuple[Service, ...]:
        if word.text in self.services:
            return self._own_service(word, path)
        known = services.built_in(word.text)
        if known:
            return known
        try:
            return (services.parse(word.text),)
        except ServiceError as error:
            from fwpolicy.policy import hints  # noqa: PLC0415  (only a mistake pays for it)

            self.error(str(error), word.span, error.hint or hints.of_service(word.text, self))
            return ()

    def _own_service(self, word: Word, path: list[str]) -> tuple[Service, ...]:
        name = word.text
        if name in self._services:
            return self._services[name]
        if not self._may_enter("service", word, path):
            return ()
        inner = [*path, name]
        found = [service for spec in self.services[name].specs for service in self._service(spec, inner)]
        self._services[name] = tuple(dict.fromkeys(found))
        return self._services[name]


def packet_address(text: str) -> tuple[int, int, int]:
    """As addresses.parse, without IPv4 addresses in IPv6 form: no packet carries one (RFC 4291 2.5.5.2)."""
    found = family, first, last = parse(text)
    if family == 6 and MAPPED[1] <= first and last <= MAPPED[2] and found != MAPPED:
        hint = f"write {format_address(4, first & 0xFFFFFFFF)}" if first == last else "write it as IPv4"
        raise AddressError(f"'{text}' is an IPv4 address in IPv6 form, which no packet carries", hint)
    return found


def _looks_like_address(text: str) -> bool:
    return text[0].isdigit() or ":" in text or "/" in text


def stem_of(file: str) -> str:
    """A file's name without its folder and ending."""
    name = posixpath.basename(file).strip("<>")
    return name.rsplit(".", 1)[0] or name
