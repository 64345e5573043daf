"""The policy as it was said: all files that it was read of, kept with its generation.

Nothing is compiled of them again; they tell what a way back denies, and whom.
"""

from __future__ import annotations

import json
from binascii import a2b_base64

from fwpolicy.errors import FwpolicyError, HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.state import State
    from fwpolicy.policy.model import Policy

_KEPT = "policy.kept"


@record
class Said:
    """`files`: (name, content) in the order of reading; the first `named` were named, the others included."""

    named: int
    files: tuple[tuple[str, bytes], ...]


def keep(state: State, number: int, said: Said) -> None:
    """With the generation `number`: names and sizes in a line of JSON, and the contents after it as they are,
    for in JSON or base64 long lists of addresses take four times as long. Raises HostError."""
    sizes = [[name, len(content)] for name, content in said.files]
    head = json.dumps({"named": said.named, "files": sizes}) + "\n"
    contents = b"".join([content for _, content in said.files])
    text = head + contents.decode("utf-8", "surrogateescape")
    state.files.write(_path(state, number, _KEPT), text, 0o600)


def said(state: State, number: int) -> Said | None:
    """What keep() kept; None where there is nothing, or it is damaged."""
    text = state.files.read(_path(state, number, _KEPT))
    try:
        return _as_kept_once(state, number) if text is None else _kept(text)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _kept(text: str) -> Said:
    head, _, rest = text.partition("\n")
    found, contents = json.loads(head), rest.encode("utf-8", "surrogateescape")
    files: list[tuple[str, bytes]] = []
    at = 0
    for name, size in found["files"]:
        files.append((name, contents[at : at + size]))
        at += size
    if at != len(contents):
        raise ValueError(f"{len(contents)} bytes instead of {at}")
    return Said(found["named"], tuple(files))


def _as_kept_once(state: State, number: int) -> Said:
    """As JSON and base64, by earlier versions."""
    found = json.loads(state.files.read(_path(state, number, "policy.json")) or "")
    files = tuple([(name, a2b_base64(content)) for name, content in found["files"]])
    return Said(found["named"], files)


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


def _path(state: State, number: int, name: str) -> str:
    return state.path(f"generations/{number}/{name}")
