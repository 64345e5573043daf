"""HTML out of plain values. Whatever is not Markup is text, and becomes markup in one place: escaped()."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Content = str | int | None | Iterable["Content"]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_TABLE = str.maketrans(_ESCAPES)
VOID = ("meta", "input", "br")


class Markup(str):
    """Text that is HTML already: made by tag() and joined(), and by nobody else."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """The text as HTML, in an element or a quoted attribute. What does not print, or would turn the
    direction of what follows, is shown as a replacement character."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return Markup(plain.translate(_TABLE))


def joined(content: Content) -> Markup:
    """Texts and markup, one after the other."""
    return Markup("".join(_parts(content)))


def _parts(content: Content) -> Iterator[str]:
    if content is None:
        return
    if isinstance(content, Markup):
        yield content
    elif isinstance(content, str | int):
        yield escaped(str(content))
    else:
        for each in content:
            yield from _parts(each)


def tag(kind: str, /, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An element. `class_` is class, other underscores are hyphens; None and False: no such attribute."""
    words = [kind]
    for key, value in attributes.items():
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"')
    begin = f"<{' '.join(words)}>"
    return Markup(begin if kind in VOID else f"{begin}{joined(content)}</{kind}>")


def name(text: str) -> Markup:
    """A name that others chose, in its own direction of writing."""
    return tag("bdi", text)
