"""Where the files of a repository come from: the commit that is checked out, and what it has."""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.host.git import run, show
from fwpolicy.record import record


@record
class Commit:
    """`number`: how many commits there are up to it; every later one of the same history has a higher one.
    `author`: "NAME <MAIL>"; `time`: when it was committed (Unix)."""

    id: str
    number: int
    author: str
    time: int


def head(root: str, *, counted: bool = True) -> Commit:
    """The commit that is checked out; its number 0 where it is not to be `counted`. Raises HostError, also
    where the history was cut off, so that nobody knows its length."""
    if not counted:
        return _described(root, 0)
    if _git(root, "rev-parse", "--is-shallow-repository").strip() != b"false":
        hint = "fetch all of it (git fetch --unshallow), or say --sequence"
        raise HostError(f"{root}: the history is cut off, and its commits cannot be counted: {hint}")
    return _described(root, int(_git(root, "rev-list", "--count", "HEAD")))


def checked_out(root: str) -> tuple[Commit, bool] | None:
    """(the commit that is checked out, its number left 0; whether a file is not as it has it); None where
    there is none. A history that was cut off is no hindrance."""
    try:
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return _described(root, 0), bool(changed.strip())
    except HostError:
        return None


def _described(root: str, number: int) -> Commit:
    found = _git(root, "log", "-1", "--format=%H%x00%an <%ae>%x00%ct", "HEAD").decode("utf-8", "replace")
    name, author, time = found.strip().split("\0")
    return Commit(name, number, author, int(time))


def committed(root: str, path: str) -> bytes | None:
    """The file's bytes in the commit that is checked out, by links too; None where it is not there."""
    try:
        return show("HEAD", path, root)
    except HostError:
        return None


def _git(root: str, *words: str) -> bytes:
    return run(root, "-C", root, *words)
