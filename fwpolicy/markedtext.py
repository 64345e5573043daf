"""Edits of a configuration text that undo themselves: commented-out lines, and one block of ours.

A line that must go stays where it is, byte for byte, behind `#fwpolicy# `; what we add stands
between `# BEGIN fwpolicy` and `# END fwpolicy` at the end. So the text alone says what it was:
`strip` needs no copy kept elsewhere, and an administrator can see and undo each edit by hand.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# `#` starts a comment in ntp.conf(5), chrony.conf(5), ntpd.conf(5) and timesyncd.conf(5) alike.
PREFIX = "#fwpolicy# "
BEGIN = "# BEGIN fwpolicy"
END = "# END fwpolicy"
# Appended to a BEGIN line before which a line end had to be added, which strip() takes away again.
_UNENDED = " (the line above had no line end)"


def comment_out(text: str, goes: Callable[[str], bool], continuation: str = "") -> str:
    """`text` with every line commented out for which `goes` (given the line without its end) is true.

    With `continuation`, a line that ends in it goes on in the next one: only the first is judged,
    and all of them share its fate.
    """
    edited: list[str] = []
    inside = going = False
    for line in _lines(text):
        body = line.rstrip("\r\n")
        if not inside:
            going = goes(body)
        edited.append(PREFIX + line if going else line)
        inside = bool(continuation) and body.endswith(continuation)
    return "".join(edited)


def with_block(text: str, lines: Iterable[str], title: str = "") -> str:
    """`text` with `lines` as its one marked block, at the end; a block that stands there is replaced.

    Without lines the block is removed. The block ends its lines as the text does (LF or CRLF).
    """
    text = _without_blocks(text)
    body = tuple(lines)
    if not body:
        return text
    line_end = "\r\n" if _ends_in_crlf(text) else "\n"
    unended = bool(text) and not text.endswith("\n")
    begin = BEGIN + (f": {title}" if title else "") + (_UNENDED if unended else "")
    block = "".join(line + line_end for line in (begin, *body, END))
    return text + (line_end if unended else "") + block


def strip(text: str) -> str:
    """The text as it was before comment_out and with_block; lines that somebody added since stay.

    A BEGIN without its END loses only that line: what follows may be the administrator's.
    """
    while (stripped := _uncommented(_without_blocks(text))) != text:
        text = stripped
    return text


def is_marked(text: str) -> bool:
    """Does the text hold an edit of ours?"""
    return strip(text) != text


def statements(text: str, continuation: str = "") -> tuple[str, ...]:
    """The lines of the text as it was before our edits, without line ends, continued ones joined."""
    found: list[str] = []
    inside = False
    for line in _lines(strip(text)):
        body = line.rstrip("\r\n")
        if inside:
            found[-1] += body
        else:
            found.append(body)
        inside = bool(continuation) and body.endswith(continuation)
        if inside:
            found[-1] = found[-1].removesuffix(continuation)
    return tuple(found)


def rewrite(
    files: Iterable[tuple[str, str]],
    main: str,
    goes: Callable[[str], bool],
    block: Iterable[str],
    title: str = "",
    continuation: str = "",
) -> tuple[tuple[str, str], ...]:
    """The (path, text) pairs that change when `goes` lines go from all files and `main` gets `block`.

    Edits of ours from before are undone first, so the result depends on the original text alone.
    A `main` that is not among the files is made, if there is a block to put into it.
    """
    block = tuple(block)
    texts = dict(files)
    changed = []
    for path in (*texts, *(() if main in texts or not block else (main,))):
        old = texts.get(path, "")
        new = comment_out(strip(old), goes, continuation)
        if path == main:
            new = with_block(new, block, title)
        if new != old:
            changed.append((path, new))
    return tuple(changed)


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends; only LF ends one (str.splitlines also breaks at form feeds and U+2028)."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _ends_in_crlf(text: str) -> bool:
    last = text.rfind("\n")
    return last > 0 and text[last - 1] == "\r"


def _is_begin(line: str) -> bool:
    body = line.rstrip("\r\n")
    return body == BEGIN or body.startswith((BEGIN + ":", BEGIN + " "))


def _uncommented(text: str) -> str:
    if PREFIX not in text:
        return text
    return "".join(line.removeprefix(PREFIX) for line in _lines(text))


def _without_blocks(text: str) -> str:
    if BEGIN not in text:
        return text
    lines = list(_lines(text))
    kept: list[str] = []
    at = 0
    while at < len(lines):
        if not _is_begin(lines[at]):
            kept.append(lines[at])
            at += 1
            continue
        after = _after_block(lines, at)
        if after == len(lines) and kept and lines[at].rstrip("\r\n").endswith(_UNENDED):
            kept[-1] = kept[-1].removesuffix("\r\n" if lines[at].endswith("\r\n") else "\n")
        at = after
    return "".join(kept)


def _after_block(lines: list[str], begin: int) -> int:
    """The index after the block's END, or after its BEGIN where the END is missing."""
    for at in range(begin + 1, len(lines)):
        if lines[at].rstrip("\r\n") == END:
            return at + 1
        if _is_begin(lines[at]):
            break
    return begin + 1
