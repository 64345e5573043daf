"""nftables behind the seam (backend.py): one table, one transaction."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.backends.nft.read import same
from fwpolicy.backends.nft.reload import WHOLE, Load, fresh, reload
from fwpolicy.backends.nft.render import render
from fwpolicy.deploy.backend import NFT, Wanted, WayBack
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwpolicy.addresses import AddressSet
    from fwpolicy.compiler.facts import Facts
    from fwpolicy.deploy.backend import Tell
    from fwpolicy.deploy.counters import Counted
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.status import Status
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.model.compare import Change
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

FILE = "ruleset.nft"
OURS = f"table {FAMILY} {TABLE}"
PROGRAMS = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")


class NftRules:
    """See backend.Rules."""

    name = NFT
    place = OURS

    def lacks(self) -> str:
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        try:
            Nftables().text("tables")
        except HostError as error:
            return str(error)
        return ""

    def survey(self, machine: Machine, current: Generation | None) -> Survey:
        from fwpolicy.deploy.foreign import of_legacy  # noqa: PLC0415
        from fwpolicy.deploy.state import known  # noqa: PLC0415
        from fwpolicy.deploy.survey import survey  # noqa: PLC0415

        seen = survey(machine, known(current))
        return replace(seen, foreign=(*seen.foreign, *of_legacy(seen.legacy)))

    def wanted(
        self, policy: Policy, facts: Facts, seen: Survey, current: Generation | None, prove: bool
    ) -> Wanted:
        from fwpolicy.compiler.compile import compile_ruleset  # noqa: PLC0415

        ruleset = compile_ruleset(policy, facts)
        artifact = render(ruleset, policy.name)
        changed = _changed(seen, current, ruleset, artifact.text)
        return Wanted(
            ruleset,
            (artifact,),
            _proved(policy, facts, artifact) if prove else None,
            _loads(seen, ruleset, artifact, policy.name) if changed else (),
            changed,
        )

    def stored(self, generation: Generation, seen: Survey, live: bool) -> Wanted:
        from fwpolicy.deploy.proof import program_of  # noqa: PLC0415
        from fwpolicy.deploy.ruledrift import stored_table  # noqa: PLC0415

        ruleset = Ruleset((stored_table(generation),))
        artifact = Artifact(FILE, generation.ruleset)
        changed = seen.ours is None or not same(Ruleset((seen.ours,)), ruleset)
        ways: tuple[Load, ...] = (Load(artifact),)
        if seen.ours is not None:
            ways = (reload(ruleset, seen.ours, generation.policy), WHOLE, *ways)
        emitted = program_of(artifact) if live and changed else None
        return Wanted(ruleset, (artifact,), emitted, ways if changed else (), changed)

    def boot_files(self, policy: Policy, state_dir: str, init: str, program: str) -> tuple[Artifact, ...]:
        from fwpolicy.deploy.persist import boot_files  # noqa: PLC0415

        return boot_files(policy, state_dir, init, program)

    def boot_notes(self, machine: Machine) -> tuple[str, ...]:
        missing = machine.live and not any(map(machine.files.exists, PROGRAMS))
        note = "no nft program here: at boot nothing can load the rules (package nftables)"
        return (note,) if missing else ()

    def comes_back(self) -> bool:
        import os  # noqa: PLC0415

        return any(os.path.exists(each) for each in PROGRAMS)  # noqa: PTH110

    def scripts(self, state_dir: str) -> tuple[Artifact, ...]:  # noqa: ARG002 (the nft program does it)
        return ()

    def rehearse(self, plan: Plan) -> bool:
        """Where only elements of sets change no rule is loaded that was not tried before."""
        if not any(way.artifact or way == WHOLE for way in plan.loads[:1]):
            return False
        from fwpolicy.deploy.proof import prove_in_scratch  # noqa: PLC0415

        prove_in_scratch(plan.ruleset, plan.policy.name)
        return True

    def as_they_were(self, plan: Plan, machine: Machine) -> str:
        from fwpolicy.deploy.rules import as_they_were  # noqa: PLC0415

        return as_they_were(plan, machine)

    def way_back(self, plan: Plan, was: str) -> WayBack:
        from fwpolicy.deploy.rules import only_elements, whole_text  # noqa: PLC0415

        if not plan.rules_changed or plan.survey.unreadable:
            return WayBack()
        if plan.current is not None and plan.current.backend == NFT and only_elements(plan):
            return WayBack((f"generations/{plan.current.number}/{FILE}",))
        return WayBack(("undoing/rules.nft",), (("rules.nft", whole_text(plan.survey.ours, was)),))

    def load(self, plan: Plan, machine: Machine, was: str, undo: Undo, tell: Tell) -> Survey:
        from fwpolicy.deploy.rules import load_rules  # noqa: PLC0415

        return load_rules(plan, machine, was, undo, tell)

    def boots_the_same(self, plan: Plan, machine: Machine, undo: Undo, started: bool) -> None:
        from fwpolicy.deploy.rules import boots_the_same  # noqa: PLC0415

        boots_the_same(plan, machine, undo, started)

    def settle(self, texts: tuple[Artifact, ...]) -> None:
        """Whatever was not wanted any more went with the rules."""

    def compare(self, generation: Generation, machine: Machine) -> tuple[Status, str]:
        from fwpolicy.deploy.ruledrift import compare  # noqa: PLC0415

        return compare(generation, machine)

    def heal(self, generation: Generation, machine: Machine) -> bool:
        from fwpolicy.deploy.ruledrift import put_back  # noqa: PLC0415

        return put_back(generation, machine)

    def is_there(self, machine: Machine) -> bool:
        from fwpolicy.deploy.survey import survey  # noqa: PLC0415

        seen = survey(machine)
        return seen.ours is not None or seen.strange is not None

    def keep(self) -> WayBack:
        return WayBack(("undoing/rules.nft",), (("rules.nft", self._kept()),))

    def _kept(self) -> str:
        """What loads the table again with all that it has counted and collected."""
        from fwpolicy.deploy.rules import REPLACE  # noqa: PLC0415
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        return REPLACE + Nftables().text(OURS)

    def hold(self) -> Callable[[], None]:
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        kernel, kept = Nftables(), self._kept()
        return lambda: kernel.load(kept)

    def take_out(self) -> None:
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        Nftables().delete_table(FAMILY, TABLE)

    def remove(self, tell: Tell) -> None:
        self.take_out()
        tell(f"deleted {OURS}")

    def counted(self) -> Counted:
        from fwpolicy.deploy.counters import counted  # noqa: PLC0415
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        listing = Nftables().listing(f"counters {OURS}")
        if not listing["nftables"]:
            raise HostError(f"{OURS} is gone, and what it counted with it: apply again")
        return counted(listing)

    def members(self, group: str) -> AddressSet:
        from fwpolicy.deploy.purge import members  # noqa: PLC0415

        return members(group)

    def traffic(self, plan: Plan, most: int | None) -> tuple[Change, ...]:
        from fwpolicy.deploy.proof import traffic  # noqa: PLC0415

        return traffic(plan.policy, plan.facts.servers, plan.survey.listing, most)

    def told(self, plan: Plan) -> list[str]:
        count = sum(len(chain.rules) for table in plan.ruleset.tables for chain in table.chains)
        if not plan.rules_changed:
            return [f"rules: unchanged ({count} in {OURS})"]
        if plan.survey.ours is None:
            state = "not looked at" if plan.survey.unreadable else "new"
            return [f"rules: {state}, {count} in {OURS}", *_indented(_body(plan.artifact.text))]
        import difflib  # noqa: PLC0415

        before = _body(render(Ruleset((plan.survey.ours,)), plan.policy.name).text)
        lines = difflib.unified_diff(before, _body(plan.artifact.text), "live", "new", n=1, lineterm="")
        return [f"rules: changed, in {OURS}", *_indented(lines)]


def _proved(policy: Policy, facts: Facts, artifact: Artifact) -> Program:
    from fwpolicy.deploy.proof import prove_compiled  # noqa: PLC0415

    return prove_compiled(policy, facts.servers, artifact)


def _changed(seen: Survey, current: Generation | None, ruleset: Ruleset, text: str) -> bool:
    """Against the kernel where it can be asked, else against what was applied last."""
    if seen.unreadable:
        return current is None or current.ruleset != text
    return seen.ours is None or not same(Ruleset((seen.ours,)), ruleset)


def _loads(seen: Survey, ruleset: Ruleset, artifact: Artifact, source: str) -> tuple[Load, ...]:
    """From the table that is there, which keeps its counters and dynamic members; else from nothing."""
    if seen.ours is not None:
        return (reload(ruleset, seen.ours, source), WHOLE)
    first = None if seen.strange or seen.unreadable else fresh(ruleset, source)
    return (first, WHOLE) if first and first.changes else (Load(artifact),)


def _body(text: str) -> list[str]:
    return text.splitlines()[5:]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
