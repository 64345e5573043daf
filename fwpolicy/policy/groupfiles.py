"""Groups whose members stand in a file: one address, prefix or range a line, '#' starts a comment."""

from __future__ import annotations

import posixpath

from fwpolicy.addresses import NOWHERE, AddressError, AddressSet, collect
from fwpolicy.addresslists import listed, networks
from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.names import packet_address
from fwpolicy.record import replace
from fwpolicy.source import Hidden, Text, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.policy.names import Names
    from fwpolicy.policy.syntax import Word

# A set of more takes the kernel minutes and this program gigabytes.
MAX_ENTRIES = 1_000_000


def members(word: Word, names: Names) -> AddressSet:
    """What the file that `word` names holds; a problem for each line that is wrong."""
    path = posixpath.join(posixpath.dirname(word.span.file), word.text)
    try:
        data = names.read_file(path)
    except OSError as error:
        names.error(f"cannot read {path}: {error.strerror}", word.span)
        return NOWHERE
    # Beyond the policy's own folder a file may be anybody's: nothing of it is shown.
    by_name = word.text.startswith("/") or posixpath.normpath(word.text).startswith("..")
    beyond = by_name or isinstance(data, Hidden)
    try:
        content = decode(path, data)
    except PolicyError as error:
        names.problems += [replace(each, text=None) for each in error.problems] if beyond else error.problems
        return NOWHERE
    text = Text(path, content)
    names.texts[path] = Text(path, "") if beyond else text
    if (found := listed(content, MAX_ENTRIES)) is not None:
        return AddressSet(found)
    entries = [entry for entry in map(str.strip, _without_comments(text)) if entry]
    if len(entries) > MAX_ENTRIES:
        names.error(f"{path} has more than {MAX_ENTRIES:,} addresses", word.span)
        return NOWHERE
    found = networks(entries)
    return _line_by_line(text, names, beyond=beyond) if found is None else AddressSet(found)


def _without_comments(text: Text) -> Iterator[str]:
    if not text.has("#"):
        return text.lines()
    return (line.partition("#")[0] for line in text.lines())


def _line_by_line(text: Text, names: Names, *, beyond: bool) -> AddressSet:
    items: list[tuple[int, int, int]] = []
    for number, line in enumerate(_without_comments(text), 1):
        if entry := line.strip():
            try:
                items.append(packet_address(entry))
            except AddressError as error:
                column = line.index(entry) + 1
                _refuse(error, entry, Span(text.file, number, column, column + len(entry)), names, beyond)
    return collect(items)


def _refuse(error: AddressError, entry: str, span: Span, names: Names, beyond: bool) -> None:
    if beyond:
        names.problems.append(Problem("not an address, prefix or range", span))
        return
    names.error(str(error), span, "a comment begins with '#'" if ";" in entry else error.hint)
