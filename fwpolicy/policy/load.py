"""Texts in, one policy out."""

from __future__ import annotations

from fwpolicy import source
from fwpolicy.errors import PolicyError, Problem
from fwpolicy.policy.parse import parse
from fwpolicy.policy.resolve import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Policy
    from fwpolicy.policy.names import ReadFile
    from fwpolicy.policy.syntax import PolicyText


def load(texts: tuple[tuple[str, bytes], ...], read_file: ReadFile) -> Policy:
    """One policy from one or more files, merged (docs/language.md, "Merging").

    `texts` are (file name, bytes); `read_file` gives the bytes of a group's file, or raises OSError.
    Raises PolicyError with the problems of all the files.
    """
    files: list[PolicyText] = []
    problems: list[Problem] = []
    for name, data in texts:
        try:
            files.append(parse(source.load(name, data)))
        except PolicyError as error:
            problems += error.problems
    if not problems:
        return resolve(tuple(files), read_file)
    try:
        resolve(tuple(files), read_file)
    except PolicyError as error:
        problems += error.problems
    raise PolicyError(tuple(problems))
