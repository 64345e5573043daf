"""What the verbs take, read from their argparse parsers: completions and fwpolicy(1) come from it."""

from __future__ import annotations

from fwpolicy.policy.services import BUILT_IN
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

# What a value is, where its place does not say so by its choices: by option, then by metavar.
_KINDS = {
    "--netns": "netns",
    "--interface": "interface",
    "POLICY": "policy",
    "DIR": "directory",
    "FILE": "file",
    "HOST": "host",
}


@record
class Argument:
    """An option or an operand. `flags`: () for an operand; `metavar`: "" for an option without a value.

    `kind`: what completes its value: a word of _KINDS, "words" (those of `words`), or "" for nothing.
    `many`: it may be given again; `optional`: an operand that may be left out.
    """

    flags: tuple[str, ...]
    metavar: str
    text: str
    kind: str = ""
    words: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False


@record
class Verb:
    """A verb; `text` is its line of help."""

    name: str
    text: str
    options: tuple[Argument, ...]
    operands: tuple[Argument, ...]
    epilog: str = ""


def verbs(parsers: Mapping[str, argparse.ArgumentParser]) -> tuple[Verb, ...]:
    """Every verb of the program, in its order."""
    return tuple(_verb(name, parser) for name, parser in parsers.items())


def _verb(name: str, parser: argparse.ArgumentParser) -> Verb:
    arguments = [_argument(parser, action) for action in parser._actions]
    return Verb(
        name,
        (parser.description or "").removesuffix("."),
        tuple(argument for argument in arguments if argument.flags),
        tuple(argument for argument in arguments if not argument.flags),
        parser.epilog or "",
    )


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> Argument:
    words = tuple(map(str, action.choices or ()))
    metavar = "" if action.nargs == 0 else str(action.metavar or "|".join(words) or action.dest.upper())
    kind = next((_KINDS[key] for key in (*action.option_strings, metavar) if key in _KINDS), "")
    if metavar == "NAME" and not action.option_strings:
        words = tuple(BUILT_IN)
    return Argument(
        tuple(action.option_strings),
        metavar,
        # The only place where argparse fills in %(default)s.
        parser._get_formatter()._expand_help(action) if action.help else "",
        "words" if words else kind,
        words,
        type(action).__name__ == "_AppendAction" or action.nargs in ("+", "*"),
        action.nargs in ("?", "*"),
    )
