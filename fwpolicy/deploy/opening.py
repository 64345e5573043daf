"""Emergency: our rules out of the way now, and back again."""

from __future__ import annotations

from fwpolicy.deploy.backend import NFT, rules_of
from fwpolicy.deploy.journal import pending, root_of
from fwpolicy.deploy.persist import opener
from fwpolicy.deploy.state import State
from fwpolicy.errors import HostError
from fwpolicy.host import boottime
from fwpolicy.host.guard import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine

CLOSER = "fwpolicy-close"


def ends(machine: Machine, seconds: int) -> int | None:
    """In how many seconds an apply that waits to be confirmed ends an opening of `seconds` (0: without end),
    for the rules before it come back then. None where none does."""
    try:
        entry = pending(State(machine))
    except HostError:
        return None  # in an emergency nobody asks what is damaged
    if entry is None or not entry.waits:
        return None
    left = max(0, round(entry.deadline - boottime.uptime()))
    return None if seconds and seconds < left else left


def open_up(machine: Machine, seconds: int, now: str) -> bool:
    """Take our rules out of the kernel, for so many seconds (0: until the next apply or boot); whether there
    is anything that will come back.

    Raises HostError, also where nothing could bring it back in time.
    """
    import os  # noqa: PLC0415

    from fwpolicy.deploy.purge import forget  # noqa: PLC0415

    state = State(machine)
    script = opener(machine.state_dir).name
    running = state.running()
    if seconds and (running is None or not machine.files.exists(script)):
        raise HostError("nothing was applied here that could come back: leave out --for")
    rules_of(running.backend if running else NFT).take_out()
    forget()
    if running is None:
        return False
    opening = f"{now} {os.urandom(4).hex()}"
    machine.files.write(state.path("opened"), f"{opening}\n", 0o600)
    machine.services.never_mind(CLOSER)
    command = ("/bin/sh", f"{root_of(machine)}{script}", "close", opening)
    if seconds and not machine.services.later(CLOSER, seconds, command):
        guard = watch(command, dict(os.environ) | {"FWPOLICY_ROOT": root_of(machine)})
        guard.until(boottime.uptime() + seconds, str(machine.files.locate(machine.state_dir)))
    return True
