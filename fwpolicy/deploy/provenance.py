"""Where a policy came from that somebody signed, and the newest that has counted here."""

from __future__ import annotations

import json

from fwpolicy.errors import HostError
from fwpolicy.host.files import printable
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine

_NAME = "bundle.json"


@record
class Provenance:
    """`sequence`: a higher one is newer. `commit`, `author` and `time` (of the commit, Unix) are "" and 0
    without a repository. `signer`: who signed it."""

    sequence: int
    commit: str
    author: str
    time: int
    signer: str


@record
class Seen:
    """The newest that has counted on a host."""

    sequence: int
    commit: str


def seen_path(machine: Machine) -> str:
    return f"{machine.state_dir}/{_NAME}"


def last_seen(machine: Machine) -> Seen | None:
    """The newest that has counted here. Raises HostError where what is remembered of it is wrong: it must not
    be taken for nothing."""
    path = seen_path(machine)
    text = machine.files.read(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
        seen = Seen(found["sequence"], found["commit"])
        if type(seen.sequence) is not int or type(seen.commit) is not str:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise HostError(f"{path} is damaged; take it away, and any bundle is taken") from None
    return seen


def newest(came: Provenance | None, machine: Machine) -> FileChange | None:
    """What is to be remembered once it counts: nothing older is taken from then on without asking for it.
    None where that is so already."""
    if came is None:
        return None
    last = last_seen(machine)
    if last is not None and last.sequence >= came.sequence:
        return None
    from fwpolicy.deploy.changes import FileChange  # noqa: PLC0415  (a status asks for none)

    path = seen_path(machine)
    text = json.dumps({"sequence": came.sequence, "commit": came.commit}) + "\n"
    return FileChange(path, machine.files.read(path), text, 0o600)


def sentence(came: Provenance) -> str:
    """In words, for a line of its own."""
    commit = f", commit {came.commit[:12]} by {came.author}" if came.commit else ""
    return printable(f"number {came.sequence}{commit}; signed by {came.signer}")


def as_json(came: Provenance | None) -> dict[str, object] | None:
    if came is None:
        return None
    return {
        "sequence": came.sequence,
        "commit": came.commit or None,
        "author": came.author or None,
        "time": came.time or None,
        "signer": came.signer,
    }
