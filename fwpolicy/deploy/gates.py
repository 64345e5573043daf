"""What must hold after an apply for it to count without an operator, asked of the host."""

from __future__ import annotations

import signal
import time

from fwpolicy.addresses import format_address
from fwpolicy.deploy import daemons
from fwpolicy.errors import HostError
from fwpolicy.host import programs, reach
from fwpolicy.host.boottime import uptime
from fwpolicy.host.files import printable
from fwpolicy.policy.gates import Program, Reach, Synchronised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.deploy.clocks import Clock
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.policy.gates import Gate

    Tell = Callable[[str], None]
    Unmet = tuple[tuple[Gate, str], ...]

CONNECT_SECONDS = 3.0
RUN_SECONDS = 30.0
ASK_SECONDS = 10.0
# Between two rounds of questions; and the least that a question gets.
_PAUSE = 1.0
_LEAST = 0.5
_FOREVER = float("inf")


def unmet(gates: tuple[Gate, ...], machine: Machine, since: float) -> tuple[str, ...]:
    """A sentence for each gate that does not hold now; `since` is the Unix time of the apply.

    To be asked inside the machine's network namespace. A clock that was set back since then is not
    believed: its answers seem to be older than they are.
    """
    return tuple([why for _, why in _unmet(gates, machine, since, _FOREVER)])


def wait(
    gates: tuple[Gate, ...], machine: Machine, since: float, deadline: float, tell: Tell
) -> tuple[str, ...]:
    """Ask again until all gates hold in one round: (), at once where there are none; or until `deadline`
    (seconds of CLOCK_BOOTTIME): as unmet(). `tell` hears once of each thing that is waited for."""
    told: set[str] = set()
    asked = gates
    while True:
        found = _unmet(asked, machine, since, deadline)
        left = deadline - uptime()
        if not found and asked == gates:
            return () if left > 0 else ("the gates hold, but only now that the time is over",)
        why = tuple([sentence for _, sentence in found])
        if left <= _PAUSE:
            return why or ("each gate held once, but not all of them at the same time",)
        for sentence in why:
            if sentence not in told:
                tell(f"waiting: {sentence}")
        told |= set(why)
        # Those that held need not be asked as long as another does not.
        asked = tuple([gate for gate, _ in found]) or gates
        time.sleep(_PAUSE if found else 0)


def _unmet(gates: tuple[Gate, ...], machine: Machine, since: float, deadline: float) -> Unmet:
    found = []
    for gate in gates:
        try:
            why = _why(gate, machine, since, deadline - uptime())
        except HostError as error:
            why = str(error)
        if why:
            found.append((gate, why))
    return tuple(found)


def _why(gate: Gate, machine: Machine, since: float, left: float) -> str:
    """Why the gate does not hold, "" where it does. Raises HostError."""
    if not machine.live:
        return "an image has no network, no clock and no programs to ask"
    match gate:
        case Reach():
            return _unreached(gate, _limited(CONNECT_SECONDS, left))
        case Synchronised():
            return _unsynchronised(gate, machine, since, _limited(ASK_SECONDS, left))
        case Program():
            return _failed(gate, machine, _limited(RUN_SECONDS, left))


def _limited(seconds: float, left: float) -> float:
    return max(min(seconds, left), _LEAST)


# Reach


def _unreached(gate: Reach, seconds: float) -> str:
    targets = [
        (family, address, gate.port)
        for family in (4, 6)
        for first, last in gate.to.of(family)
        for address in range(first, last + 1)
    ]
    failed = reach.unreached(tuple(targets), seconds)
    if not failed:
        return ""
    (family, address, _), why = next(iter(failed.items()))
    more = f" (and {len(failed) - 1} more of {len(targets)})" if len(failed) > 1 else ""
    return f"{gate.what} of {format_address(family, address)} is not reached: {why}{more}"


# Synchronised


def _unsynchronised(gate: Synchronised, machine: Machine, since: float, seconds: float) -> str:
    found = [one for one in daemons.discover(machine.files, gate.daemon) if one.pid is not None]
    if not found:
        return "no time daemon runs here" if gate.daemon == "auto" else f"{gate.daemon} does not run here"
    reasons = []
    for kind in dict.fromkeys(one.config.kind for one in found):
        why = _not_by(kind, daemons.daemon(kind).clock, machine, since, seconds)
        if not why:
            return ""
        reasons.append(why)
    return "; ".join(reasons)


def _not_by(kind: str, clock: Clock, machine: Machine, since: float, seconds: float) -> str:
    """Why the daemon does not count as synchronised since the apply, "" if it does."""
    tool = next((path for path in clock.tools if machine.files.exists(path)), None)
    if tool is None:
        name = clock.tools[0].rpartition("/")[2]
        return f"{kind} cannot be asked whether it is synchronised: {name} is not installed"
    if trouble := _exposed(tool, machine):
        return trouble

    def ask(arguments: tuple[str, ...]) -> str:
        ended = programs.run((tool, *arguments), seconds)
        return "" if ended.status else ended.out

    answered = clock.answered(ask, time.time())
    if answered is None:
        return f"{kind} is not synchronised"
    if answered <= since:
        ago = max(0, round(since - answered))
        return f"{kind} has had no answer since the apply; the last came {ago} s before it"
    return ""


# Programs


def _failed(gate: Program, machine: Machine, seconds: float) -> str:
    program = gate.arguments[0]
    if trouble := _exposed(program, machine):
        return trouble
    ended = programs.run(gate.arguments, seconds)
    if not ended.status:
        return ""
    how = f"status {ended.status}" if ended.status > 0 else f"signal {_signal(-ended.status)}"
    said = f": {ended.last_word}" if ended.last_word else ""
    return f"{printable(program)} ended with {how}{said}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return str(number)


def _exposed(program: str, machine: Machine) -> str:
    found = machine.files.exposed(program)
    if found is None:
        return ""
    return f"{printable(program)} is not run: others than root can change {printable(found)}"
