"""Every apply that is remembered, and what became of it."""

from __future__ import annotations

import json

from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.provenance import Provenance
from fwpolicy.deploy.state import State
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine

# More than anybody goes back; what runs or boots is kept in any case.
KEPT = 30


@record
class Past:
    """One generation. `fate`: "in force", "waits to be confirmed", "undone: WHY", or "" for one that was
    replaced. `boots`: the next boot loads it. `again`: the generation that it brought back. `came`: who
    signed it."""

    number: int
    policy: str
    time: str
    by: str
    tool: str
    sources: tuple[str, ...]
    fate: str
    boots: bool
    again: int | None
    came: Provenance | None


def history(machine: Machine) -> tuple[Past, ...]:
    """The latest first. Raises HostError where the state cannot be read."""
    state = State(machine)
    pointers = state.pointers()
    entry = pending(state)
    waits = entry.generation if entry else None
    return tuple(
        past for number in state.numbers() if (past := _past(state, number, pointers, waits)) is not None
    )


def _past(state: State, number: int, pointers: dict[str, int | None], waits: int | None) -> Past | None:
    text = state.files.read(state.path(f"generations/{number}/manifest.json"))
    try:
        found = json.loads(text or "")
        return Past(
            number,
            found["policy"],
            found["time"],
            found.get("by", ""),
            found["tool"],
            tuple(found["sources"]),
            _fate(state, number, pointers, waits),
            pointers["current"] == number,
            found.get("again"),
            Provenance(**found["came"]) if found.get("came") else None,
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None  # an apply died before it was written, or it is damaged


def _fate(state: State, number: int, pointers: dict[str, int | None], waits: int | None) -> str:
    if number == waits:
        return "waits to be confirmed"
    undone = state.files.read(state.path(f"generations/{number}/undone"))
    if undone is not None:
        return f"undone: {undone.strip()}"
    return "in force" if pointers["running"] == number else ""


def prune(state: State) -> None:
    """Forget the oldest generations beyond KEPT."""
    kept = set(state.pointers().values())
    for number in state.numbers()[KEPT:]:
        if number not in kept:
            state.drop(number)
