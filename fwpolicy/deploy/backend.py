"""The seam between what is applied and what loads it: nftables or iptables.

Everything else of an apply is the same for both: daemons, journal, boot, connections, generations.
"""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from fwpolicy.addresses import AddressSet
    from fwpolicy.artifact import Artifact
    from fwpolicy.backends.nft.reload import Load
    from fwpolicy.compiler.facts import Facts
    from fwpolicy.deploy.counters import Counted
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.status import Status
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

    Tell = Callable[[str], None]

AUTO, NFT, IPTABLES = "auto", "nft", "iptables"


@record
class Wanted:
    """What a host is to hold. `texts`: what a generation stores, by file name; `loads`: the ways to bring it
    about (nft's); `emitted`: the texts as the packet model reads them, None where no proof is wanted."""

    ruleset: Ruleset
    texts: tuple[Artifact, ...]
    emitted: Program | None
    loads: tuple[Load, ...]
    changed: bool


@record
class WayBack:
    """What undo.sh puts back: `names`, below the state directory, each the rules of one backend; `files`, by
    name, that the journal keeps for it."""

    names: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


if TYPE_CHECKING:

    class Rules(Protocol):
        """Rules of ours in the kernel of a machine, in the network namespace of the calling thread.

        All methods raise HostError where the kernel cannot be asked or refuses; `plan` knows what is there
        and what is wanted.
        """

        @property
        def name(self) -> str:
            """As a policy's `backends` has it."""

        @property
        def place(self) -> str:
            """Where the rules are, for people: "table inet fwpolicy"."""

        def lacks(self) -> str:
            """Why this host cannot use it; "" where it can."""

        def survey(self, machine: Machine, current: Generation | None) -> Survey:
            """What is there: ours, other tools' chains, NAT."""

        def wanted(
            self, policy: Policy, facts: Facts, seen: Survey, current: Generation | None, prove: bool
        ) -> Wanted:
            """What the policy compiles to, proved. Raises PolicyError, CheckFailedError."""

        def stored(self, generation: Generation, seen: Survey, live: bool) -> Wanted:
            """What was applied then."""

        def boot_files(self, policy: Policy, state_dir: str, init: str, program: str) -> tuple[Artifact, ...]:
            """What loads the rules at boot under this init system (persist.py), by absolute path."""

        def boot_notes(self, machine: Machine) -> tuple[str, ...]:
            """What is missing for that."""

        def comes_back(self) -> bool:
            """Are the programs here with which the journal's script brings rules back?"""

        def scripts(self, state_dir: str) -> tuple[Artifact, ...]:
            """What takes the rules out and back without Python."""

        def rehearse(self, plan: Plan) -> bool:
            """The rules in a namespace of their own, proved; False where nothing needs it. Raises
            NoScratchError, CheckFailedError."""

        def as_they_were(self, plan: Plan, machine: Machine) -> str:
            """A text of what is there, for `way_back` and `load`; "" where nothing more need be known."""

        def way_back(self, plan: Plan, was: str) -> WayBack:
            """To the rules before the plan."""

        def load(self, plan: Plan, machine: Machine, was: str, undo: Undo, tell: Tell) -> Survey:
            """Load, read back, prove; what was read. Nothing has changed where it raises, or `undo` knows."""

        def boots_the_same(self, plan: Plan, machine: Machine, undo: Undo, started: bool) -> None:
            """What was loaded is what the boot will load. `started`: its unit runs already."""

        def settle(self, texts: tuple[Artifact, ...]) -> None:
            """There is no way back any more: what only that needed may go."""

        def compare(self, generation: Generation, machine: Machine) -> tuple[Status, str]:
            """(what of the rules differs from what was applied, the moment of that)."""

        def heal(self, generation: Generation, machine: Machine) -> bool:
            """Put the rules of the generation back; False where they are there."""

        def is_there(self, machine: Machine) -> bool:
            """Is there anything of ours?"""

        def keep(self) -> WayBack:
            """A way back to all that is there, for undo.sh."""

        def hold(self) -> Callable[[], None]:
            """The same for this process: what puts it back."""

        def take_out(self) -> None:
            """The rules out of the way, what they have collected not."""

        def remove(self, tell: Tell) -> None:
            """All that is ours is gone."""

        def counted(self) -> Counted:
            """What the lines have counted. Raises HostError where nothing is there that counts."""

        def members(self, group: str) -> AddressSet:
            """Of a group that is filled at run time: what it holds now."""

        def traffic(self, plan: Plan, most: int | None) -> tuple[Change, ...]:
            """What the plan's rules do to traffic otherwise than those that are there, `most` classes."""

        def told(self, plan: Plan) -> list[str]:
            """The plan's rules, for people: a headline, and what changes."""


def rules_of(name: str) -> Rules:
    """The backend of this name."""
    if name == IPTABLES:
        from fwpolicy.deploy.xtrules import XtRules  # noqa: PLC0415

        return XtRules()
    from fwpolicy.deploy.nftrules import NftRules  # noqa: PLC0415

    return NftRules()


def there(machine: Machine) -> list[Rules]:
    """The backends that hold anything of ours."""
    return [rules for rules in map(rules_of, (NFT, IPTABLES)) if rules.is_there(machine)]


def chosen(asked: str, backends: tuple[str, ...], current: Generation | None, machine: Machine) -> Rules:
    """The backend to use: the one that was asked for; else what runs already, if the policy has it; else the
    first of the policy's that this host can do. Raises HostError where there is none."""
    if asked != AUTO:
        return rules_of(asked)
    wanted = backends
    if current is not None and current.backend in backends:
        wanted = (current.backend, *(each for each in backends if each != current.backend))
    if not machine.live or len(wanted) == 1:
        return rules_of(wanted[0])
    lacking = []
    for rules in map(rules_of, wanted):
        why = rules.lacks()
        if not why:
            return rules
        lacking.append(f"{rules.name}: {why}")
    raise HostError(f"none of the policy's backends can be used here: {'; '.join(lacking)}")
