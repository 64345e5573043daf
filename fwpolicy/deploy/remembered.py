"""What is remembered of an apply: its generation, and the texts that a way back to it writes."""

from __future__ import annotations

from fwpolicy import VERSION
from fwpolicy.compiler.lower import lower
from fwpolicy.deploy.counters import line_texts, policy_lines
from fwpolicy.deploy.state import Generation, State, digest
from fwpolicy.host.texts import read_file
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.deploy.survey import Survey


def generation(
    plan: Plan, state: State, number: int, seen: Survey, sources: tuple[str, ...], now: str, by: str
) -> Generation:
    """The generation of this number, that `plan` made and `seen` was read back of."""
    before = plan.current
    new = Generation(
        number=number,
        policy=plan.policy.name,
        sections=tuple(section.hook for section in plan.policy.sections),
        sources=sources,
        time=now,
        tool=VERSION,
        nat=plan.facts.nat,
        files=_files(plan, before),
        services=_services(plan, before),
        boot=_boot(plan, state),
        texts=tuple((each.name, each.text) for each in plan.texts),
        listing=seen.listing,
        moment=seen.moment,
        by=by,
        before=before.number if before else None,
        backend=plan.rules.name,
        came=plan.options.came,
    )
    if plan.again is not None:
        return _like(plan.again, new, plan)
    read = _read_again(plan)
    return replace(new, lines=policy_lines(plan.policy, lower(plan.policy, plan.facts), line_texts(read)))


def _read_again(plan: Plan) -> Callable[[str], bytes]:
    """What gives a file of the policy; what was signed is in no file of this host's."""
    said = plan.options.said
    if plan.options.came is None or said is None:
        return read_file
    files = dict(said.files)
    return lambda name: files.get(name, b"")


def _like(again: Generation, new: Generation, plan: Plan) -> Generation:
    """What is known of the policy is what was known of it then; files may be merged with what was edited."""
    changes = {change.path: digest(change.after) for change in _daemon_changes(plan)}
    return replace(
        new,
        sections=again.sections,
        files=tuple((path, changes.get(path, sha)) for path, sha in again.files),
        lines=again.lines,
        again=again.number,
        came=again.came,
    )


def texts(plan: Plan, state: State, before: int | None) -> dict[str, str]:
    """What a way back to this generation writes, by path."""
    if plan.again is not None:
        return state.texts(plan.again.number)
    gone = {change.path for change in plan.returned if change.gone}
    kept = state.texts(before) if before is not None else {}
    found = {path: text for path, text in kept.items() if path not in gone}
    written = (*plan.returned, *_daemon_changes(plan))
    found |= {change.path: change.after for change in written if not change.gone}
    return found | {artifact.name: artifact.text for artifact in plan.boot_files}


def _daemon_changes(plan: Plan) -> tuple[FileChange, ...]:
    return tuple(change for daemon in plan.daemons for change in daemon.changes)


def _files(plan: Plan, before: Generation | None) -> tuple[tuple[str, str], ...]:
    given_back = {change.path for change in plan.returned}
    written = {path: sha for path, sha in (before.files if before else ()) if path not in given_back}
    written |= {change.path: digest(change.after) for change in _daemon_changes(plan)}
    return tuple(sorted(written.items()))


def _services(plan: Plan, before: Generation | None) -> tuple[tuple[str, str], ...]:
    revived = {each.unit for each in plan.revived}
    services = {unit: what for unit, what in (before.services if before else ()) if unit not in revived}
    for daemon in plan.daemons:
        if daemon.state:
            was_off = services.get(daemon.state.unit) == "off"
            services[daemon.state.unit] = "off" if daemon.stop or (was_off and not daemon.changed) else "on"
    return tuple(sorted(services.items()))


def _boot(plan: Plan, state: State) -> tuple[tuple[str, str], ...]:
    if not plan.boot_files:
        return ()
    files = ((artifact.name, artifact.text) for artifact in plan.boot_files)
    rules = ((state.path(f"current/{each.name}"), each.text) for each in plan.texts)
    return tuple((path, digest(text)) for path, text in (*files, *rules))
