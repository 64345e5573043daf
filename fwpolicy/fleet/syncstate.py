"""What sync remembers from one round to the next: STATE/sync/state.json."""

from __future__ import annotations

import json
from random import SystemRandom

from fwpolicy.errors import HostError
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine

_FORMAT = 1
# However often it failed.
_LONGEST_PAUSE = 3600
_DOUBLINGS = 10


@record
class SyncState:
    """`good`: the commit whose policy counts here, "" before the first, by `asked` (pull.asked), with
    `contents`, a digest of its files, as `generation`; `says`: Mirror.says. `newest`: the one fetched last.

    `bad`: what was taken back, as a digest of its files, with its `bad_commit` and `bad_why`.
    `refused`: by which pull.asked commit `newest` was refused for good, `since` when (Unix), with its
    `refusal` and exit `code`.
    `trying`: what is being tried, as a digest, the `tries`-th time; `unreached`: how often it was taken
    back as the repository did not answer. `failures`: rounds in a row that failed;
    `due`: when the next one is (Unix). `last`: when the last one was, and `said` what came of it.
    """

    good: str = ""
    says: str = ""
    asked: str = ""
    contents: str = ""
    generation: int = 0
    newest: str = ""
    bad: str = ""
    bad_commit: str = ""
    bad_why: str = ""
    refused: str = ""
    since: int = 0
    refusal: str = ""
    code: int = 0
    trying: str = ""
    tries: int = 0
    unreached: int = 0
    failures: int = 0
    due: int = 0
    last: int = 0
    said: str = ""


def folder(machine: Machine) -> str:
    return f"{machine.state_dir}/sync"


def read(machine: Machine) -> SyncState:
    """Raises HostError where it is damaged: what failed must not be tried again for that."""
    path = f"{folder(machine)}/state.json"
    text = machine.files.read(path)
    if text is None:
        return SyncState()
    try:
        found = json.loads(text)
        if found.pop("format") != _FORMAT:
            raise ValueError("another format")
        state = SyncState(**found)
        if any(type(getattr(state, name)) is not type(getattr(_NEW, name)) for name in found):
            raise ValueError("a wrong value")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise HostError(f"{path} is damaged ({error}); take it away, and sync begins anew") from None
    return state


_NEW = SyncState()


def write(machine: Machine, state: SyncState) -> None:
    """Durable. Raises HostError."""
    plain = {name: getattr(state, name) for name in _NEW.__slots__}  # type: ignore[attr-defined]
    machine.files.make_directory(folder(machine), 0o700)
    text = json.dumps(plain | {"format": _FORMAT}, indent=1) + "\n"
    machine.files.write(f"{folder(machine)}/state.json", text, 0o600)


def after(state: SyncState, now: int, every: int, said: str, *, failed: bool) -> SyncState:
    """The state after a round: the next is due in about `every` seconds, after failures twice as late each
    time, and never for many hosts at once."""
    failures = state.failures + 1 if failed else 0
    pause = min(every * 2 ** min(failures, _DOUBLINGS), max(every, _LONGEST_PAUSE)) if failed else every
    jittered = int(pause * SystemRandom().uniform(0.8, 1.2)) if failed else pause
    return replace(state, failures=failures, due=now + jittered, last=now, said=said)
