"""An apply that waits: confirmed, or taken back; and one that died, taken back by whoever comes next."""

from __future__ import annotations

from fwpolicy.deploy.history import prune
from fwpolicy.deploy.journal import close, pending, take_back, timer, waiting
from fwpolicy.deploy.state import State
from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.deploy.journal import Entry
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.policy.gates import Gate

    Tell = Callable[[str], None]

_DIED = "the apply was interrupted"
_OVER = "not confirmed in time"


def settled(machine: Machine, tell: Tell) -> Entry | None:
    """Take back what must be; the apply that still waits to be confirmed, if there is one. The caller holds
    the lock. Raises HostError."""
    state = State(machine)
    entry = pending(state)
    if entry is None or not entry.is_over():
        return entry
    why = _OVER if entry.waits else _DIED
    take_back(machine, state, entry, why)
    tell(f"generation {entry.generation} of '{entry.policy}' was taken back: {why}")
    return None


def require_settled(machine: Machine, tell: Tell) -> None:
    """HostError while an apply waits to be confirmed."""
    entry = settled(machine, tell)
    if entry is not None:
        raise HostError(f"{waiting(entry)}; first: fwpolicy confirm, or fwpolicy rollback")


def confirm(machine: Machine, entry: Entry, tell: Tell) -> None:
    """The apply counts from now on, at the next boots too, and what it denies ends. Raises HostError."""
    from fwpolicy.deploy.putoff import waiting_flows  # noqa: PLC0415

    state = State(machine)
    flows = waiting_flows(state)
    # Until the journal is closed all of it is still taken back, these two links included.
    state.make_current(entry.generation, boots=entry.persist)
    close(machine, state)
    machine.services.never_mind(timer(state.directory))
    _settle(machine, state)
    prune(state)
    if flows:
        from fwpolicy.deploy.purge import finish  # noqa: PLC0415

        finish(flows, tell)


def _settle(machine: Machine, state: State) -> None:
    """What only the way back needed."""
    from fwpolicy.artifact import Artifact  # noqa: PLC0415
    from fwpolicy.deploy.apply import settle  # noqa: PLC0415

    new = state.running()
    before = state.generation(f"generations/{new.before}") if new and new.before else None
    if new is not None:
        leaves = before.backend if before and before.backend != new.backend else ""
        settle(new.backend, tuple(Artifact(*each) for each in new.texts), leaves, machine)


def by_gates(
    machine: Machine, entry: Entry, gates: tuple[Gate, ...], since: float, tell: Tell
) -> tuple[str, ...]:
    """Confirm what waits as soon as all gates hold: (); or take it back and say which do not. `since` is the
    Unix time of the apply. The caller holds the lock, so nobody else decides meanwhile."""
    from fwpolicy.deploy.gates import wait  # noqa: PLC0415

    unmet = wait(gates, machine, since, entry.deadline, tell)
    if unmet:
        refuse(machine, entry, f"a gate did not hold: {unmet[0]}")
    else:
        confirm(machine, entry, tell)
    return unmet


def refuse(machine: Machine, entry: Entry, why: str) -> None:
    """Take it back now."""
    take_back(machine, State(machine), entry, why)


def too_old(entry: Entry, began: float | None) -> str | None:
    """Why the operator's connection proves nothing; None where it does. `began`: in seconds since the boot,
    None where that is unknown."""
    if began is None:
        return "when this connection began cannot be found out: confirm from a new SSH connection of its own"
    if began < entry.applied:
        return (
            "this connection is older than the apply, and an established one proves nothing: "
            "confirm from a new one (ssh -S none)"
        )
    return None
