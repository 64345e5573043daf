"""Text for man(7), the macros that man-db and mandoc both read."""

from __future__ import annotations

import textwrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def escaped(text: str) -> str:
    """Plain text: no character of it is roff's."""
    return text.replace("\\", "\\e").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")


def literal(text: str) -> str:
    """What is typed as it stands; its hyphens stay ASCII when it is copied."""
    return escaped(text).replace("-", "\\-").replace("~", "\\(ti")


def bold(text: str) -> str:
    return f"\\fB{literal(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{literal(text)}\\fR"


def header(name: str, section: int, date: str, source: str, manual: str) -> list[str]:
    return [f'.TH "{name.upper()}" "{section}" "{date}" "{source}" "{manual}"']


def heading(text: str) -> list[str]:
    return [f".SH {text.upper()}"]


def subheading(text: str) -> list[str]:
    return [f".SS {literal(text)}"]


def paragraph(text: str) -> list[str]:
    return [".PP", *_filled(text)]


def entry(label: str, *lines: str) -> list[str]:
    """A label (already escaped), and plain sentences under it."""
    return [".TP", label, *(part for line in lines for part in _filled(line))]


def code(text: str) -> list[str]:
    return [".PP", ".RS 4", ".nf", *(_line(literal(line)) for line in text.splitlines()), ".fi", ".RE"]


def _filled(text: str) -> list[str]:
    """Lines of at most 80 characters, which mandoc asks for."""
    lines = textwrap.wrap(escaped(text), 80, break_long_words=False, break_on_hyphens=False)
    return [_line(line) for line in lines]


def _line(text: str) -> str:
    """A line of text: one that begins with a dot would be a request; an empty one is a request's."""
    if text.startswith("."):
        return f"\\&{text}"
    return text or "\\&"


def page(parts: Iterable[list[str]]) -> str:
    """A heading takes no .PP after it: mandoc skips that, and says so."""
    lines = [line for part in parts for line in part]
    kept = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if not (line == ".PP" and before.startswith((".SH", ".SS")))
    ]
    return "\n".join(kept) + "\n"
