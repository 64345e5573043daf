"""Texts in, one policy out."""

from __future__ import annotations

from posixpath import normpath

from fwpolicy import source
from fwpolicy.errors import MAX_PROBLEMS, PolicyError, Problem, Span
from fwpolicy.policy.hidden import policy_text
from fwpolicy.policy.resolve import in_file_order, resolve
from fwpolicy.policy.syntax import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Policy
    from fwpolicy.policy.names import ReadFile
    from fwpolicy.policy.syntax import PolicyText


def load(texts: tuple[tuple[str, bytes], ...], read_file: ReadFile, now: int | None = None) -> Policy:
    """One policy from one or more files, merged (docs/language.md, "Merging").

    `texts` are (file name, bytes); `read_file` gives the bytes of an included file, a group's or the
    lock, or raises OSError. `now` (Unix time) only lets lines that expire be warned of.
    Raises PolicyError with the problems of all the files.
    """
    return load_with_names(texts, read_file, now)[0]


def load_with_names(
    texts: tuple[tuple[str, bytes], ...], read_file: ReadFile, now: int | None = None
) -> tuple[Policy, Sources]:
    """As load, and what was written, which has the names (vocabulary.py)."""
    try:
        sources = gather(texts, read_file, now)
        return resolve(sources, read_file), sources
    except PolicyError as error:
        raise _refusal(error.problems) from None


def gather(
    texts: tuple[tuple[str, bytes], ...],
    read_file: ReadFile,
    now: int | None = None,
    given: tuple[PolicyText, ...] = (),
) -> Sources:
    """The files and all that they include, as written; `given`: parts of the policy that are in no file of
    their own. Raises PolicyError where a file cannot be read."""
    files: list[PolicyText] = []
    unreadable: list[Problem] = []
    for name, data in texts:
        if any(normpath(name) == normpath(file.text.file) for file in files):
            unreadable.append(source.Text(name, "").problem("the file is given twice", Span(name, 1, 1, 2)))
            continue
        try:
            files.append(policy_text(name, data))
        except PolicyError as error:
            unreadable += error.problems
    tops = tuple(file.text.file for file in files)
    files += given
    reach: dict[str, frozenset[str]] = {}
    if any(file.includes for file in files):
        files, reach = _with_included(files, read_file, unreadable)
    if unreadable:
        # Names may be defined in the files that cannot be read: only what needs none is said.
        found = [problem for file in files for problem in file.problems if problem.severity == "error"]
        raise PolicyError((*unreadable, *in_file_order(found, tuple(files))))
    return Sources(tuple(files), tops, reach, now)


def _with_included(
    files: list[PolicyText], read_file: ReadFile, unreadable: list[Problem]
) -> tuple[list[PolicyText], dict[str, frozenset[str]]]:
    from fwpolicy.policy.include import Gathering  # noqa: PLC0415  (most policies are one file)

    gathering = Gathering(files, read_file)
    for file in files:
        gathering.follow(file)
    unreadable += gathering.problems
    return list(gathering.files.values()), gathering.reach()


def _refusal(problems: tuple[Problem, ...]) -> PolicyError:
    if len(problems) >= MAX_PROBLEMS:
        problems = (*problems[:MAX_PROBLEMS], Problem(f"these are the first {MAX_PROBLEMS:,} problems"))
    return PolicyError(problems)
