"""Policy -> artifacts: the whole pure way, and its one gate."""

from __future__ import annotations

from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.compiler.names import distinct
from fwpolicy.compiler.passes import PASSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.ir.timeservice import TimeService
    from fwpolicy.policy.model import Policy

UNKNOWN = Facts()


def compile_ruleset(
    policy: Policy, facts: Facts = UNKNOWN, passes: tuple[ModuleType, ...] = PASSES
) -> Ruleset:
    """The packet filter of `policy`, made faster by `passes`."""
    for _, stage in stages(policy, facts, passes):
        ruleset = stage
    return ruleset


def stages(
    policy: Policy, facts: Facts, passes: tuple[ModuleType, ...] = PASSES
) -> Iterator[tuple[ModuleType | None, Ruleset]]:
    """(None, as lowered), then each pass with what it made of it."""
    ruleset = distinct(lower(policy, facts))
    yield None, ruleset
    for each in passes:
        ruleset = distinct(each.run(ruleset))
        yield each, ruleset


def compile_timeservice(policy: Policy) -> TimeService | None:
    """What the policy wants of the host's time daemon; None where it has no say."""
    from fwpolicy.ir.timeservice import TimeService  # noqa: PLC0415

    role = policy.ntp
    if role is None or role.daemon == "none":
        return None
    return TimeService(
        mode=role.mode,
        serve=role.serve,
        servers=role.servers,
        monitors=bool(role.monitors),
        nts=role.nts,
        daemon=role.daemon,
        origin=role.origin,
    )
