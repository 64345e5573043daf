"""Groups whose members stand in a file: one address, prefix or range a line, '#' starts a comment."""

from __future__ import annotations

import posixpath

from fwpolicy.addresses import A_LIST, EVERYWHERE, NOWHERE, AddressError, AddressSet, collect
from fwpolicy.addresslists import listed, networks
from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.names import FAMILY_NAMES, MAPPED, NO_IPV4, packet_address
from fwpolicy.record import replace
from fwpolicy.source import Hidden, Text, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.policy.names import Names
    from fwpolicy.policy.syntax import Word

# A set of more takes the kernel minutes and this program gigabytes.
MAX_ENTRIES = 1_000_000
_EVERY = {4: "0.0.0.0/0", 6: '"::/0"'}


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
    found = _read(text, content, word, names, beyond=beyond)
    _refuse_everywhere(found, path, word, names)
    return found


def _refuse_everywhere(found: AddressSet, path: str, word: Word, names: Names) -> None:
    """A list that came out wrong, or from somebody else, must not be about everybody."""
    for family, name in FAMILY_NAMES.items():
        if found.of(family) == EVERYWHERE.of(family):
            hint = f"what is every address is said in the policy: {_EVERY[family]}, or any"
            names.error(f"{path} has every {name} address: that is no list of members", word.span, hint)


def _read(text: Text, content: str, word: Word, names: Names, *, beyond: bool) -> AddressSet:
    if (found := listed(content, MAX_ENTRIES)) is not None:
        return AddressSet(found)
    entries = [entry for entry in map(str.strip, _without_comments(text)) if entry]
    if len(entries) > MAX_ENTRIES:
        names.error(f"{text.file} has more than {MAX_ENTRIES:,} addresses", word.span)
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
            column = line.index(entry) + 1
            span = Span(text.file, number, column, column + len(entry))
            try:
                items.append(packet_address(entry))
            except AddressError as error:
                _refuse(error, entry, span, names, beyond)
            else:
                if items[-1] == MAPPED:
                    names.warn(f"'{entry}' {NO_IPV4}", span)
    return collect(items)


def _refuse(error: AddressError, entry: str, span: Span, names: Names, beyond: bool) -> None:
    if beyond:
        names.problems.append(Problem("not an address, prefix or range", span))
        return
    names.error(str(error), span, _hint(error, entry))


def _hint(error: AddressError, entry: str) -> str | None:
    if ";" in entry:
        return "a comment begins with '#'"
    if error.hint == A_LIST:
        return "each address, prefix or range has a line of its own"
    return error.hint
