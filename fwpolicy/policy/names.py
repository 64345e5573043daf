"""What the names of a policy stand for: groups of addresses, services."""

from __future__ import annotations

import posixpath

from fwpolicy.addresses import EVERYWHERE, AddressError, AddressSet, collect, of, parse, subtract
from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy import services
from fwpolicy.policy.reader import nearest
from fwpolicy.policy.services import Service, ServiceError
from fwpolicy.policy.syntax import GroupText, PolicyText, ServiceText, Word
from fwpolicy.source import Text, decode, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    ReadFile = Callable[[str], bytes]

# RFC 1918 and RFC 4193.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# What the IANA special-purpose registries (RFC 6890) call not globally reachable, and multicast.
NOT_GLOBAL = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/3",
)  # fmt: skip
NOT_GLOBAL_V6 = ("2001:2::/48", "2001:db8::/32", "3fff::/20")


def _internet() -> AddressSet:
    v4 = of("0.0.0.0/0").v4
    return AddressSet(subtract(v4, of(*NOT_GLOBAL).v4), subtract(of("2000::/3").v6, of(*NOT_GLOBAL_V6).v6))


BUILT_IN_GROUPS = ("any", "internet", "private")


class Names:
    """Groups and services of all the files of one policy; problems are collected in `problems`."""

    def __init__(self, files: tuple[PolicyText, ...], read_file: ReadFile) -> None:
        self.problems: list[Problem] = []
        self.texts: dict[str, Text] = {file.text.file: file.text for file in files}
        self.read_file = read_file
        self.groups: dict[str, GroupText] = {}
        self.services: dict[str, ServiceText] = {}
        self.used: set[str] = set()
        self._resolved: dict[str, AddressSet] = {}
        self._resolving: list[str] = []
        for file in files:
            for group in file.groups:
                if self._is_new("group", group.name, self.groups, BUILT_IN_GROUPS):
                    self.groups[group.name.text] = group
            for service in file.services:
                if self._is_new("service", service.name, self.services, services.BUILT_IN):
                    self.services[service.name.text] = service

    def error(self, message: str, span: Span, hint: str | None = None) -> None:
        self.problems.append(self.texts[span.file].problem(message, span, hint))

    def warn(self, message: str, span: Span) -> None:
        self.problems.append(self.texts[span.file].problem(message, span, severity="warning"))

    def _is_new(
        self,
        what: str,
        name: Word,
        table: dict[str, GroupText] | dict[str, ServiceText],
        built_in: Container[str],
    ) -> bool:
        if name.text in built_in:
            message = f"'{name.text}' is a built-in {what}; it cannot be defined again"
            self.error(message, name.span, "choose another name")
            return False
        if name.text in table:
            first = table[name.text].name.span
            self.error(f"{what} '{name.text}' is defined twice; the first is at {first}", name.span)
            return False
        return True

    # Groups

    def addresses(self, words: tuple[Word, ...]) -> AddressSet:
        """The union of addresses, prefixes, ranges and groups."""
        items: list[tuple[int, int, int]] = []
        found = AddressSet()
        for word in words:
            if _looks_like_address(word.text):
                items += self._literal(word)
            else:
                found |= self._named(word)
        return found | collect(items) if items else found

    def group_name(self, words: tuple[Word, ...] | None) -> str | None:
        """The group's name when `words` are exactly one group of the policy's own."""
        return words[0].text if words and len(words) == 1 and words[0].text in self.groups else None

    def _literal(self, word: Word) -> tuple[tuple[int, int, int], ...]:
        """The parsed address; nothing, and a problem, for one that is wrong."""
        try:
            return (parse(word.text),)
        except AddressError as error:
            self.error(str(error), word.span)
            return ()

    def _named(self, word: Word) -> AddressSet:
        name = word.text
        if name in self.groups:
            self.used.add(name)
            return self._group(word)
        if name == "any":
            return EVERYWHERE
        if name == "private":
            return of(*PRIVATE)
        if name == "internet":
            return _internet()
        known = (*self.groups, *BUILT_IN_GROUPS)
        hint = nearest(name, known) or (
            "host names are not addresses; list the addresses"
            if "." in name
            else f"groups: {', '.join(known)}"
        )
        self.error(f"'{name}' is neither an address nor a group", word.span, hint)
        return AddressSet()

    def _group(self, word: Word) -> AddressSet:
        name = word.text
        if name in self._resolved:
            return self._resolved[name]
        if name in self._resolving:
            path = " -> ".join([*self._resolving[self._resolving.index(name) :], name])
            self.error(f"the group contains itself: {path}", word.span)
            return AddressSet()
        self._resolving.append(name)
        group = self.groups[name]
        before = len(self.problems)
        addresses = self.addresses(group.members) if group.members else AddressSet()
        if group.file is not None:
            addresses |= self._file(group.file)
        self._resolving.pop()
        if not addresses and not group.optional and len(self.problems) == before:
            hint = f"{name}: {{optional: true, addresses: []}} if it may be empty"
            self.error(f"group '{name}' is empty, so its rules would match nothing", group.name.span, hint)
        self._resolved[name] = addresses
        return addresses

    def _file(self, word: Word) -> AddressSet:
        """One address, prefix or range a line; '#' starts a comment."""
        path = posixpath.join(posixpath.dirname(word.span.file), word.text)
        try:
            text = split(path, decode(path, self.read_file(path)))
        except PolicyError as error:
            self.problems += error.problems
            return AddressSet()
        except OSError as error:
            self.error(f"cannot read {path}: {error.strerror}", word.span)
            return AddressSet()
        self.texts[path] = text
        items: list[tuple[int, int, int]] = []
        for number, line in enumerate(text.lines, 1):
            entry = line.partition("#")[0].strip()
            if entry:
                try:
                    items.append(parse(entry))
                except AddressError as error:
                    column = line.index(entry) + 1
                    self.error(str(error), Span(path, number, column, column + len(entry)))
        return collect(items)

    def check_unused(self) -> None:
        """Resolve groups that nothing names, so that their mistakes show, and warn of them."""
        for name in [name for name in self.groups if name not in self.used]:
            group = self.groups[name]
            self._group(group.name)
            if name not in self.used:
                self.warn(f"group '{name}' is never used", group.name.span)

    # Services

    def service(self, words: tuple[Word, ...]) -> tuple[Service, ...]:
        """All that the words name, in order."""
        return tuple(service for word in words for service in self._service(word, ()))

    def _service(self, word: Word, path: tuple[str, ...]) -> tuple[Service, ...]:
        if word.text in self.services:
            if word.text in path:
                self.error(f"the service contains itself: {' -> '.join((*path, word.text))}", word.span)
                return ()
            specs = self.services[word.text].specs
            return tuple(service for spec in specs for service in self._service(spec, (*path, word.text)))
        known = services.built_in(word.text)
        if known:
            return known
        try:
            return (services.parse(word.text),)
        except ServiceError as error:
            hint = error.hint or nearest(word.text, (*self.services, *services.BUILT_IN))
            self.error(
                str(error), word.span, hint or "a service is a known name or proto/port, as in tcp/8443"
            )
            return ()


def _looks_like_address(text: str) -> bool:
    return text[0].isdigit() or ":" in text or "/" in text
