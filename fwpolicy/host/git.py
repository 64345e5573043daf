"""Files as a git revision has them: gitrevisions(7), "<rev>:<path>"."""

from __future__ import annotations

import re
import subprocess

from fwpolicy.errors import HostError
from fwpolicy.source import MAX_BYTES

# What `git cat-file --batch-check` says of a file.
_BLOB = re.compile(rb"([0-9a-f]{40,64}) blob (\d+)\n\Z")
FOLLOW = ("cat-file", "--batch-check", "--follow-symlinks")
# And of one that is none, with how long the next line is, which has the link's own path.
_ENDS = {
    b"symlink": "is a link that leads out of the repository",
    b"loop": "is a link that leads back to itself",
}


def blob(said: bytes, path: str) -> str:
    """The object that FOLLOW `said` is at `path`, by links within the repository too. Raises OSError,
    FileNotFoundError where there is nothing."""
    kind = _ENDS.get(said.partition(b" ")[0])
    if kind:
        raise OSError(None, kind, path)
    found = _BLOB.match(said)
    if not found:
        dangling = said.startswith(b"dangling ")
        why = "is a link to what is not in the repository" if dangling else "is not in the repository"
        raise FileNotFoundError(2, why, path)
    if int(found[2]) > MAX_BYTES:
        raise OSError(None, "is larger than 64 MiB", path)
    return found[1].decode()


def show(revision: str, path: str, root: str = ".") -> bytes:
    """The file's bytes in `revision`, by links within the repository too; `path` from the folder `root`.
    Raises HostError."""
    what, place = f"git:{revision}:{path}", f"{revision}:./{path}"
    # `--` cannot stand here; a revision that begins with "-" would be an option.
    if revision.startswith("-") or not revision:
        raise HostError(f"{what}: no revision begins so")
    if "\n" in place:
        raise HostError(f"{what}: no name of a file here has a line break")
    said = run(what, "-C", root, *FOLLOW, given=f"{place}\n".encode("utf-8", "surrogateescape"))
    try:
        # Of what is missing git says itself why it is.
        found = place if said.endswith(b" missing\n") else blob(said, path)
    except OSError as error:
        raise HostError(f"{what}: {error.strerror}") from None
    return run(what, "-C", root, "cat-file", "blob", found)


def run(what: str, *words: str, given: bytes = b"") -> bytes:
    """What `git WORDS` prints, with `given` to read. Raises HostError, which begins with `what`."""
    try:
        done = subprocess.run(["git", *words], input=given, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{what}: cannot run git: {error}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HostError(f"{what}: {said[0].removeprefix('fatal: ') if said else 'git failed'}")
    return done.stdout


def read(revision: str, path: str, root: str = ".") -> bytes:
    """As show, for who reads files: raises FileNotFoundError."""
    try:
        return show(revision, path, root)
    except HostError as error:
        raise FileNotFoundError(2, str(error), path) from None
