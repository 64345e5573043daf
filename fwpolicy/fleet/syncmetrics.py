"""What sync remembers, as numbers for Prometheus."""

from __future__ import annotations

from fwpolicy.deploy.exposition import exposition, family
from fwpolicy.errors import HostError
from fwpolicy.fleet import syncstate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.deploy.machine import Machine
    from fwpolicy.fleet.syncstate import SyncState


def metrics(machine: Machine) -> str:
    """The text format; nothing of a host that never pulled."""
    try:
        state = syncstate.read(machine)
    except HostError:
        return exposition(_readable(0))
    return exposition(_families(state)) if state.last else ""


def _readable(value: int) -> Iterator[str]:
    text = "Whether what sync remembers can be read: without it no round of it does anything."
    yield from family("fwpolicy_sync_readable", "gauge", text, [({}, value)])


def _families(state: SyncState) -> Iterator[str]:
    yield from _readable(1)
    numbers = {
        "fwpolicy_sync_timestamp_seconds": ("When the last round of sync was.", state.last),
        "fwpolicy_sync_failures": ("Rounds of sync in a row that failed.", state.failures),
        "fwpolicy_sync_held_back": (
            "Whether what the repository has for this host was refused or taken back.",
            int(state.newest != state.good or bool(state.refused)),
        ),
    }
    for name, (text, value) in numbers.items():
        yield from family(name, "gauge", text, [({}, value)])
    text = "The commit that counts here by sync."
    yield from family("fwpolicy_sync_info", "gauge", text, [({"commit": state.good}, 1)])
