"""The `tests:` of a policy, held against it for every packet that a test stands for; its gates, too."""

from __future__ import annotations

from fwpolicy.addresses import LOOPBACK
from fwpolicy.errors import Problem
from fwpolicy.model.decide import Decision, decide
from fwpolicy.model.universe import AXES, left_out, said
from fwpolicy.policy.model import Test
from fwpolicy.policy.services import Service
from fwpolicy.protocols import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.packet import Packet
    from fwpolicy.policy.gates import Reach
    from fwpolicy.policy.model import Policy

    Judged = list[tuple[Packet, Decision]]


def failures(policy: Policy) -> tuple[Problem, ...]:
    """A problem for each test that does not hold, with a packet that shows it; empty when all hold."""
    found = (failure(policy, test) for test in policy.tests)
    return tuple(problem for problem in found if problem is not None)


def failure(policy: Policy, test: Test) -> Problem | None:
    """Why one of the policy's tests does not hold, with a packet that shows it; None where it does."""
    cases = left_out(policy, test)
    for packet in said(policy, test):
        judged = [(case, decide(policy, case)) for case in cases(packet)]
        wrong = [pair for pair in judged if _denies(pair[1]) == test.allow]
        if wrong and len(wrong) < len(judged):
            return _undecided(test, judged, wrong[0])
        if wrong:
            return _failed(test, *wrong[0])
    return None


def shut(policy: Policy) -> tuple[Problem, ...]:
    """An error for each gate that reaches somebody to whom the policy itself lets nothing out."""
    from fwpolicy.policy.gates import Reach  # noqa: PLC0415  (most policies have no gates)

    found = (_shut(policy, gate) for gate in policy.apply.gates if isinstance(gate, Reach))
    return tuple(problem for problem in found if problem is not None)


def _shut(policy: Policy, gate: Reach) -> Problem | None:
    """Where it depends on something (an interface, the day), the gate tells when it is asked."""
    service = Service(NUMBERS["tcp"], ((gate.port, gate.port),))
    test = Test(True, "output", (service,), gate.what, gate.origin, destination=gate.to)
    cases = left_out(policy, test)
    for packet in said(policy, test):
        if (packet.family, packet.destination) in LOOPBACK:
            continue
        judged = [(case, decide(policy, case)) for case in cases(packet)]
        if all(_denies(decision) for _, decision in judged):
            case, decision = judged[0]
            message = f"this gate never holds: the policy says {decision.verdict} for: {case}"
            return Problem(message, gate.origin, None, _reason(decision))
    return None


def _denies(decision: Decision) -> bool:
    """Reject counts as deny; what an overlay leaves to others it does not deny."""
    return decision.verdict in ("drop", "reject")


def _failed(test: Test, packet: Packet, decision: Decision) -> Problem:
    wanted = "allow" if test.allow else "deny"
    message = f"the policy says {decision.verdict}, not {wanted}, for: {packet}"
    return Problem(f"test failed: {message}", test.origin, None, _reason(decision))


def _reason(decision: Decision) -> str:
    decider = f" (line {decision.origin.line} of {decision.origin.file})" if decision.origin else ""
    return f"step {decision.step}: {decision.reason}{decider}"


def _undecided(test: Test, judged: Judged, wrong: tuple[Packet, Decision]) -> Problem:
    """The test holds for some of what it leaves open, and not for the rest."""
    right = [pair for pair in judged if _denies(pair[1]) != test.allow]
    axes, pair = _telling(right, wrong)
    what = " and ".join(AXES[axis] for axis in axes)
    lines = [f"{decision.verdict} for: {packet}; {_reason(decision)}" for packet, decision in (pair, wrong)]
    message = f"test failed: the verdict depends on what this test leaves out: {what}"
    return Problem(message, test.origin, None, "\n        ".join(lines))


def _telling(
    right: Judged, wrong: tuple[Packet, Decision]
) -> tuple[tuple[str, ...], tuple[Packet, Decision]]:
    """The packet that differs least from the wrong one, and in what."""
    differing = [
        (tuple(axis for axis in AXES if getattr(packet, axis) != getattr(wrong[0], axis)), (packet, decision))
        for packet, decision in right
    ]
    return min(differing, key=lambda found: len(found[0]))
