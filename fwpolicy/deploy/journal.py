"""The journal: what takes an apply back, complete before its first step, gone in one step when it counts.

STATE/journal/    manifest.json, undo.sh, rules.nft, before/N and after/N: files as they were and will be
STATE/undoing/    the same, from the moment at which somebody has begun to take it back
STATE/undo.sh     the script once more, for who waits for the time to be over

An apply that dies is taken back by the process that watches it; if that dies too, by the next command, or at
the next boot before the network is up. One that waits to be confirmed is an apply whose journal stays.
"""

from __future__ import annotations

import json
import os

from fwpolicy.deploy.machine import STATE_DIR
from fwpolicy.deploy.state import fields
from fwpolicy.errors import HostError
from fwpolicy.host import boottime
from fwpolicy.host.guard import watch
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.state import State
    from fwpolicy.deploy.undoscript import Before
    from fwpolicy.host.guard import Guard

OPEN, UNDOING, CLOSED = "journal", "undoing", "closed"
SCRIPT = "undo.sh"
TIMER = "fwpolicy-unconfirmed"
# A tmpfs that every boot empties (file-hierarchy(7)): what it names happened since.
_PASSING = "/run"
_FORMAT = 1


@record
class Entry:
    """An apply under way, or one that waits to be confirmed.

    `identity`: no other apply's; `boot`: boottime.boot() of its boot. `applied`: boottime.uptime() when all
    was done, 0 before; `deadline`: when it is taken back, 0 where nobody is asked. `persist`: it is for the
    next boots, too.
    """

    identity: str
    generation: int
    policy: str
    time: str
    boot: str
    persist: bool
    applied: float = 0.0
    deadline: float = 0.0

    @property
    def waits(self) -> bool:
        """Is all done, and somebody asked to confirm it?"""
        return self.applied > 0

    def is_over(self) -> bool:
        """Must it be taken back? One that is under way has died, for who asks holds the lock."""
        return not self.waits or self.boot != boottime.boot() or boottime.uptime() >= self.deadline


def waiting(entry: Entry) -> str:
    """One that waits, in words."""
    left = max(0, round(entry.deadline - boottime.uptime()))
    return f"generation {entry.generation} of '{entry.policy}' waits to be confirmed, {left} s more"


class Journal:
    """The journal of one apply, from begin() to close()."""

    def __init__(self, machine: Machine, state: State, entry: Entry, guard: Guard | None) -> None:
        self._machine, self._state, self.entry, self._guard = machine, state, entry, guard
        self._closed = False

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard is None:
            return
        if self._closed:
            self._guard.release()
        elif error is not None:
            self._guard.abandon()

    def close(self) -> None:
        """From now on it counts (or is undone already): nothing takes it back."""
        self._closed = True
        close(self._machine, self._state)

    def wait(self, seconds: float) -> None:
        """It counts when somebody confirms it, and is taken back after so many seconds."""
        now = boottime.uptime()
        self.entry = replace(self.entry, applied=now, deadline=now + seconds)
        _write_entry(self._state, OPEN, self.entry)
        self._state.files.write(self._state.path(f"{OPEN}/waits"), "", 0o600)
        command, _ = _undo_command(self._machine, self._state, "live", self.entry.identity)
        timed = self._machine.services.later(timer(self._state.directory), seconds, command)
        if self._guard and timed:
            self._guard.release()
        elif self._guard:
            self._guard.until(self.entry.deadline, str(self._state.files.locate(self._state.path(SCRIPT))))


def begin(
    machine: Machine,
    state: State,
    before: Before,
    entry: Entry,
    rules: Mapping[str, str],
    after: Mapping[str, str],
) -> Journal:
    """Write the journal down, durable; from now on the apply is under way.

    `rules`: the files with which undo.sh brings our rules back, by name. `after`: the files' texts as they
    will be. Raises HostError; then nothing has begun.
    """
    from fwpolicy.host.folders import remove_tree, rename  # noqa: PLC0415

    for left in (f"{OPEN}.new", CLOSED, "undone"):
        remove_tree(state.files, state.path(left))
    guard = None
    try:
        _write_down(machine, state, before, entry, rules, after)
        # Watched before there is anything to take back: until then what is run finds nothing.
        guard = watch(*_undo_command(machine, state, "live", entry.identity)) if machine.live else None
        rename(state.files, state.path(f"{OPEN}.new"), state.path(OPEN))
    except HostError:
        if guard:
            guard.release()
        # A full disk has no room for half of one either.
        remove_tree(state.files, state.path(f"{OPEN}.new"))
        for left in (marker(state.directory), state.path(SCRIPT)):
            state.files.remove(left)
        raise
    return Journal(machine, state, entry, guard)


def _write_down(
    machine: Machine,
    state: State,
    before: Before,
    entry: Entry,
    rules: Mapping[str, str],
    after: Mapping[str, str],
) -> None:
    from fwpolicy.deploy.undoscript import script  # noqa: PLC0415

    files, new = state.files, state.path(f"{OPEN}.new")
    for folder in (state.directory, new, f"{new}/before", f"{new}/after"):
        files.make_directory(folder, 0o700)
    for number, snapshot in enumerate(before.files):
        if snapshot.existed:
            files.restore(replace(snapshot, path=f"{new}/before/{number}"))
        if snapshot.path in after:
            files.write(f"{new}/after/{number}", after[snapshot.path], 0o600)
    for name, text in rules.items():
        files.write(f"{new}/{name}", text, 0o600)
    files.write(f"{new}/id", f"{entry.identity}\n", 0o600)
    files.write(f"{new}/boot", f"{entry.boot}\n", 0o600)
    undo = script(before, entry.identity, state.directory, marker(state.directory))
    files.write(f"{new}/undo.sh", undo, 0o700)
    # For who waits: this one stays where it is, whoever has begun to take it back.
    files.write(state.path(SCRIPT), undo, 0o700)
    _write_entry(state, f"{OPEN}.new", entry)
    if machine.live and files.exists(_PASSING):
        files.write(marker(state.directory), f"{entry.identity}\n", 0o600)


def marker(state_dir: str) -> str:
    """The file that is gone after a reboot; container hosts may share the kernel's name of the boot."""
    return f"{_PASSING}/fwpolicy.applying{state_dir.replace('/', '-')}"


def new_identity(number: int) -> str:
    return f"{number}-{os.urandom(6).hex()}"


def pending(state: State) -> Entry | None:
    """The apply that is not closed, if there is one. Raises HostError."""
    for name in (UNDOING, OPEN):
        text = state.files.read(state.path(f"{name}/manifest.json"))
        if text is None:
            continue
        try:
            stored = json.loads(text)
            del stored["format"]
            entry = Entry(**stored)
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise HostError(
                f"{state.path(name)}/manifest.json is damaged: {error!r}; what takes its apply back does "
                f"without it: sh {state.path(name)}/{SCRIPT} live"
            ) from None
        return entry if name == OPEN else replace(entry, applied=0.0)
    return None


def close(machine: Machine, state: State) -> None:
    """The apply that the journal would take back counts."""
    from fwpolicy.host.folders import remove_tree, rename  # noqa: PLC0415

    rename(state.files, state.path(OPEN), state.path(CLOSED))
    for left in (marker(state.directory), state.path(SCRIPT)):
        machine.files.remove(left)
    remove_tree(state.files, state.path(CLOSED))


def take_back(machine: Machine, state: State, entry: Entry, why: str) -> None:
    """The host as it was before the apply. The caller holds the lock. Raises HostError."""
    import subprocess  # noqa: PLC0415

    same = not machine.live or entry.boot == boottime.boot()
    command, environment = _undo_command(machine, state, "live" if same else "boot", entry.identity)
    environment |= {"FWPOLICY_LOCKED": "yes", "FWPOLICY_WHY": why}
    # A hang-up or Ctrl-C is for those who wait for it.
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, start_new_session=True
    )
    machine.services.never_mind(timer(state.directory))
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason"]
        raise HostError(
            f"generation {entry.generation} could not be taken back whole ({said[-1]}); "
            "the next command tries again"
        )


def _undo_command(
    machine: Machine, state: State, mode: str, identity: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    place = f"{root_of(machine)}{state.path(SCRIPT)}"
    return ("/bin/sh", place, mode, identity), dict(os.environ) | {"FWPOLICY_ROOT": root_of(machine)}


def timer(state_dir: str) -> str:
    """The name of what takes back what nobody confirms."""
    return TIMER if state_dir == STATE_DIR else f"{TIMER}{state_dir.replace('/', '-')}"


def root_of(machine: Machine) -> str:
    return str(machine.files.root).rstrip("/")


def _write_entry(state: State, folder: str, entry: Entry) -> None:
    stored = fields(entry) | {"format": _FORMAT}
    state.files.write(state.path(f"{folder}/manifest.json"), json.dumps(stored, indent=1) + "\n", 0o600)
