"""A policy's tests before the kernel: every packet that a test stands for, as far as it can be sent."""

from __future__ import annotations

import time
from itertools import islice

from fwpolicy.deploy.trial.rules import rules_of
from fwpolicy.deploy.trial.shots import likely, shot, spare
from fwpolicy.deploy.trial.trial import Trial
from fwpolicy.errors import Problem
from fwpolicy.model.decide import decide
from fwpolicy.model.universe import left_out, said
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwpolicy.deploy.trial.shots import Shot
    from fwpolicy.deploy.trial.watch import Seen
    from fwpolicy.model.packet import Packet
    from fwpolicy.policy.model import Policy, Test

# Packets of one test.
_MOST = 2000


@record
class Unsent:
    """Packets of a test that were not sent or not judged, for one reason: how many, one of them."""

    reason: str
    count: int
    packet: Packet


@record
class Tried:
    """A test before the kernel: how many packets were judged, one of them and the kernel's verdict on it, and
    what is wrong (None where nothing is)."""

    count: int
    packet: Packet | None
    verdict: str
    unsent: tuple[Unsent, ...]
    problem: Problem | None


def tried(policy: Policy, backend: str) -> tuple[Tried, ...]:
    """Each of the policy's tests under what it compiles to for `backend`. Raises HostError, PolicyError."""
    rules = rules_of(policy, backend)
    prepared = [_Prepared(policy, test) for test in policy.tests]
    names = {name for each in prepared for one in each.shots for name in (one.incoming, one.outgoing)}
    with Trial(sorted(names - {"", "lo"}), rules) as trial:
        shots = [one for each in prepared for one in each.shots]
        verdicts = iter(trial.send(shots))
        return tuple(
            [_judged(policy, each, list(islice(verdicts, len(each.shots))), trial) for each in prepared]
        )


class _Prepared:
    """What is sent of a test, and what is not."""

    def __init__(self, policy: Policy, test: Test) -> None:
        self.test = test
        self.shots: list[Shot] = []
        self.unsent: dict[str, list[Packet]] = {}
        other = spare(_patterns(policy))
        for packet in dict.fromkeys(_packets(policy, test)):
            if len(self.shots) == _MOST:
                self.leave(packet, f"no more than {_MOST} packets of one test are sent")
                continue
            try:
                self.shots.append(shot(packet, other))
            except ValueError as error:
                self.leave(packet, str(error))

    def leave(self, packet: Packet, reason: str) -> None:
        self.unsent.setdefault(reason, []).append(packet)


def _packets(policy: Policy, test: Test) -> Iterator[Packet]:
    cases = left_out(policy, test, likely)
    for packet in said(policy, test, likely):
        yield from cases(packet)


def _patterns(policy: Policy) -> Iterator[str]:
    """The names and patterns of interfaces in the policy."""
    for section in policy.sections:
        for rule in (*section.allow, *section.block):
            for match in (rule.match, *rule.holes):
                yield from (*(match.incoming or ()), *(match.outgoing or ()))
    if policy.nat:
        for forward in policy.nat.forward:
            yield from forward.incoming
        for masquerade in policy.nat.masquerade:
            yield from masquerade.outgoing
        for snat in policy.nat.snat:
            yield from snat.outgoing
    for test in policy.tests:
        yield from (*(test.incoming or ()), *(test.outgoing or ()))


def _judged(policy: Policy, prepared: _Prepared, verdicts: Sequence[Seen], trial: Trial) -> Tried:
    good: list[tuple[Packet, str]] = []
    problem = None
    for sent, seen in zip(prepared.shots, verdicts, strict=True):
        reason = _unjudged(policy, sent.packet, seen)
        if reason:
            prepared.leave(sent.packet, reason)
            continue
        verdict = seen.verdict
        if problem is None and _is_wrong(prepared.test, verdict):
            # Others may have used up a limit of the line before it.
            verdict = trial.send_alone(sent).verdict or verdict
            problem = _problem(policy, prepared.test, sent.packet, verdict)
        good.append((sent.packet, verdict))
    packet, verdict = good[0] if good else (None, "")
    left = (Unsent(reason, len(packets), packets[0]) for reason, packets in prepared.unsent.items())
    return Tried(len(good), packet, verdict, tuple(left), problem)


def _is_wrong(test: Test, verdict: str) -> bool:
    return (verdict == "accept") != test.allow


def _unjudged(policy: Policy, packet: Packet, seen: Seen) -> str:
    """Why the kernel's verdict says nothing of the test; "" where it does."""
    if not seen.verdict:
        hint = "; the policy's NAT may have sent it elsewhere" if policy.nat else ""
        return f"the kernel never brought it to the {packet.hook} hook{hint}"
    if seen.state and seen.state != packet.state:
        return f"connection tracking calls it {seen.state}, not {packet.state}"
    today = replace(packet, time=int(time.time()))
    if decide(policy, today).verdict != decide(policy, packet).verdict:
        return "a line has expired by now, and the test is about the time before"
    return ""


def _problem(policy: Policy, test: Test, packet: Packet, verdict: str) -> Problem | None:
    if not _is_wrong(test, verdict):
        return None
    decision = decide(policy, packet)
    line = f" (line {decision.origin.line} of {decision.origin.file})" if decision.origin else ""
    hint = f"the policy says {decision.verdict}: step {decision.step}: {decision.reason}{line}"
    if (decision.verdict in ("drop", "reject")) != test.allow:
        hint += "\nthe compiler, the model or this kernel is wrong: please report it"
    wanted = "allow" if test.allow else "deny"
    message = f"test failed: the kernel says {verdict}, not {wanted}, for: {packet}"
    return Problem(message, test.origin, None, hint)
