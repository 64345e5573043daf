"""A daemon's configuration as its backend edits it: in all of its files, and so that it can be undone."""

from __future__ import annotations

from fwpolicy import markedtext
from fwpolicy.ir.timeservice import ConfigFile, DaemonChange, DaemonConfig, TimeService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Words = tuple[str, ...]


def statements(
    found: DaemonConfig, words_of: Callable[[str], Words], continuation: str = ""
) -> Iterator[Words]:
    """The words of every statement, in reading order, as they stood before us; `words_of` a comment is ()."""
    for file in found.files:
        for line in markedtext.statements(file.text, continuation):
            if words := words_of(line):
                yield words


def rewritten(
    service: TimeService,
    found: DaemonConfig,
    goes: Callable[[str], bool],
    block: Iterable[str],
    notes: Iterable[str],
    continuation: str = "",
) -> DaemonChange:
    """Every file that must differ, whole: lines that must go commented out wherever they stand, our block
    at the main file's end. A daemon that is closed is stopped instead, and its files stay."""
    if service.mode == "closed":
        return DaemonChange(())
    files = ((file.path, file.text) for file in found.files)
    changed = markedtext.rewrite(files, found.main, goes, block, f"roles.ntp {service.mode}", continuation)
    return DaemonChange(tuple(ConfigFile(path, text) for path, text in changed), tuple(notes))
