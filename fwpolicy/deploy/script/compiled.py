"""From a policy to its script, proved on the way: for `compile --format script` and for bundles."""

from __future__ import annotations

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import xtproof
from fwpolicy.deploy.proof import prove_compiled
from fwpolicy.deploy.script import assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.artifact import Artifact
    from fwpolicy.backends.iptables.render import Texts
    from fwpolicy.compiler.facts import Facts
    from fwpolicy.policy.model import Policy


def script(policy: Policy, backend: str, facts: Facts, *, u32: bool = True, proved: bool = True) -> Artifact:
    """The script for hosts with `backend`: nft or iptables. Raises PolicyError for what cannot be said
    exactly, CheckFailedError where a proof fails."""
    if backend == "nft":
        return _nft(policy, facts, proved)
    texts = _iptables(policy, facts, Dialect(u32), proved)
    plain = _iptables(policy, facts, Dialect(u32=False), proved) if policy.ntp and u32 else None
    return assemble.script_iptables(policy, texts, plain)


def _nft(policy: Policy, facts: Facts, proved: bool) -> Artifact:
    ruleset = render(compile_ruleset(policy, facts), policy.name)
    if proved:
        prove_compiled(policy, None, ruleset)
    return assemble.script_nft(policy, ruleset)


def _iptables(policy: Policy, facts: Facts, dialect: Dialect, proved: bool) -> Texts:
    texts = xtproof.compiled(policy, facts, dialect)
    if proved:
        xtproof.prove_compiled(policy, None, texts, dialect)
    return texts
