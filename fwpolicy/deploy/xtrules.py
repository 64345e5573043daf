"""iptables behind the seam (backend.py): chains of ours in both families, beside everybody else's."""

from __future__ import annotations

import re

from fwpolicy.addresses import AddressSet, collect, parse
from fwpolicy.artifact import Artifact
from fwpolicy.backends.iptables import names
from fwpolicy.backends.iptables.names import CHAINS, SETS
from fwpolicy.backends.iptables.render import Texts, render
from fwpolicy.deploy import rulesscript, xtload, xtproof
from fwpolicy.deploy.backend import IPTABLES, Wanted, WayBack
from fwpolicy.deploy.state import require_whole
from fwpolicy.deploy.xtsurvey import of_listing, of_text, program_of, survey
from fwpolicy.errors import HostError, PolicyError, Problem
from fwpolicy.host import xtables
from fwpolicy.host.xtables import XTables
from fwpolicy.ir.ruleset import Ruleset
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwpolicy.compiler.facts import Facts
    from fwpolicy.deploy.backend import Tell
    from fwpolicy.deploy.counters import Counted
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.status import Status
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.deploy.undo import Undo
    from fwpolicy.deploy.xtload import Listing
    from fwpolicy.model.compare import Change
    from fwpolicy.policy.model import Policy

FILES = ("rules.v4", "rules.v6")
SETS_FILE = "sets.ipset"
_COUNTED = re.compile(rf'^\[(\d+):(\d+)\] -A {CHAINS}\S+ .*--comment "?([\w:-]+?)(?=: |[" ]).* -([jg]) (\S+)')


class XtRules:
    """See backend.Rules."""

    name = IPTABLES
    place = "iptables"

    def __init__(self) -> None:
        self._tables = XTables()

    def lacks(self) -> str:
        try:
            xtload.listing(self._tables)
        except HostError as error:
            return str(error)
        return ""

    def survey(self, machine: Machine, current: Generation | None) -> Survey:  # noqa: ARG002
        return survey(machine, self._tables)

    def wanted(
        self, policy: Policy, facts: Facts, seen: Survey, current: Generation | None, prove: bool
    ) -> Wanted:
        from fwpolicy.compiler.compile import compile_ruleset  # noqa: PLC0415
        from fwpolicy.compiler.passes import PLAIN  # noqa: PLC0415

        ruleset = compile_ruleset(policy, facts, PLAIN)
        texts = render(ruleset, policy.name)
        emitted = xtproof.prove_compiled(policy, facts.servers, texts) if prove else None
        stored = _stored(texts)
        return Wanted(ruleset, stored, emitted, (), _changed(stored, seen, current))

    def stored(self, generation: Generation, seen: Survey, live: bool) -> Wanted:
        texts = tuple(Artifact(*each) for each in generation.texts)
        changed = not of_text(generation.listing).same(of_text(seen.listing))
        emitted = xtproof.program_of(_texts(texts)) if live and changed else None
        return Wanted(Ruleset(()), texts, emitted, (), changed)

    def boot_files(self, policy: Policy, state_dir: str, init: str, program: str) -> tuple[Artifact, ...]:
        from fwpolicy.deploy.persist import boot_files, fallback_texts  # noqa: PLC0415

        files = boot_files(policy, state_dir, init, program)
        kept = (each for each in files if not each.name.endswith("/fallback.nft"))
        texts = fallback_texts(policy)
        return (*kept, *(Artifact(f"{state_dir}/{name}", text, 0o600) for name, text in texts))

    def boot_notes(self, machine: Machine) -> tuple[str, ...]:  # noqa: ARG002 (they are here, or no plan is)
        return ()

    def comes_back(self) -> bool:
        return True  # they have just said what is there

    def scripts(self, state_dir: str) -> tuple[Artifact, ...]:
        return (rulesscript.loader(state_dir),)

    def rehearse(self, plan: Plan) -> bool:
        from fwpolicy.host.netns import scratch  # noqa: PLC0415

        with scratch():
            self._load(plan)
        return True

    def _load(self, plan: Plan) -> None:
        """Raises PolicyError where iptables refuses a line of the policy's."""
        try:
            xtload.load(self._tables, _texts(plan.texts), proved=plan.emitted is not None)
        except xtload.RefusedError as error:
            raise _located(plan.texts, error) or error from None

    def as_they_were(self, plan: Plan, machine: Machine) -> str:  # noqa: ARG002 (the survey has it)
        return ""

    def way_back(self, plan: Plan, was: str) -> WayBack:  # noqa: ARG002
        if not plan.rules_changed or plan.survey.unreadable:
            return WayBack()
        return _way_back(of_text(plan.survey.listing).listing)

    def load(self, plan: Plan, machine: Machine, was: str, undo: Undo, tell: Tell) -> Survey:  # noqa: ARG002
        if not machine.live or not plan.rules_changed:
            return plan.survey
        undo.then(xtload.put_back, self._tables, xtload.listing(self._tables))
        self._load(plan)
        if plan.emitted is not None:
            tell("loaded the rules of both families, read them back and proved them: equal for every packet")
        else:
            tell("loaded the rules of both families")
        return survey(machine, self._tables)

    def boots_the_same(self, plan: Plan, machine: Machine, undo: Undo, started: bool) -> None:  # noqa: ARG002
        from fwpolicy.deploy.starters import UNIT  # noqa: PLC0415
        from fwpolicy.host.netns import NoScratchError, scratch  # noqa: PLC0415

        loaded = of_listing(xtload.listing(self._tables))
        try:
            with scratch():
                _run_loader(machine)
                found = of_listing(xtload.listing(self._tables))
        except NoScratchError:
            found = loaded
        if not started:
            machine.services.restart(UNIT)
        if not loaded.same(found) or not loaded.same(of_listing(xtload.listing(self._tables))):
            raise HostError("the boot's script makes other rules of it than were loaded")

    def settle(self, texts: tuple[Artifact, ...]) -> None:
        xtload.tidy(self._tables, _texts(texts))

    def compare(self, generation: Generation, machine: Machine) -> tuple[Status, str]:
        from fwpolicy.deploy.xtdrift import compare  # noqa: PLC0415

        return compare(generation, machine, self._tables)

    def heal(self, generation: Generation, machine: Machine) -> bool:
        from fwpolicy.deploy.xtdrift import differs  # noqa: PLC0415

        if not differs(generation, machine, self._tables):
            return False
        require_whole(generation)
        texts = tuple(Artifact(*each) for each in generation.texts)
        xtload.load(self._tables, _texts(texts), proved=False)
        if differs(generation, machine, self._tables):
            raise HostError("the rules were put back, and iptables lists others")
        return True

    def is_there(self, machine: Machine) -> bool:
        try:
            if not machine.live:
                return False
            return xtload.listing(self._tables).is_ours or xtload.elsewhere(self._tables.is_nft) is not None
        except HostError:
            return False

    def keep(self) -> WayBack:
        return _way_back(xtload.listing(self._tables))

    def hold(self) -> Callable[[], None]:
        before = xtload.listing(self._tables)
        return lambda: xtload.put_back(self._tables, before)

    def take_out(self) -> None:
        xtload.take_out(self._tables)

    def remove(self, tell: Tell) -> None:
        other = xtload.elsewhere(self._tables.is_nft)
        if other is not None:
            xtload.take_out(other)
        left = xtload.remove(self._tables)
        tell("took our chains out of iptables and ip6tables")
        for name in left:
            tell(f"ipset {name} stays: a rule that is not ours looks into it")

    def counted(self) -> Counted:
        found: Counted = {}
        for family in xtload.FAMILIES:
            saved = self._tables.saved(family, counted=True)
            if f":{CHAINS}" not in saved:
                raise HostError(
                    "our chains are gone from iptables, and what they counted with them: apply again"
                )
            _count(saved, found)
        return found

    def members(self, group: str) -> AddressSet:
        wanted = {names.dynamic_set(f"{group}_v{family}") for family in xtload.FAMILIES}
        here = [name for name in xtables.ipsets() if name in wanted]
        lines = (line.split() for line in xtables.saved_ipsets(here).splitlines())
        return collect(parse(words[2]) for words in lines if words[:1] == ["add"])

    def traffic(self, plan: Plan, most: int | None) -> tuple[Change, ...]:
        from fwpolicy.model.compare import changes  # noqa: PLC0415
        from fwpolicy.model.of_policy import of_policy  # noqa: PLC0415
        from fwpolicy.model.pairing import paired  # noqa: PLC0415
        from fwpolicy.model.program import NotModelledError  # noqa: PLC0415

        new = of_policy(plan.policy, plan.facts.servers)
        try:
            listed = program_of(of_text(plan.survey.listing), "live")
        except NotModelledError:
            return ()
        return tuple(changes(paired(listed, new, SETS, lambda _: None), new, most=most))

    def told(self, plan: Plan) -> list[str]:
        counts = [text.text.count("\n-A ") for text in plan.texts if text.name in FILES]
        where = f"{counts[0]} in iptables, {counts[1]} in ip6tables"
        if not plan.rules_changed:
            return [f"rules: unchanged ({where})"]
        if plan.survey.unreadable or not plan.survey.listing:
            state = "not looked at" if plan.survey.unreadable else "new"
            lines = [line for each in plan.texts for line in each.text.splitlines() if line[:1] != "#"]
            return [f"rules: {state}, {where}", *_indented(lines)]
        return [f"rules: changed, {where}", *_indented(_difference(plan))]


def _changed(texts: tuple[Artifact, ...], seen: Survey, current: Generation | None) -> bool:
    """Whether what is there is what was read back when these same texts were applied."""
    if current is None or current.backend != IPTABLES or not current.is_compared:
        return True
    if current.texts != tuple((each.name, each.text) for each in texts):
        return True
    return not seen.unreadable and not of_text(seen.listing).same(of_text(current.listing))


def _stored(texts: Texts) -> tuple[Artifact, ...]:
    """By the names of a generation's files, in the order in which they load."""
    rules = (replace(each, name=name) for each, name in zip(texts.rules, FILES, strict=True))
    return (*((replace(texts.sets, name=SETS_FILE),) if texts.sets else ()), *rules)


def _texts(stored: tuple[Artifact, ...]) -> Texts:
    by_name = {each.name: each for each in stored}
    rules = [by_name.get(name, Artifact(name, "")) for name in FILES]
    return Texts((rules[0], rules[1]), by_name.get(SETS_FILE))


def _located(texts: tuple[Artifact, ...], error: xtload.RefusedError) -> PolicyError | None:
    """What was refused, at the line of the policy that it comes from."""
    for each in texts:
        for number, line in enumerate(each.text.splitlines(), 1):
            if line == error.line and (origin := each.origin(number)):
                message, compiled = f"iptables refused this: {error}", f"compiled to: {line}"
                return PolicyError((Problem(message, origin, None, compiled),))
    return None


def _way_back(before: Listing) -> WayBack:
    first, second = before.ours
    files = (
        (FILES[0], first),
        (FILES[1], second),
        ("sets", "".join(f"{name}\n" for name in before.sets)),
        (rulesscript.NAME, rulesscript.loader("").text),
    )
    return WayBack((f"undoing/{FILES[0]}",), files)


def _run_loader(machine: Machine) -> None:
    """As the boot does it. Raises HostError."""
    place = str(machine.files.locate(machine.state_dir))
    xtables.run_script(f"{place}/{rulesscript.NAME}", "load", f"{place}/running/rules")


def _count(saved: str, found: Counted) -> None:
    """A line that logs has a rule for that, too."""
    for line in saved.splitlines():
        match = _COUNTED.match(line)
        if match and match[5] not in ("LOG", "NFLOG"):
            packets, size = found.get(match[3], (0, 0))
            found[match[3]] = (packets + int(match[1]), size + int(match[2]))


def _difference(plan: Plan) -> Iterable[str]:
    """Against what was applied; where the same is loaded again, against what is there."""
    import difflib  # noqa: PLC0415

    before = dict(plan.current.texts) if plan.current else {}
    for each in plan.texts:
        lines = (before.get(each.name, "").splitlines(), each.text.splitlines())
        yield from difflib.unified_diff(*lines, f"applied {each.name}", f"new {each.name}", n=1, lineterm="")


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
