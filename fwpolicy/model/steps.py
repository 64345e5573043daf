"""Why a rule of a policy's program is there."""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.program import ALWAYS, Lit, Not, Rule, Verdict
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Span
    from fwpolicy.model.fields import Where
    from fwpolicy.model.program import Expr

TCP = 6
REASONS = {
    "loopback": "traffic of the host with itself",
    "essential": "ICMP errors, neighbour discovery, DHCP",
    "invalid": "connection tracking calls it invalid",
    "established": "part of a known connection",
    "block": "this line blocks it",
    "allow": "this line allows it",
}


@record
class Step:
    """Why a rule of a policy's program is there: the step of the evaluation, the policy's text, a reason."""

    step: str
    origin: Span | None
    reason: str


def policy_rule(
    step: str, guard: Expr, action: Verdict, origin: Span | None = None, reason: str = ""
) -> Rule:
    reason = reason or REASONS[step]
    return Rule(guard, action, _where(step, origin), Step(step, origin, reason))


def _where(step: str, origin: Span | None) -> Where:
    if origin is None:
        return fields.Where("docs/language.md", 0, step, REASONS.get(step, step))
    return fields.Where(origin.file, origin.line, step, step)


def verdicts(word: str) -> tuple[tuple[Expr, Verdict], ...]:
    """Reject is a reset for TCP, for all else port-unreachable."""
    if word != "reject":
        return ((ALWAYS, Verdict(word)),)
    tcp = Lit("l4proto", ((TCP, TCP),))
    return ((tcp, Verdict("reject:tcp-reset")), (Not(tcp), Verdict("reject:port-unreachable")))
