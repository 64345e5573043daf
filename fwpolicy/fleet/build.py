"""Of one unit: read, compiled, proved, tested. The result is plain values, which can be kept and sent on."""

from __future__ import annotations

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy.artifacts import beside_ruleset
from fwpolicy.deploy.proof import prove_compiled
from fwpolicy.errors import CheckFailedError, FwpolicyError, PolicyError
from fwpolicy.fleet.outcome import Outcome, finding
from fwpolicy.fleet.telling import located
from fwpolicy.fleet.unit import Reading, load_unit
from fwpolicy.model.expect import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.fleet.repository import Repository
    from fwpolicy.fleet.unit import Unit
    from fwpolicy.policy.model import Policy


def build(unit: Unit, repository: Repository, now: int, proved: bool = True) -> Outcome:
    """The outcome of a unit; what is wrong is part of it."""
    reading = Reading(repository.tree)
    try:
        policy, _ = load_unit(unit, repository.inventory, reading, now)
        ruleset = render(compile_ruleset(policy, unit.facts), policy.name)
        if proved:
            prove_compiled(policy, None, ruleset)
        _require_tests(policy, reading)
        artifacts = (ruleset, *beside_ruleset(policy))
    except FwpolicyError as error:
        problems = error.problems if isinstance(error, PolicyError) else ()
        found = tuple(map(finding, problems))
        return Outcome("", error.exit_code, str(error), found, 0, (), reading.seen, None)
    return Outcome(
        policy.name,
        0,
        "",
        tuple(map(finding, policy.warnings)),
        len(policy.tests),
        tuple((each.name.rsplit("/", 1)[-1], each.text, each.mode) for each in artifacts),
        reading.seen,
        now // 86400 if expires(policy) else None,
    )


def _require_tests(policy: Policy, reading: Reading) -> None:
    failed = failures(policy)
    if failed:
        raise CheckFailedError("\n".join(located(problem, reading) for problem in failed))


def expires(policy: Policy) -> bool:
    """Whether a line of it ends some day."""
    lines = (rule for section in policy.sections for rule in (*section.allow, *section.block))
    return any(rule.expires is not None for rule in lines)


def lasting(outcome: Outcome, repository: Repository) -> bool:
    """Whether the outcome may be kept: it is good, and tells no place in the inventory, which moves with
    every host that comes or goes."""
    return outcome.exit_code == 0 and all(
        each.at is None or each.at.file != repository.inventory.text.file for each in outcome.findings
    )
