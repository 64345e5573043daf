"""The policy as it was said: all files that it was read of, kept with its generation.

Nothing is compiled of them again; they tell what a way back denies, and whom.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64

from fwpolicy.errors import FwpolicyError, HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.state import State
    from fwpolicy.policy.model import Policy


@record
class Said:
    """`files`: (name, content) in the order of reading; the first `named` were named, the others included."""

    named: int
    files: tuple[tuple[str, bytes], ...]


def keep(state: State, number: int, said: Said) -> None:
    """With the generation `number`. Raises HostError."""
    files = [[name, b2a_base64(content, newline=False).decode("ascii")] for name, content in said.files]
    text = json.dumps({"named": said.named, "files": files})
    state.files.write(_path(state, number), f"{text}\n", 0o600)


def said(state: State, number: int) -> Said | None:
    """What keep() kept; None where there is nothing, or it is damaged."""
    text = state.files.read(_path(state, number))
    try:
        found = json.loads(text or "")
        files = tuple([(name, a2b_base64(content)) for name, content in found["files"]])
        return Said(found["named"], files)
    except (KeyError, TypeError, ValueError):
        return None


def policy(kept: Said, now: int) -> Policy | None:
    """The policy that was said; None where this version reads it no more. `now`: the time (Unix)."""
    from fwpolicy.policy.load import load  # noqa: PLC0415

    contents = dict(kept.files)

    def read_file(path: str) -> bytes:
        if path not in contents:
            raise HostError(f"{path} was not kept")
        return contents[path]

    try:
        return load(kept.files[: kept.named], read_file, now)
    except FwpolicyError:
        return None


def _path(state: State, number: int) -> str:
    return state.path(f"generations/{number}/policy.json")
