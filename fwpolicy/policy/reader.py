"""Typed readings of located nodes. Every refusal is collected with its place, and reading goes on."""

from __future__ import annotations

from fwpolicy.errors import Problem, Span
from fwpolicy.policy.syntax import Word
from fwpolicy.source import Mapping, Node, Scalar, Sequence, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

# What YAML 1.1 turns into a boolean or null where it stands without quotes (yaml.org/type/bool.html).
_YAML_1_1_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """ "did you mean" for a word that is none of `known`, or None where nothing is near."""
    import difflib  # noqa: PLC0415  (only a mistake pays for it)

    lowered = word.lower()
    matches = difflib.get_close_matches(lowered, list(known), n=1, cutoff=0.6)
    return f"did you mean '{matches[0]}'?" if matches else None


class Reader:
    """Reads nodes of one text and collects problems."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.problems: list[Problem] = []

    def error(self, message: str, node: Node | Span, hint: str | None = None) -> None:
        span = node if isinstance(node, Span) else self.text.span(node)
        self.problems.append(self.text.problem(message, span, hint))

    def keys(
        self, node: Node, what: str, known: tuple[str, ...], later: tuple[str, ...] = ()
    ) -> dict[str, Node]:
        """The values of a mapping by key. `later`: keys of the language that this version lacks."""
        if not isinstance(node, Mapping):
            self.error(f"{what} must be a mapping (KEY: VALUE), not {kind(node)}", node)
            return {}
        found: dict[str, Node] = {}
        for key, value in node.pairs:
            if key.value in known:
                found[key.value] = value
            elif key.value in later:
                self.error(f"'{key.value}' is not supported by this version yet", key)
            else:
                hint = nearest(key.value, known) or f"{what} has: {', '.join(known)}"
                self.error(f"unknown key '{key.value}' in {what}", key, hint)
        return found

    def key_word(self, parent: Node, key: str) -> Word:
        """The word of `key` itself in mapping `parent`."""
        assert isinstance(parent, Mapping)  # noqa: S101  (only called after keys())
        return next(self.as_word(name) for name, _ in parent.pairs if name.value == key)

    def as_word(self, scalar: Scalar) -> Word:
        return Word(scalar.value, self.text.span(scalar))

    def word(self, node: Node | None, what: str) -> Word | None:
        """A non-empty scalar; a YAML 1.1 boolean without quotes is refused."""
        if node is None:
            return None
        if not isinstance(node, Scalar):
            hint = 'quote an IPv6 address: "2001:db8::1"' if _looks_like_ipv6(node) else None
            self.error(f"{what} must be a single word, not {kind(node)}", node, hint)
            return None
        if node.plain and node.value.lower() in _YAML_1_1_WORDS:
            shown = f"'{node.value}', which YAML 1.1 reads as a boolean or null" if node.value else "nothing"
            self.error(
                f"{what} is {shown}",
                node,
                f'quote it if it is a name: "{node.value}"' if node.value else None,
            )
            return None
        if not node.value.strip():
            self.error(f"{what} is empty", node)
            return None
        return self.as_word(node)

    def choice(self, node: Node | None, what: str, choices: tuple[str, ...]) -> Word | None:
        word = self.word(node, what)
        if word is not None and word.text not in choices:
            hint = nearest(word.text, choices)
            self.error(f"{what} is '{word.text}'; it can be {_either(choices)}", word.span, hint)
            return None
        return word

    def boolean(self, node: Node | None, what: str) -> bool:
        if node is None:
            return False
        if isinstance(node, Scalar) and node.plain and node.value in ("true", "false"):
            return node.value == "true"
        shown = f"'{node.value}'" if isinstance(node, Scalar) else kind(node)
        self.error(f"{what} must be true or false, not {shown}", node)
        return False

    def comment(self, node: Node | None, what: str) -> Word | None:
        """A text that may stand inside a comment of the ruleset (nft quotes it; 128 bytes at most)."""
        word = self.word(node, what)
        if word is None:
            return None
        if any(not character.isprintable() or character in '"\\' for character in word.text):
            self.error(
                f"{what} cannot stand inside a comment of the ruleset",
                word.span,
                'leave out ", \\ and control characters',
            )
            return None
        if len(word.text.encode()) > 100:
            self.error(f"{what} is longer than 100 bytes, more than a ruleset's comment holds", word.span)
            return None
        return word

    def words(self, node: Node | None, what: str) -> tuple[Word, ...] | None:
        """A word or a list of words; None where the key is absent."""
        if node is None:
            return None
        if isinstance(node, Sequence):
            if not node.items:
                self.error(f"{what} is an empty list", node)
            return tuple(word for item in node.items if (word := self.word(item, what)))
        word = self.word(node, what)
        return (word,) if word else ()

    def each(self, node: Node | None, what: str, read: Callable[[Node], T | None]) -> tuple[T, ...]:
        """`read` over the items of a list; absent is empty."""
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.error(f"{what} must be a list (a line each with '- '), not {kind(node)}", node)
            return ()
        return tuple(value for item in node.items if (value := read(item)) is not None)

    def pairs(self, node: Node | None, what: str) -> list[tuple[Scalar, Node]]:
        if node is None:
            return []
        if not isinstance(node, Mapping):
            self.error(f"{what} must be a mapping (NAME: VALUE), not {kind(node)}", node)
            return []
        return node.pairs


def kind(node: Node) -> str:
    """What a node is, in the reader's words."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "a single word" if isinstance(node, Scalar) and node.value else "nothing"


def _looks_like_ipv6(node: Node) -> bool:
    return (
        isinstance(node, Mapping)
        and len(node.pairs) == 1
        and all(c in "0123456789abcdefABCDEF:" for c in node.pairs[0][0].value)
    )


def _either(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
