"""Typed readings of located nodes. Every refusal is collected with its place, and reading goes on."""

from __future__ import annotations

from fwpolicy.errors import MAX_PROBLEMS, Problem, Span
from fwpolicy.policy.syntax import Word
from fwpolicy.source import Mapping, Node, Scalar, Sequence, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeVar

    T = TypeVar("T")

# What YAML 1.1 turns into a boolean or null where it stands without quotes (yaml.org/type/bool.html).
_YAML_1_1_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""))

_YES = frozenset(("y", "yes", "on", "true"))
_NO = frozenset(("n", "no", "off", "false"))
_NOTHING: dict[str, str] = {}


# What other firewalls call a thing, where no spelling is near.
_ELSEWHERE = {
    "from": ("src", "saddr", "source", "sources"),
    "to": ("dst", "daddr", "dest", "destination", "destinations"),
    "service": ("port", "ports", "dport", "proto", "protocol"),
    "allow": ("accept", "permit", "pass", "rules"),
    "block": ("deny", "drop", "reject"),
    "drop": ("deny", "block", "discard"),
    "accept": ("allow", "permit", "pass", "open"),
    "reject": ("refuse",),
    "default": ("policy",),
    "in": ("iif", "iifname", "interface", "zone", "input"),
    "out": ("oif", "oifname", "output"),
    "nat": ("dnat", "snat", "masquerade", "redirect"),
    "forward": ("dnat", "redirect", "port-forward"),
    "masquerade": ("masq",),
    "zones": ("interfaces",),
    "ipv4": ("ip4", "v4", "4"),
    "ipv6": ("ip6", "inet6", "v6", "6"),
}


def nearest(word: str, known: Collection[str]) -> str | None:
    """ "did you mean" for a word that is none of `known`, or None where nothing is near."""
    import difflib  # noqa: PLC0415  (only a mistake pays for it)

    if len(word) > 64:  # longer than any name, and difflib's time grows with the square
        return None
    lowered = word.strip().lower()
    for name, others in _ELSEWHERE.items():
        if lowered in others and name in known:
            return f"did you mean '{name}'?"
    matches = difflib.get_close_matches(lowered, known, n=1, cutoff=0.65)
    return f"did you mean '{matches[0]}'?" if matches else None


class Reader:
    """Reads nodes of one text and collects problems."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self.errors = 0

    def error(self, message: str, node: Node | Span, hint: str | None = None) -> None:
        self.errors += 1
        if self.errors <= MAX_PROBLEMS:
            span = node if isinstance(node, Span) else self.text.span(node)
            self.problems.append(self.text.problem(message, span, hint))

    def has_errors(self, since: int) -> bool:
        """Whether one of the problems from number `since` on is an error."""
        if len(self.problems) == since:
            return False
        return any(problem.severity == "error" for problem in self.problems[since:])

    def warn(self, message: str, node: Node | Span, hint: str | None = None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            span = node if isinstance(node, Span) else self.text.span(node)
            self.problems.append(self.text.problem(message, span, hint, "warning"))

    def keys(
        self,
        node: Node,
        what: str,
        known: tuple[str, ...],
        elsewhere: dict[str, str] = _NOTHING,
        form: str | None = None,
    ) -> dict[str, Node]:
        """The values of a mapping by key. `elsewhere`: keys that stand in other places of the language, and a
        hint for each. `form`: how it is written, for what is no mapping."""
        if not isinstance(node, Mapping):
            self.error(f"{what} must be a mapping (KEY: VALUE), not {kind(node)}", node, form)
            return {}
        found: dict[str, Node] = {}
        for number, (key, value) in enumerate(node.pairs):
            if key.value in known:
                found[key.value] = value
            elif key.value in elsewhere:
                self.error(f"'{key.value}' does not belong in {what}", key, elsewhere[key.value])
            elif key.value == "<<":
                self.error("merge keys ('<<') are not part of the language", key, "write the keys out")
            else:
                hint = nearest(key.value, known) or _list_hint(node, number)
                hint = hint or f"{what} has: {', '.join(known)}"
                self.error(f"unknown key '{key.value}' in {what}", key, hint)
        return found

    def key_word(self, parent: Node, key: str) -> Word:
        """The word of `key` itself in mapping `parent`."""
        assert isinstance(parent, Mapping)  # noqa: S101  (only called after keys())
        return next(self.as_word(name) for name, _ in parent.pairs if name.value == key)

    def as_word(self, scalar: Scalar) -> Word:
        return Word(scalar.value, self.text, scalar.place)

    def word(self, node: Node | None, what: str, form: str | None = None) -> Word | None:
        """A non-empty word; a YAML 1.1 boolean without quotes is refused. `form`: how a value is written
        that is no word at all, as a hint."""
        if node.__class__ is Scalar and _is_word(node):
            return Word(node.value, self.text, node.place)
        word = self.line(node, what, form)
        if word is None:
            return None
        text = word.text
        if not text.isprintable():
            wrong = next(c for c in text if not c.isprintable())
            self.error(f"{what} contains {_called(wrong)}", word.span, "leave it out")
            return None
        if text[0].isspace() or text[-1].isspace():
            self.error(f"{what} has spaces around it: '{text}'", word.span, "leave them out")
            return None
        return word

    def line(self, node: Node | None, what: str, form: str | None = None) -> Word | None:
        """A non-empty text."""
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self._not_a_word(node, what, form)
            return None
        if node.plain and node.value.lower() in _YAML_1_1_WORDS:
            shown = f"'{node.value}', which YAML 1.1 reads as a boolean or null" if node.value else "missing"
            hint = f'quote it if it is meant as a word: "{node.value}"' if node.value else None
            self.error(f"{what} is {shown}", node, form or hint)
            return None
        if not node.value or node.value.isspace():
            self.error(f"{what} is empty", node, form)
            return None
        return Word(node.value, self.text, node.place)

    def _not_a_word(self, node: Node, what: str, form: str | None) -> None:
        text = _ipv6_without_quotes(node)
        if text:
            span = self.text.span(node)
            span = Span(span.file, span.line, span.column, span.column + len(text))
            self.error("an IPv6 address that YAML reads as KEY: VALUE", span, f'quote it: "{text}"')
        else:
            self.error(f"{what} must be a single value, not {kind(node)}", node, form)

    def choice(self, node: Node | None, what: str, choices: tuple[str, ...]) -> Word | None:
        if node is None:
            return None
        if isinstance(node, Scalar) and node.value and node.value not in choices:
            hint = nearest(node.value, choices)
            self.error(f"{what} is '{node.value}'; it can be {_either(choices)}", node, hint)
            return None
        return self.word(node, what)

    def boolean(self, node: Node | None, what: str) -> bool:
        if node is None:
            return False
        if isinstance(node, Scalar) and node.plain and node.value in ("true", "false"):
            return node.value == "true"
        self.error(f"{what} must be true or false, not {kind(node)}", node, boolean_hint(node))
        return False

    def comment(self, node: Node | None, what: str) -> Word | None:
        """A text that may stand inside a comment of the ruleset (nft quotes it; 128 bytes at most)."""
        word = self.line(node, what)
        if word is None:
            return None
        wrong = next((c for c in word.text if not c.isprintable() or c in '"\\'), None)
        if wrong is not None:
            message = f"{what} contains {_called(wrong)}, which cannot stand inside a comment of the ruleset"
            self.error(message, word.span, "leave it out")
            return None
        if len(word.text.encode()) > 100:
            self.error(f"{what} is longer than 100 bytes, more than a ruleset's comment holds", word.span)
            return None
        return word

    def words(self, node: Node | None, what: str, form: str | None = None) -> tuple[Word, ...] | None:
        """A word or a list of words; None where the key is absent. `form`: a hint for what is no word."""
        if node is None:
            return None
        if node.__class__ is Scalar:
            word = self.word(node, what)
            return (word,) if word else ()
        if not isinstance(node, Sequence):
            if isinstance(node, Mapping) and not looks_like_ipv6(node):
                self.error(f"{what} must be a single value or a list, not a mapping", node)
                return ()
            word = self.word(node, what)
            return (word,) if word else ()
        if not node.items:
            self.error(f"{what} is an empty list", node)
        words = tuple(word for item in node.items if (word := self.word(item, what, form)))
        self._warn_of_repeats(words)
        return words

    def _warn_of_repeats(self, words: tuple[Word, ...]) -> None:
        if len({word.text for word in words}) == len(words):
            return
        seen: set[str] = set()
        for word in words:
            if word.text in seen:
                self.warn(f"'{word.text}' is in this list twice", word.span)
            seen.add(word.text)

    def each(
        self, node: Node | None, what: str, read: Callable[[Node], T | None], form: str | None = None
    ) -> tuple[T, ...]:
        """`read` over the items of a list; absent is empty. `form`: how it is written, for what is none."""
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            hint = form or "a list is written [A, B], or a line each with '- '"
            self.error(f"{what} must be a list, not {kind(node)}", node, hint)
            return ()
        return tuple([value for item in node.items if (value := read(item)) is not None])

    def pairs(self, node: Node | None, what: str) -> list[tuple[Scalar, Node]]:
        if node is None:
            return []
        if not isinstance(node, Mapping):
            self.error(f"{what} must be a mapping (NAME: VALUE), not {kind(node)}", node)
            return []
        return node.pairs


def _is_word(node: Scalar) -> bool:
    """Whether there is nothing to complain of: what nearly every scalar is, in one look."""
    text = node.value
    plain = text.isprintable() and text.strip() == text != ""
    return plain and not (node.plain and text.lower() in _YAML_1_1_WORDS)


def boolean_hint(node: Node) -> str | None:
    """What is written for a word that means yes or no elsewhere."""
    text = node.value.lower() if isinstance(node, Scalar) else ""
    if text not in _YES and text not in _NO:
        return None
    said = "true" if text in _YES else "false"
    quoted = isinstance(node, Scalar) and not node.plain
    return f"leave out the quotes: {said}" if quoted and text == said else f"write {said}"


def _list_hint(node: Mapping, number: int) -> str | None:
    """For a key without a value, which in braces is what follows a comma: `{service: tcp/80,443}`."""
    (name, first), (key, value) = node.pairs[number - 1], node.pairs[number]
    plain_key = isinstance(value, Scalar) and value.plain and not value.value
    if not number or not plain_key or not isinstance(first, Scalar) or not first.value:
        return None
    protocol, slash, _ = first.value.partition("/")
    is_port = slash and protocol.isalpha() and key.value.replace("-", "").isdigit()
    second = f"{protocol}/{key.value}" if is_port else key.value
    return f"a list is written in brackets: {name.value}: [{first.value}, {second}]"


def kind(node: Node) -> str:
    """What a node is, in the reader's words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return f"'{node.value}'" if isinstance(node, Scalar) and node.value else "nothing"


def _called(character: str) -> str:
    named = {'"': 'a double quote (")', "\\": "a backslash (\\)", "\n": "a line break", "\t": "a tab"}
    return named.get(character, f"an unprintable character (U+{ord(character):04X})")


def looks_like_ipv6(node: Node) -> bool:
    return _ipv6_without_quotes(node) is not None


def _ipv6_without_quotes(node: Node) -> str | None:
    """`fe80::` at the end of a line, or before a space, is a mapping whose key is `fe80:`."""
    if not isinstance(node, Mapping) or len(node.pairs) != 1:
        return None
    key, value = node.pairs[0]
    if ":" not in key.value or not all(c in "0123456789abcdefABCDEF:" for c in key.value):
        return None
    return f"{key.value}:" if isinstance(value, Scalar) and not value.value else None


def _either(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
