"""What a policy compiles to beside its ruleset."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.compiler.compile import compile_timeservice
from fwpolicy.deploy.daemons import snippets
from fwpolicy.deploy.machine import STATE_DIR
from fwpolicy.deploy.persist import boot_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Policy


def beside_ruleset(policy: Policy) -> tuple[Artifact, ...]:
    """The time daemon's configuration, and what loads the rules at boot."""
    return (*_daemon_snippets(policy), *boot_files(policy, STATE_DIR))


def beside_iptables(policy: Policy) -> tuple[Artifact, ...]:
    """The time daemon's configuration, and what puts the rules over earlier ones."""
    from fwpolicy.deploy.script.pieces import piece  # noqa: PLC0415

    return (Artifact("fwpolicy.awk", piece("reload.awk")), *_daemon_snippets(policy))


def _daemon_snippets(policy: Policy) -> tuple[Artifact, ...]:
    """The time daemon's configuration alone."""
    service = compile_timeservice(policy)
    return snippets(service) if service and service.mode != "closed" else ()
