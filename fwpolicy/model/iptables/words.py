"""A line of iptables-save text as words, and the words as options of matches and of a target."""

from __future__ import annotations

import re

from fwpolicy.model.iptables.tables import ARITY, MATCH_OPTIONS, STANDARD, TARGET_OPTIONS, TRANSPORT
from fwpolicy.model.program import NotModelledError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (canonical name, negated, values)
    Option = tuple[str, bool, tuple[str, ...]]
    Options = tuple[Option, ...]


@record
class Match:
    """`-m module` with its options in the order of the text."""

    module: str
    options: Options


@record
class Line:
    """A rule's words. `header`: the options of iptables itself; `jump`: "jump", "goto" or "" (no target)."""

    header: Options
    matches: tuple[Match, ...]
    jump: str
    target: str
    target_options: Options


_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_ESCAPED = re.compile(r"\\(.)")


def split(line: str) -> list[str]:
    """The words of a line: double quotes hold them together, and a backslash in there the next character.

    Single quotes are characters like any other (xshared.c, add_param_to_argv).
    """
    if '"' not in line:
        return line.split()
    if "\\" not in line:
        pieces = line.split('"')
        if len(pieces) % 2:
            words = pieces[0].split()
            for quoted, bare in zip(pieces[1::2], pieces[2::2], strict=True):
                words += [quoted, *bare.split()]
            return words
    if '"' in _WORD.sub("", line):
        raise NotModelledError("a quote is not closed")
    return [bare or _ESCAPED.sub(r"\1", quoted) for quoted, bare in _WORD.findall(line)]


class _Segment:
    """A module, or the target, while its options are gathered. `known`: None where any option is its own."""

    __slots__ = ("known", "name", "options")

    def __init__(self, name: str, known: dict[str, str] | None) -> None:
        self.name, self.known = name, known
        self.options: list[Option] = []


_TRANSPORT_OPTIONS = {name for module in TRANSPORT.values() for name in MATCH_OPTIONS[module]}


# The next option, or the "!" before it.
_ENDING = ("-", "!")


class _Reader:
    """Walks over the words of one rule."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.position = words, 0
        self.header: list[Option] = []
        self.matches: list[_Segment] = []
        self.target: _Segment | None = None
        # Modules and target, newest last: the newest one that has an option gets it (getopt's merged table).
        self.loaded: list[_Segment] = []
        self.protocol = ""
        self.jump = ""

    def read(self) -> Line:
        words = self.words
        while self.position < len(words):
            word = words[self.position]
            self.position += 1
            negated = word == "!"
            if negated:
                word = self._next()
            standard = STANDARD.get(word)
            if standard is not None:
                self._standard(standard, word, negated)
            elif word.startswith("--") and len(word) > 2:
                self._long(word, negated)
            elif word.startswith("-") and len(word) > 2 and word[:2] in STANDARD:
                self.words.insert(self.position, word[2:])
                self._standard(STANDARD[word[:2]], word[:2], negated)
            else:
                raise NotModelledError(f"'{word}' is no option")
        target = self.target
        return Line(
            tuple(self.header),
            tuple(Match(match.name, tuple(match.options)) for match in self.matches),
            self.jump,
            target.name if target else "",
            tuple(target.options) if target else (),
        )

    def _next(self) -> str:
        if self.position == len(self.words):
            raise NotModelledError(f"nothing follows '{self.words[-1]}'")
        self.position += 1
        return self.words[self.position - 1]

    def _standard(self, name: str, word: str, negated: bool) -> None:
        arity = ARITY.get(name, 1)
        values = (self._next(),) if arity == 1 else tuple([self._next() for _ in range(arity)])
        if arity and values[0] == "!":
            raise NotModelledError(f"'!' stands before '{word}', not after it")
        if name == "match":
            self._refuse_bang(negated, word)
            self._load(values[0])
        elif name in ("jump", "goto"):
            self._refuse_bang(negated, word)
            self._aim(name, values[0])
        else:
            if name == "protocol":
                self.protocol = "" if negated else values[0].lower()
            self.header.append((name, negated, values))

    @staticmethod
    def _refuse_bang(negated: bool, word: str) -> None:
        if negated:
            raise NotModelledError(f"'!' cannot stand before '{word}'")

    def _load(self, module: str) -> _Segment:
        segment = _Segment(module, MATCH_OPTIONS.get(module))
        self.matches.append(segment)
        self.loaded.append(segment)
        return segment

    def _aim(self, kind: str, target: str) -> None:
        if self.target:
            raise NotModelledError("two targets")
        self.jump, self.target = kind, _Segment(target, TARGET_OPTIONS.get(target, {}))
        self.loaded.append(self.target)

    def _long(self, word: str, negated: bool) -> None:
        name, equals, value = word[2:].partition("=")
        segment, canonical = self._owner(name)
        values = [value] if equals else []
        values += [self._next() for _ in range(ARITY.get(canonical, 0) - len(values))]
        words, end = self.words, self.position
        while not equals and end < len(words) and words[end][:1] not in _ENDING:
            end += 1
        values += words[self.position : end]
        self.position = end
        segment.options.append((canonical, negated, tuple(values)))

    def _owner(self, name: str) -> tuple[_Segment, str]:
        """Whose option it is, and what it is called there."""
        newest = self.loaded[-1].known if self.loaded else None
        if newest and name in newest:
            return self.loaded[-1], newest[name]
        for segment in reversed(self.loaded):
            if segment.known is None:
                if segment is self.loaded[-1] and name not in _TRANSPORT_OPTIONS:
                    return segment, name
            elif name in segment.known:
                return segment, segment.known[name]
        return self._abbreviated(name) or self._implied(name) or self._unknown(name)

    def _abbreviated(self, name: str) -> tuple[_Segment, str] | None:
        """getopt takes a beginning that only one option has: `-m multiport --dport 80,443`."""
        for segment in reversed(self.loaded):
            found = {full for known, full in (segment.known or {}).items() if known.startswith(name)}
            if len(found) == 1:
                return segment, found.pop()
        return None

    def _implied(self, name: str) -> tuple[_Segment, str] | None:
        """`-p tcp --dport 22` means `-p tcp -m tcp --dport 22` (iptables-extensions(8))."""
        module = TRANSPORT.get(self.protocol)
        if module is None or name not in MATCH_OPTIONS[module]:
            return None
        return self._load(module), MATCH_OPTIONS[module][name]

    def _unknown(self, name: str) -> tuple[_Segment, str]:
        opaque = [segment for segment in self.loaded if segment.known is None]
        if not opaque:
            raise NotModelledError(f"unknown option '--{name}'")
        return opaque[-1], name


def parse(words: list[str]) -> Line:
    """The words after `-A CHAIN`."""
    return _Reader(words).read()
