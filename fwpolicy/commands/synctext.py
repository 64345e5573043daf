"""What sync tells."""

from __future__ import annotations

from time import gmtime, strftime, time

from fwpolicy.commands import operands
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.syncconfig import SyncConfig
    from fwpolicy.fleet.syncstate import SyncState

REMOVED = "removed by hand, and nothing is brought here until fwpolicy sync --retry"


def told(options: argparse.Namespace, changed: bool, sentence: str) -> None:
    if options.json:
        operands.print_json({"changed": changed})
    elif not options.quiet:
        print(sentence)


def status(options: argparse.Namespace, config: SyncConfig, machine: Machine) -> int:
    """What came of the last round, and what is next: 2 where the newest commit is not what counts here."""
    from fwpolicy.deploy.state import State  # noqa: PLC0415
    from fwpolicy.fleet import syncstate, syncunits  # noqa: PLC0415

    state = syncstate.read(machine)
    enabled = syncunits.is_enabled(machine)
    removed = bool(state.good) and State(machine).running() is None
    if options.json:
        operands.print_json(_as_json(config, state, enabled) | {"removed": removed})
    elif not options.quiet:
        print("\n".join(_as_text(config, state, enabled, removed)))
    counts = state.good and state.good == state.newest and not state.failures
    return 0 if counts and not removed else 2


def _as_text(config: SyncConfig, state: SyncState, enabled: bool, removed: bool) -> list[str]:
    lines = [f"{config.repository}, branch {config.branch}: timer {'on' if enabled else 'off'}"]
    if not state.last:
        return [*lines, "nothing was synced yet"]
    counts = f"commit {state.good[:12]} counts here" if state.good else "no commit counts here yet"
    if removed:
        counts = f"commit {state.good[:12]} counted here: {REMOVED}"
    lines += [counts, f"last round {moment(state.last)}: {state.said}"]
    if state.bad:
        lines.append(f"commit {state.bad_commit[:12]} was taken back: {state.bad_why}")
    if state.failures:
        rounds = counted(state.failures, "round")
        lines.append(f"{rounds} in a row failed; the next is due at {moment(state.due)}")
    return lines


def moment(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(second))


def _as_json(config: SyncConfig, state: SyncState, enabled: bool) -> dict[str, object]:
    bad = {"commit": state.bad_commit, "why": state.bad_why} if state.bad else None
    return {
        "changed": False,
        "repository": config.repository,
        "branch": config.branch,
        "enabled": enabled,
        "good": state.good or None,
        "newest": state.newest or None,
        "bad": bad,
        "last": state.last or None,
        "said": state.said or None,
        "failures": state.failures,
        "due_in": max(0, state.due - int(time())),
    }
