"""Texts in, one policy out."""

from __future__ import annotations

from fwpolicy import source
from fwpolicy.errors import MAX_PROBLEMS, PolicyError, Problem, Span
from fwpolicy.policy.parse import parse
from fwpolicy.policy.resolve import in_file_order, resolve

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
    unreadable: list[Problem] = []
    for name, data in texts:
        if any(name == file.text.file for file in files):
            unreadable.append(source.Text(name, "").problem("the file is given twice", Span(name, 1, 1, 2)))
            continue
        try:
            files.append(parse(source.load(name, data)))
        except PolicyError as error:
            unreadable += error.problems
    if unreadable:
        # Names may be defined in the files that cannot be read: only what needs none is said.
        found = [problem for file in files for problem in file.problems if problem.severity == "error"]
        raise _refusal((*unreadable, *in_file_order(found, tuple(files))))
    try:
        return resolve(tuple(files), read_file)
    except PolicyError as error:
        raise _refusal(error.problems) from None


def _refusal(problems: tuple[Problem, ...]) -> PolicyError:
    if len(problems) >= MAX_PROBLEMS:
        problems = (*problems[:MAX_PROBLEMS], Problem(f"these are the first {MAX_PROBLEMS:,} problems"))
    return PolicyError(problems)
