"""The scripts in a bundle, for hosts without Python (docs/old-hosts.md)."""

from __future__ import annotations

from fwpolicy.deploy.script import assemble, compiled
from fwpolicy.errors import PolicyError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.artifact import Artifact
    from fwpolicy.compiler.facts import Facts
    from fwpolicy.policy.model import Policy


@record
class Scripts:
    """`made`: by name in the archive, one for each of the policy's backends; `without`: why there is none, by
    backend. `notes`: what the policy asks for and no script does, each a sentence."""

    made: dict[str, Artifact]
    without: dict[str, str]
    notes: tuple[str, ...]


def scripts(policy: Policy, facts: Facts) -> Scripts:
    """What `compile --format script` gives for each backend; nft's text has been proved. Raises
    CheckFailedError."""
    made, without = {}, {}
    for backend in policy.backends:
        try:
            found = compiled.script(policy, backend, facts, proved=backend != "nft")
            made[f"artifacts/apply-{backend}.sh"] = found
        except PolicyError as error:
            without[backend] = str(error)
    return Scripts(made, without, tuple(assemble.notes(policy)))
