"""The proofs of what iptables is given (docs/proof.md): policy = emitted texts = what iptables-save prints.

Both families together, each packet being of one; only chains of ours, and the jumps to them.
"""

from __future__ import annotations

from fwpolicy.backends.iptables.names import CHAINS, SETS
from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.iptables.render import AS_IT_IS, Texts, render
from fwpolicy.deploy.proof import refuse_unmodelled, told
from fwpolicy.errors import CheckFailedError
from fwpolicy.model import iptables, prove
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.pairing import paired
from fwpolicy.model.program import ALWAYS, NotModelledError, with_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.addresses import AddressSet
    from fwpolicy.compiler.facts import Facts
    from fwpolicy.errors import Span
    from fwpolicy.model.iptables.ipsets import Sets
    from fwpolicy.model.program import Program, Rule
    from fwpolicy.policy.model import Policy

WITHOUT_U32 = """\
note: without u32 the filter cannot tell the NTP mode. Replies are let in by their connection's state alone:
  a packet that is forged with the address of a server that was asked passes, whatever its mode; delete the
  connection tracking entries of port 123 once when these rules go in (docs/iptables.md)"""


def compiled(policy: Policy, facts: Facts | None = None, dialect: Dialect = AS_IT_IS) -> Texts:
    """What the policy compiles to for iptables. Raises PolicyError for what cannot be said exactly."""
    from fwpolicy.compiler.compile import UNKNOWN, compile_ruleset  # noqa: PLC0415
    from fwpolicy.compiler.passes import PLAIN  # noqa: PLC0415

    return render(compile_ruleset(policy, facts or UNKNOWN, PLAIN), policy.name, dialect)


def program_of(texts: Texts) -> Program:
    """The emitted texts as one program. Raises CheckFailedError where the model cannot read them."""
    try:
        sets = _sets(texts)
        return iptables.merged(
            iptables.of_text(each.text, each.name, family, whole=False, sets=sets)
            for family, each in zip((4, 6), texts.rules, strict=True)
        )
    except NotModelledError as error:
        raise CheckFailedError(f"proof failed: the model cannot read what was compiled: {error}") from None


def prove_compiled(
    policy: Policy, servers: AddressSet | None, texts: Texts, dialect: Dialect = AS_IT_IS
) -> Program:
    """The emitted texts do what the policy says; their program. Raises CheckFailedError with a packet that
    shows otherwise, and with both deciding lines. Without u32 the policy's NTP mode is any mode."""
    wanted = of_policy(policy, servers)
    if not dialect.u32:
        wanted = with_literal(wanted, "ntpmode", ALWAYS)
    emitted = program_of(texts)
    refuse_unmodelled(emitted)
    for difference in prove.differences(wanted, named(emitted, wanted, texts)):
        raise CheckFailedError(told(difference, "the policy", "what was compiled from it for iptables"))
    return emitted


def named(emitted: Program, policy: Program, texts: Texts) -> Program:
    """The program of `texts` with the policy's names for its limits and for groups filled at run time."""
    return paired(emitted, policy, SETS, _origins(texts))


def prove_listed(texts: Texts, saved: tuple[str, str], sets: str, where: str) -> None:
    """What iptables-save and ip6tables-save print does, as far as it is ours, what the emitted texts do.
    `sets`: what `ipset save` prints. Raises CheckFailedError."""
    emitted = program_of(texts)
    try:
        known = iptables.sets_of_text(sets, f"{where}, ipset", static_sets(texts))
        both = iptables.of_both(saved, f"{where}, IPv", sets=known)
        listed = iptables.own(iptables.merged(both), CHAINS)
    except NotModelledError as error:
        raise CheckFailedError(f"proof failed: the model cannot read what is listed: {error}") from None
    refuse_unmodelled(listed)
    for difference in prove.differences(emitted, listed):
        raise CheckFailedError(told(difference, "what was compiled", f"what is listed ({where})"))


def static_sets(texts: Texts) -> list[str]:
    """The sets whose members the texts say."""
    return [name for name, members in _sets(texts).items() if members is not None]


def _sets(texts: Texts) -> Sets:
    return iptables.sets_of_text(texts.sets.text, texts.sets.name) if texts.sets else {}


def _origins(texts: Texts) -> Callable[[Rule], Span | None]:
    places = {(each.name, line): span for each in texts.rules for line, span in each.origins}
    return lambda rule: places.get((rule.where.file, rule.where.line))
