"""Files as a git revision has them: gitrevisions(7), "<rev>:<path>"."""

from __future__ import annotations

import subprocess

from fwpolicy.errors import HostError


def show(revision: str, path: str) -> bytes:
    """The file's bytes in `revision`; `path` from the current folder. Raises HostError."""
    # `--` cannot stand here; a revision that begins with "-" would be an option.
    if revision.startswith("-") or not revision:
        raise HostError(f"git:{revision}:{path}: no revision begins so")
    return run(f"git:{revision}:{path}", "cat-file", "blob", f"{revision}:./{path}")


def run(what: str, *words: str) -> bytes:
    """What `git WORDS` prints. Raises HostError, which begins with `what`."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{what}: cannot run git: {error}") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HostError(f"{what}: {said[0].removeprefix('fatal: ') if said else 'git failed'}")
    return done.stdout


def read(revision: str, path: str) -> bytes:
    """As show, for who reads files: raises FileNotFoundError."""
    try:
        return show(revision, path)
    except HostError as error:
        raise FileNotFoundError(2, str(error), path) from None
