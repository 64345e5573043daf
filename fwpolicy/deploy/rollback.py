"""The way back to an earlier generation: a plan like any other, made of what was stored.

Its rules are the stored text, its files the stored texts, merged with what somebody edited since; nothing is
compiled, so an upgrade of fwpolicy changes nothing about it.
"""

from __future__ import annotations

from binascii import a2b_base64
from time import time

from fwpolicy.artifact import Artifact
from fwpolicy.compiler.facts import Facts
from fwpolicy.deploy.backend import rules_of
from fwpolicy.deploy.changes import FileChange
from fwpolicy.deploy.drift import IGNORE, REPORT, SERVICE, TIMER, Runner, runs, trouble, unasked
from fwpolicy.deploy.plan import Options, Plan, boot_changes, boot_is_off, lock_out
from fwpolicy.deploy.said import policy as policy_of
from fwpolicy.deploy.said import said
from fwpolicy.deploy.starters import BOOT_FOLDER, SCRIPT_PATH
from fwpolicy.deploy.state import Generation, State
from fwpolicy.deploy.timeservice import DaemonPlan
from fwpolicy.errors import HostError
from fwpolicy.policy.model import ApplyOptions, Policy
from fwpolicy.record import replace
from fwpolicy.threeway import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.said import Said
    from fwpolicy.host.services import ServiceState


def target(state: State, number: int | None) -> Generation:
    """The generation of this number; of None the one that ran before the present one. Raises HostError."""
    running = state.running()
    if running is None:
        raise HostError("nothing was ever applied here")
    wanted = running.before if number is None else number
    if wanted is None:
        raise HostError("nothing was applied before this: fwpolicy remove brings back the host without us")
    found = state.generation(f"generations/{wanted}")
    if found is None or not (found.listing or found.damaged):
        raise HostError(f"there is no generation {wanted} to go back to (see: fwpolicy history)")
    if found.damaged:
        raise HostError(
            f"generation {wanted} cannot come back: {found.damaged[0]} is not what was written (another one: "
            "fwpolicy history)"
        )
    if found.files and not state.texts(wanted):
        raise HostError(f"generation {wanted} was stored without its files, by an older fwpolicy")
    return found


def plan_back(machine: Machine, number: int | None, options: Options = Options()) -> Plan:  # noqa: B008
    """What going back would do here; of `options` `force` and `operator` count. Raises HostError."""
    state = State(machine)
    wanted = target(state, number)
    kept = said(state, wanted.number)
    policy = _policy(wanted, kept)
    facts = Facts(nat=wanted.nat, servers=None)
    out_notes, out_refusals = lock_out(policy, facts, options, machine)
    running = state.running()
    assert running is not None  # noqa: S101  (target() has looked)
    back = _Back(machine, state, running, wanted)
    rules = rules_of(wanted.backend)
    seen = rules.survey(machine, running)
    stored = rules.stored(wanted, seen, machine.live)
    boots = back.boot_files()
    return Plan(
        policy=policy,
        options=replace(options, persist=bool(wanted.boot), replace=True, said=kept),
        facts=facts,
        rules=rules,
        ruleset=stored.ruleset,
        texts=stored.texts,
        emitted=stored.emitted,
        loads=stored.loads,
        survey=seen,
        rules_changed=stored.changed,
        daemons=back.daemons(),
        returned=back.returned(),
        revived=back.revived(),
        boot_files=boots,
        boot=boot_changes(boots, machine),
        enable_boot=boot_is_off(boots, _drift(wanted), machine),
        purge=(),
        losing=(),
        current=running,
        notes=out_notes,
        refusals=(*back.refusals(), *out_refusals, *unasked(machine, _drift(wanted), back.runner())),
        again=wanted,
    )


def _policy(wanted: Generation, kept: Said | None) -> Policy:
    """As it was said, for what it denies; of an older generation only its name is known."""
    how = ApplyOptions(drift=_drift(wanted))
    found = policy_of(kept, int(time())) if kept else None
    if found is not None:
        return replace(found, apply=replace(how, conntrack=found.apply.conntrack))
    return Policy(wanted.policy, "", (wanted.backend,), None, None, None, (), how)


def _drift(wanted: Generation) -> str:
    """Whether somebody looks; how, the unit's file says."""
    return REPORT if any(path.endswith(f"/{TIMER}") for path, _ in wanted.boot) else IGNORE


class _Back:
    """Files and services, from one generation to an earlier one."""

    def __init__(self, machine: Machine, state: State, running: Generation, wanted: Generation) -> None:
        self._machine, self._running, self._wanted = machine, running, wanted
        self._originals = state.originals()
        self._ours = {generation.number: state.texts(generation.number) for generation in (running, wanted)}
        self._conflicts: list[str] = []
        self._changes = tuple(change for path in self._paths() if (change := self._change(path)))

    def boot_files(self) -> tuple[Artifact, ...]:
        """What loaded the rules at boot then."""
        boot, texts = dict(self._wanted.boot), self._ours[self._wanted.number]
        return tuple(Artifact(path, texts[path], _mode(path)) for path in boot if path in texts)

    def runner(self) -> Runner:
        """What its timer would run."""
        path = f"{BOOT_FOLDER}{SERVICE}"
        text = self._ours[self._wanted.number].get(path, "") if path in dict(self._wanted.boot) else ""
        program = runs(text)
        return Runner(program, trouble(program, self._machine)) if program else Runner()

    def daemons(self) -> tuple[DaemonPlan, ...]:
        """One for each service that the generation turned on or off; the first that runs has the files."""
        plans, changes = [], self._changes
        for unit, what in self._wanted.services:
            state = self._machine.services.status((unit,))
            off = what == "off" and state is not None and (state.active or state.enabled)
            plans.append(DaemonPlan(unit, (), "", state, () if off else changes, stop=off))
            changes = changes if off else ()
        return tuple(plans)

    def returned(self) -> tuple[FileChange, ...]:
        """The files, where the generation knew no service."""
        return () if any(what == "on" for _, what in self._wanted.services) else self._changes

    def revived(self) -> tuple[ServiceState, ...]:
        """What was taken off since."""
        then, now = dict(self._wanted.services), dict(self._running.services)
        units = {unit for unit, what in now.items() if what == "off" and then.get(unit) != "off"}
        return tuple(state for state in self._originals.services if state.unit in units)

    def refusals(self) -> tuple[str, ...]:
        """Files that somebody edited where the way back changes them, too."""
        return tuple(self._conflicts)

    def _paths(self) -> list[str]:
        boot = {path for generation in (self._running, self._wanted) for path, _ in generation.boot}
        return sorted({path for texts in self._ours.values() for path in texts} - boot)

    def _change(self, path: str) -> FileChange | None:
        now = self._machine.files.read_guarded(path)
        base = self._ours[self._running.number].get(path, self._original(path))
        wanted = self._ours[self._wanted.number].get(path, self._original(path))
        if now == wanted:
            return None
        if wanted is None or now is None or now == base:
            return FileChange(path, now, wanted or "", gone=wanted is None)
        merged = merge(base or "", now, wanted)
        if merged is None:
            self._conflicts.append(
                f"{path} was edited since where the way back changes it too: put it right by hand first"
            )
            return None
        return None if merged == now else FileChange(path, now, merged)

    def _original(self, path: str) -> str | None:
        for snapshot in self._originals.snapshots:
            if snapshot.path == path and snapshot.existed:
                return a2b_base64(snapshot.content).decode("utf-8", "surrogateescape")
        return None


def _mode(path: str) -> int:
    if path == SCRIPT_PATH:
        return 0o755
    return 0o700 if path.endswith(".sh") else 0o600 if path.endswith((".nft", ".v4", ".v6")) else 0o644
