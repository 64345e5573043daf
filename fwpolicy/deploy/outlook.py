"""What follows from a plan beyond what it writes: ports that close, other tools' chains, other loaders.

All of it is looked at again each time and none of it is needed to apply: only `plan` pays for it.
"""

from __future__ import annotations

from fwpolicy.backends.iptables.names import CHAINS
from fwpolicy.deploy import foreign
from fwpolicy.deploy.bootorder import Loader, hook_scripts, loaders
from fwpolicy.deploy.proof import OURS
from fwpolicy.errors import FwpolicyError, HostError
from fwpolicy.model import iptables
from fwpolicy.model.program import NotModelledError, Program
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.foreign import ForeignChain
    from fwpolicy.deploy.listeners import Fate
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.model.overlap import Overlap
    from fwpolicy.policy.model import Policy

_NOTHING = Program({})


@record
class Neighbour:
    """A foreign chain, `order` as foreign.order has it; `overlap`: what it and the policy do to each other,
    None where the model could not tell; `says`: that in sentences."""

    chain: ForeignChain
    order: str
    overlap: Overlap | None
    says: tuple[str, ...]


@record
class Outlook:
    """`fates`: of every port that somebody listens on; `notes`: what could not be looked at, and that nobody
    could open an SSH connection."""

    fates: tuple[Fate, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    loaders: tuple[Loader, ...] = ()
    notes: tuple[str, ...] = ()


def look_ahead(plan: Plan, machine: Machine, now: int) -> Outlook:
    """Evaluated at `now` (Unix time) against the rules that are in force here. A named network namespace has
    no boot of its own."""
    others = () if machine.netns else _others(plan, machine)
    boot_notes = tuple(
        f"after a reboot the rules are gone: {each.name}: {each.flushes} flushes them, after they are loaded"
        for each in others
        if each.harmful
    )
    if not machine.live:
        return Outlook(loaders=others, notes=boot_notes)
    present, unread = _present(plan)
    fates, port_notes = _fates(plan, present or _NOTHING, now)
    foreigners = iptables.without(present, CHAINS) if present else None
    neighbours = tuple(_neighbour(chain, plan, foreigners, now) for chain in plan.survey.foreign)
    return Outlook(fates, neighbours, others, (*unread, *port_notes, *boot_notes))


def _others(plan: Plan, machine: Machine) -> tuple[Loader, ...]:
    """Who else loads rules at boot, under whichever init system."""
    if machine.services.init in ("", "systemd"):
        return loaders(machine.files, plan.boot_files)
    from fwpolicy.deploy.rcorder import script_loaders  # noqa: PLC0415

    return (*script_loaders(machine.files, machine.services.init), *hook_scripts(machine.files))


def _present(plan: Plan) -> tuple[Program | None, tuple[str, ...]]:
    """(the rules in force, as the model reads them; notes)."""
    from fwpolicy.deploy.subject import live  # noqa: PLC0415

    if plan.survey.unreadable:
        return None, (_unknown("the live ruleset was not looked at"),)
    try:
        return live(), ()
    except (HostError, NotModelledError) as error:
        return None, (_unknown(str(error)),)


def _unknown(why: str) -> str:
    return f"what can be reached now is not known, every port that the policy closes is told: {why}"


def _fates(plan: Plan, before: Program, now: int) -> tuple[tuple[Fate, ...], tuple[str, ...]]:
    """(the fates, notes); nothing closes where the rules stay as they are."""
    from fwpolicy.deploy.listeners import fates  # noqa: PLC0415
    from fwpolicy.model.of_policy import of_policy  # noqa: PLC0415
    from fwpolicy.model.pairing import paired  # noqa: PLC0415

    if not plan.rules_changed:
        return (), ()
    after = of_policy(plan.policy, plan.facts.servers)
    try:
        found = fates(paired(before, after, f"{OURS} ", lambda _: None), after, now)
    except NotModelledError as error:
        return (), (f"listening ports were not judged: {error}",)
    return found, tuple(
        f"nobody could open an SSH connection to this host: {each.who} listens on {each.what}, "
        "and the policy lets nobody in"
        for each in found
        if each.closed and _is_ssh(each)
    )


def _is_ssh(fate: Fate) -> bool:
    """By the program; systemd itself may hold the socket of port 22."""
    return fate.protocol == "tcp" and (
        any(program.startswith("sshd") for program in fate.programs) or fate.port == 22
    )


def _neighbour(chain: ForeignChain, plan: Plan, present: Program | None, now: int) -> Neighbour:
    order = foreign.order(chain, plan.ruleset)
    found = None if present is None or chain.idle else _overlap(chain, plan, present, now)
    return Neighbour(chain, order, found, _said(chain, found, order, _decides(plan.policy, chain.hook)))


def _overlap(chain: ForeignChain, plan: Plan, present: Program, now: int) -> Overlap | None:
    from fwpolicy.model.of_policy import of_policy  # noqa: PLC0415
    from fwpolicy.model.overlap import overlap  # noqa: PLC0415

    if chain.name not in present.chains:
        return None
    try:
        return overlap(of_policy(plan.policy, plan.facts.servers), present, chain.name, now)
    except FwpolicyError:
        return None


def _decides(policy: Policy, hook: str) -> bool:
    """Whether the policy says of every packet there what becomes of it; a role leaves most to others."""
    hooks = {section.hook for section in policy.sections}
    passed = {"prerouting": {"input", "forward"}, "postrouting": {"output", "forward"}}.get(hook, {hook})
    return bool(hooks & passed)


def _said(chain: ForeignChain, found: Overlap | None, order: str, decides: bool) -> tuple[str, ...]:
    if found is None:
        return foreign.interference(chain, order)
    static = foreign.verdicts(chain, order)
    says = [foreign.UNTRACKS] if chain.untracks else []
    if chain.drops and not decides:
        says.append(static)
    elif found.taken:
        says.append(f"drops what this policy lets through: {_listed(found.taken)}")
    elif chain.drops:
        says.append("drops nothing that this policy lets through")
    if found.refused:
        says.append(f"accepts what this policy drops, and it stays dropped: {_listed(found.refused)}")
    return tuple(says) or (static,)


def _listed(classes: tuple[str, ...]) -> str:
    from fwpolicy.model.overlap import MOST  # noqa: PLC0415

    more = "; ..." if len(classes) > MOST else ""
    return "; ".join(classes[:MOST]) + more
