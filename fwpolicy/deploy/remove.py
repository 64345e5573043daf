"""Everything that apply did, undone: the host is as before, byte for byte."""

from __future__ import annotations

from binascii import a2b_base64

from fwpolicy import markedtext
from fwpolicy.deploy.backend import rules_of, there
from fwpolicy.deploy.drift import TIMER
from fwpolicy.deploy.provenance import seen_path
from fwpolicy.deploy.purge import forget
from fwpolicy.deploy.starters import UNIT, is_starter
from fwpolicy.deploy.state import Originals, State, digest
from fwpolicy.deploy.undo import Undo
from fwpolicy.errors import HostError
from fwpolicy.host.services import ServiceState
from fwpolicy.record import record
from fwpolicy.threeway import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.deploy.backend import Rules
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.host.files import Snapshot

    Tell = Callable[[str], None]


@record
class Restoration:
    """What happens to one file: `snapshot` comes back whole, or `text` is what is left of it without us."""

    snapshot: Snapshot
    text: str | None = None
    note: str | None = None


def remove(machine: Machine, tell: Tell) -> bool:
    """Undo; False where nothing was ever applied, not even half.

    A file that somebody edited since keeps the edits: only our lines are taken out. Raises HostError,
    before anything is touched, for one in which our lines can no longer be told apart, and where files cannot
    be changed; for any other failure once the host is again as it was.
    """
    state = State(machine)
    originals = state.originals()
    running = state.running()
    if running is None and originals == Originals() and not there(machine):
        state.forget()
        return False
    written = dict((*running.files, *running.boot)) if running else {}
    texts = state.texts(running.number) if running else {}
    restorations = tuple(_restoration(machine, each, written, texts) for each in originals.snapshots)
    for path in (*state.folders(), *(each.snapshot.path for each in restorations)):
        machine.files.require_changeable(path)
    found = ([rules_of(running.backend)] if running else there(machine)) if machine.live else []
    with Undo() as undo:
        # Last on the way back: a daemon restarts once its files are what they were.
        restarted: list[str] = []
        undo.then(_restart_all, machine, restarted)
        _take_rules_out(machine, found, undo)
        for restoration in restorations:
            undo.then(machine.files.restore, machine.files.snapshot(restoration.snapshot.path))
            _restore(machine, restoration, tell)
        for folder in reversed(originals.directories):
            if machine.files.remove_directory_if_empty(folder):
                undo.then(machine.files.make_directory, folder)
        _restore_services(machine, originals, undo, restarted, tell)
        undo.then(machine.files.restore, machine.files.snapshot(seen_path(machine)))
        machine.files.remove(seen_path(machine))
        state.forget()
    # What only a way back needed.
    for rules in found:
        rules.remove(tell)
    if machine.live:
        forget()
    return True


def _restoration(
    machine: Machine, snapshot: Snapshot, written: dict[str, str], texts: dict[str, str]
) -> Restoration:
    """Whole, if what stands there is ours and nothing else; else without our lines."""
    text = machine.files.read(snapshot.path)
    original = a2b_base64(snapshot.content).decode("utf-8", "surrogateescape")
    if text is None or text == original or is_starter(snapshot.path):
        return Restoration(snapshot)
    if markedtext.is_marked(text):
        left = markedtext.strip(text)
        if left == original:
            return Restoration(snapshot)
        note = f"{snapshot.path} was edited since the apply: our lines are taken out, the edits stay"
        return Restoration(snapshot, left, note)
    if digest(text) == written.get(snapshot.path):
        return Restoration(snapshot)
    merged = merge(texts[snapshot.path], text, original) if snapshot.path in texts else None
    if merged is not None:
        note = f"{snapshot.path} was edited since the apply: what we wrote is taken out, the edits stay"
        return Restoration(snapshot, merged, note)
    raise HostError(
        f"{snapshot.path} was rewritten since the apply, and none of our lines is left in it: "
        f"put it right by hand, then run: fwpolicy remove"
    )


def _restore(machine: Machine, restoration: Restoration, tell: Tell) -> None:
    path = restoration.snapshot.path
    if restoration.text is None:
        machine.files.restore(restoration.snapshot)
    else:
        machine.files.write(path, restoration.text)
    tell(restoration.note or f"{'restored' if restoration.snapshot.existed else 'removed'} {path}")


def _take_rules_out(machine: Machine, found: list[Rules], undo: Undo) -> None:
    """The units first: stopping one must not be mistaken for a change of rules, nor a change be healed. On
    the way back the rules come last."""
    for rules in found:
        undo.then(rules.hold())
    for unit in (TIMER, UNIT):
        before = machine.services.status((unit,))
        if before is not None:
            undo.then(machine.services.restore, before)
            machine.services.restore(ServiceState(unit, active=False, enabled=False, masked=False))
    undo.then(machine.services.reload_manager)
    for rules in found:
        rules.take_out()


def _restart_all(machine: Machine, units: list[str]) -> None:
    for unit in units:
        machine.services.restart(unit)


def _restore_services(
    machine: Machine, originals: Originals, undo: Undo, restarted: list[str], tell: Tell
) -> None:
    machine.services.reload_manager()
    for before in originals.services:
        now = machine.services.status((before.unit,))
        if now is not None:
            undo.then(machine.services.restore, now)
        machine.services.restore(before)
        if machine.live and before.active and now and now.active:
            restarted.append(before.unit)
            machine.services.restart(before.unit)
        tell(f"{before.unit} is as it was")
