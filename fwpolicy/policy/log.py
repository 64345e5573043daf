"""`log:`, as written and as it counts."""

from __future__ import annotations

from fwpolicy.policy import values
from fwpolicy.policy.model import Log
from fwpolicy.policy.syntax import Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.names import Names
    from fwpolicy.policy.reader import Reader
    from fwpolicy.policy.syntax import PolicyText
    from fwpolicy.source import Node

KEYS = ("denied", "rate", "prefix", "group")
DEFAULTS = {"denied": "false", "rate": "5/minute", "prefix": "fwp", "group": ""}


def parse(reader: Reader, node: Node) -> tuple[tuple[str, Word], ...]:
    """The words of `log:` by key, each of a kind that its key takes."""
    found = reader.keys(node, "log", KEYS)
    words: dict[str, Word] = {}
    if "denied" in found:
        denied = reader.boolean(found["denied"], "'denied'")
        words["denied"] = Word("true" if denied else "false", reader.text, found["denied"].place)
    if (rate := values.rate(reader, found.get("rate"), "'rate'")) is not None:
        words["rate"] = Word(f"{rate[0]}/{rate[1]}", reader.text, found["rate"].place)
    if (prefix := values.prefix(reader, found.get("prefix"), "'prefix'")) is not None:
        words["prefix"] = prefix
    if (group := values.count(reader, found.get("group"), "'group'", 0, 65535)) is not None:
        words["group"] = Word(str(group), reader.text, found["group"].place)
    return tuple(words.items())


def resolve(files: tuple[PolicyText, ...], names: Names) -> Log:
    """The one `log:` of all files; each key by itself."""
    said: dict[str, list[Word]] = {key: [] for key in KEYS}
    for file in files:
        for key, word in file.log or ():
            said[key].append(word)
    chosen = {key: names.settle(f"log.{key}", words, f"log.{key}") for key, words in said.items()}
    texts = {key: word.text if word else DEFAULTS[key] for key, word in chosen.items()}
    rate, _, unit = texts["rate"].partition("/")
    group = int(texts["group"]) if texts["group"] else None
    return Log(texts["denied"] == "true", int(rate), unit, texts["prefix"], group)
