"""What apply would do here: gathered and compared, nothing touched."""

from __future__ import annotations

from fwpolicy.addresses import format_address
from fwpolicy.compiler.compile import compile_timeservice
from fwpolicy.compiler.facts import Facts
from fwpolicy.deploy.backend import AUTO, NFT, chosen
from fwpolicy.deploy.changes import FileChange
from fwpolicy.deploy.drift import IGNORE, Runner, is_turned, runner, unasked
from fwpolicy.deploy.foreign import interference, order, title
from fwpolicy.deploy.handback import returned_files, revived_services
from fwpolicy.deploy.machine import Machine
from fwpolicy.deploy.provenance import of_another_host
from fwpolicy.deploy.servers import known_servers, sources_of, unreachable, without_dns
from fwpolicy.deploy.starters import UNIT
from fwpolicy.deploy.state import Generation, Originals, State
from fwpolicy.errors import HostError
from fwpolicy.host.services import NoServices
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from fwpolicy.artifact import Artifact
    from fwpolicy.backends.nft.reload import Load
    from fwpolicy.deploy.backend import Rules
    from fwpolicy.deploy.provenance import Provenance
    from fwpolicy.deploy.said import Said
    from fwpolicy.deploy.survey import Survey
    from fwpolicy.deploy.timeservice import DaemonPlan
    from fwpolicy.host.conntrack import Flow
    from fwpolicy.host.operator import Operator
    from fwpolicy.host.services import ServiceState
    from fwpolicy.ir.ruleset import Ruleset
    from fwpolicy.ir.timeservice import TimeService
    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

    T = TypeVar("T")


@record
class Options:
    """How to apply: without the boot unit (`persist`), without daemons, replacing another policy, without
    proofs (`prove`), even if `operator` were locked out (`force`; None: nobody is connected over SSH);
    `backend`: by which (backend.py); `said`: all that the policy was read of; `came`: who signed that;
    `told`: is anybody told of the connections that it would end? An apply looks at them again."""

    persist: bool = True
    daemon: bool = True
    replace: bool = False
    prove: bool = True
    force: bool = False
    operator: Operator | None = None
    said: Said | None = None
    backend: str = AUTO
    came: Provenance | None = None
    told: bool = True


@record
class Plan:
    """Everything that apply would do. `refusals`: why it would not, each a sentence.

    `rules` loads them; `texts` are what boots, `loads` the ways to bring it about here and now, the first
    that the kernel takes. `returned`, `revived`: files and services that an earlier policy changed and this
    one gives back. `emitted`: the texts as the packet model reads them, proved to do what the policy says;
    None where no proof is wanted. `again`: the earlier generation that this is the way back to.
    """

    policy: Policy
    options: Options
    facts: Facts
    rules: Rules
    ruleset: Ruleset
    texts: tuple[Artifact, ...]
    emitted: Program | None
    loads: tuple[Load, ...]
    survey: Survey
    rules_changed: bool
    daemons: tuple[DaemonPlan, ...]
    returned: tuple[FileChange, ...]
    revived: tuple[ServiceState, ...]
    boot_files: tuple[Artifact, ...]
    boot: tuple[FileChange, ...]
    enable_boot: bool
    purge: tuple[Flow, ...]
    losing: tuple[str, ...]
    current: Generation | None
    notes: tuple[str, ...]
    refusals: tuple[str, ...]
    again: Generation | None = None

    @property
    def artifact(self) -> Artifact:
        """The rules, where they are one text; else the first of them."""
        return self.texts[0]

    @property
    def leaves(self) -> str:
        """The backend whose rules go, as this one's come; "" where it is the same."""
        before = self.current.backend if self.current else self.rules.name
        return "" if before == self.rules.name else before

    @property
    def restarts(self) -> tuple[str, ...]:
        """Units to restart: what waits in a daemon's socket when the rules arrive is never answered."""
        if self.returned and self.current:
            return tuple(unit for unit, what in self.current.services if what == "on")
        return tuple(
            daemon.state.unit
            for daemon in self.daemons
            if daemon.state
            and daemon.state.active
            and not daemon.stop
            and (self.rules_changed or daemon.changes or self.current is None)
        )

    @property
    def stops(self) -> tuple[str, ...]:
        """Units that the role takes off."""
        return tuple(daemon.state.unit for daemon in self.daemons if daemon.stop and daemon.state)

    @property
    def foreign(self) -> tuple[str, ...]:
        """What other tools' chains on our hooks can mean for ours, as far as their words tell."""
        return tuple(
            f"{title(chain, when)} {'; '.join(interference(chain, when))}"
            for chain in self.survey.foreign
            if not chain.idle
            for when in (order(chain, self.ruleset),)
        )

    @property
    def changed(self) -> bool:
        """Does the host differ from what the policy says?"""
        return (
            self.rules_changed
            or any(daemon.changed for daemon in self.daemons)
            or bool(self.returned or self.revived or self.boot)
            or self.enable_boot
            or self.current is None
            or bool(self.current.damaged)
            or self.current.policy != self.policy.name
            or self.current.backend != self.rules.name
            or self.current.texts != tuple((each.name, each.text) for each in self.texts)
        )


def make_plan(policy: Policy, machine: Machine, options: Options) -> Plan:
    """Compare `policy` with `machine`. Reads only; raises HostError where even that is impossible, and
    CheckFailedError where what was compiled does not do what the policy says."""
    state = State(machine)
    current = _current(state)
    rules = chosen(options.backend, policy.backends, current, machine)
    seen = rules.survey(machine, current)
    service = compile_timeservice(policy) if options.daemon else None
    originals = _originals(state)
    revived = revived_services(current, originals, service) if options.daemon else ()
    daemons, daemon_notes = _daemons(service, policy, machine, revived)
    sources = sources_of(daemons)
    servers, source_notes = known_servers(policy, sources)
    facts = Facts(nat=seen.nat, servers=servers)
    wanted = rules.wanted(policy, facts, seen, current, options.prove)
    purge, losing, flow_notes = _connections(policy, machine, facts, rules) if options.told else ((), (), ())
    drift = runner(policy.apply.drift, machine) if options.persist else Runner()
    boots, boot_notes = _boot_files(policy, machine, options, rules, drift.program)
    out_notes, out_refusals = lock_out(policy, facts, options, machine) if wanted.changed else ((), ())
    plan_notes = (
        *_chain_notes(policy, seen, rules),
        *source_notes,
        *unreachable(policy, sources),
        *daemon_notes,
        *flow_notes,
        *boot_notes,
        *out_notes,
    )
    return Plan(
        policy=policy,
        options=options,
        facts=facts,
        rules=rules,
        ruleset=wanted.ruleset,
        texts=wanted.texts,
        emitted=wanted.emitted,
        loads=wanted.loads,
        survey=seen,
        rules_changed=wanted.changed,
        daemons=daemons,
        returned=returned_files(current, originals, service, machine.files) if options.daemon else (),
        revived=revived,
        boot_files=boots,
        boot=boot_changes(boots, machine),
        enable_boot=boot_is_off(boots, policy.apply.drift, machine),
        purge=purge,
        losing=losing,
        current=current,
        notes=plan_notes,
        refusals=(
            *_another_backend(current, rules, options),
            *((seen.strange,) if seen.strange and rules.name != NFT else ()),
            *_refusals(policy, current, options, seen, daemons),
            *without_dns(policy, sources, machine.files),
            *_without_forwarding(policy, machine),
            *unasked(machine, policy.apply.drift, drift),
            *out_refusals,
        ),
    )


def _daemons(
    service: TimeService | None, policy: Policy, machine: Machine, revived: tuple[ServiceState, ...]
) -> tuple[tuple[DaemonPlan, ...], tuple[str, ...]]:
    """(a plan for each time daemon in use, notes)."""
    if service is None:
        return (), ()
    from fwpolicy.deploy.timeservice import plan_daemons  # noqa: PLC0415

    units = frozenset(each.unit for each in revived)
    return plan_daemons(service, policy.apply.daemon_config, machine, units)


def _current(state: State) -> Generation | None:
    return _unless_forbidden(state.running, None)


def _originals(state: State) -> Originals:
    return _unless_forbidden(state.originals, Originals())


def _unless_forbidden(read: Callable[[], T], otherwise: T) -> T:
    """The state directory is root's alone (0700); a plan without root still shows the rest."""
    try:
        return read()
    except HostError as error:
        if "ermission denied" in str(error):
            return otherwise
        raise


def _chain_notes(policy: Policy, seen: Survey, rules: Rules) -> tuple[str, ...]:
    notes: list[str] = []
    if seen.unreadable:
        notes.append(f"the live ruleset was not looked at: {seen.unreadable}")
    if seen.strange and rules.name == NFT:
        notes.append(f"{seen.strange}; the table is replaced whole")
    if seen.nat and policy.ntp:
        notes.append(
            "NAT on this host: what is dropped is dropped at the input hook, not before connection tracking"
        )
    if seen.notrack and (policy.ntp or policy.sections):
        notes.append("a foreign notrack rule: replies that are not tracked do not pass as established")
    if seen.legacy:
        notes.append(f"foreign: iptables-legacy tables in use: {', '.join(seen.legacy)}; nft cannot see them")
    return tuple(notes)


def _connections(
    policy: Policy, machine: Machine, facts: Facts, rules: Rules
) -> tuple[tuple[Flow, ...], tuple[str, ...], tuple[str, ...]]:
    """(entries to delete, clients that lose their time server, notes)."""
    from fwpolicy.deploy import purge  # noqa: PLC0415

    if not machine.live or not purge.denies_anything(policy):
        return (), (), ()
    from fwpolicy.deploy.flows import losing_clients  # noqa: PLC0415
    from fwpolicy.host.conntrack import flows  # noqa: PLC0415

    try:
        every = flows()
        if not every:
            return (), (), ()
        scene = purge.scene_of(policy, machine, rules.members)
        found = purge.look(policy, scene, facts.servers, every)
        losing = losing_clients(policy, every, scene, facts.servers)
    except HostError as error:
        return (), (), (f"connections were not looked at: {error}",)
    shown = tuple(format_address(family, address) for family, address in losing)
    return found.condemned, shown, found.notes


def _boot_files(
    policy: Policy, machine: Machine, options: Options, rules: Rules, program: str
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """(what loads the rules at boot, notes); nothing where no init system would run it."""
    if not options.persist:
        return (), ()
    if isinstance(machine.services, NoServices):
        return (), ("no init system here: the rules will not survive a reboot",)
    notes = rules.boot_notes(machine)
    if policy.apply.drift != IGNORE and machine.services.init != "systemd":
        timer = f"apply: {{drift: {policy.apply.drift}}} is a timer of systemd's: nobody looks here"
        notes = (*notes, timer)
    return rules.boot_files(policy, machine.state_dir, machine.services.init, program), notes


def boot_changes(files: tuple[Artifact, ...], machine: Machine) -> tuple[FileChange, ...]:
    """Those of the files that are not there like this."""
    changes = []
    for artifact in files:
        try:
            before = machine.files.read(artifact.name)
        except HostError:
            before = None
        if before != artifact.text:
            changes.append(FileChange(artifact.name, before, artifact.text, artifact.mode))
    return tuple(changes)


def boot_is_off(files: tuple[Artifact, ...], drift: str, machine: Machine) -> bool:
    """Is the boot unit, whose `files` these are, there and not part of the boot, or the drift's timer not as
    `drift` says?"""
    if not files:
        return False
    state = machine.services.status((UNIT,))
    return (state is not None and not state.enabled) or not is_turned(drift, machine.services)


def _another_backend(current: Generation | None, rules: Rules, options: Options) -> tuple[str, ...]:
    if current is None or options.replace or current.backend == rules.name:
        return ()
    return (
        f"the rules in force here are {current.backend}'s, not {rules.name}'s; --replace takes them out as "
        "the new ones come",
    )


def _refusals(
    policy: Policy,
    current: Generation | None,
    options: Options,
    seen: Survey,
    daemons: tuple[DaemonPlan, ...],
) -> tuple[str, ...]:
    found: list[str] = []
    if current and not options.replace:
        if current.policy != policy.name:
            found.append(
                f"the policy in force here is '{current.policy}', not '{policy.name}'; "
                "--replace puts this one in its place"
            )
        found += of_another_host(current.came, options.came)
        gone = [
            hook for hook in current.sections if hook not in {section.hook for section in policy.sections}
        ]
        if gone and current.policy == policy.name:
            found.append(
                f"the section '{gone[0]}' has disappeared from the policy, which would open the host; "
                "--replace does it all the same"
            )
    if policy.apply.foreign == "refuse":
        found += [
            f"{chain} drops everything, whatever we allow; change it, or say apply: {{foreign: keep}}"
            for chain in seen.foreign
            if chain.drops_all and _allows_on(policy, chain.hook)
        ]
    found += [refusal for daemon in daemons for refusal in daemon.refusals]
    return tuple(found)


def lock_out(
    policy: Policy, facts: Facts, options: Options, machine: Machine
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(notes, refusals): why the operator of the options could not come back; nothing where he can, or
    nobody is."""
    if options.operator is None:
        return (), ()
    from fwpolicy.deploy.lockout import locked_out  # noqa: PLC0415

    out = locked_out(policy, facts.servers, options.operator, machine)
    if out is None:
        return (), ()
    return ((f"{out} (--force)",), ()) if options.force else ((), (f"{out}; --force goes on all the same",))


def _without_forwarding(policy: Policy, machine: Machine) -> tuple[str, ...]:
    """A translation that nothing is forwarded for: ip-sysctl, ip_forward."""
    setting = "/proc/sys/net/ipv4/ip_forward"
    if policy.nat is None or not machine.live or machine.files.read(setting) != "0\n":
        return ()
    return (
        "the policy translates addresses and this host does not forward: sysctl -w net.ipv4.ip_forward=1",
    )


def _allows_on(policy: Policy, hook: str) -> bool:
    """Every packet that is let in passes prerouting, and its answer postrouting."""
    if policy.ntp and policy.ntp.mode != "closed" and hook != "forward":
        return True
    everywhere = hook in ("prerouting", "postrouting")
    return any((everywhere or section.hook == hook) and section.allow for section in policy.sections)
