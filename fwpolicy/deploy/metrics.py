"""A host's state for Prometheus: what `status` finds, as numbers."""

from __future__ import annotations

from calendar import timegm
from time import strptime

from fwpolicy import VERSION
from fwpolicy.deploy.exposition import exposition, family
from fwpolicy.deploy.journal import pending
from fwpolicy.deploy.provenance import last_seen
from fwpolicy.deploy.said import policy, said
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import KINDS
from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.deploy.exposition import Sample
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.state import Generation
    from fwpolicy.deploy.status import Status

# Of metrics that every host has: what is 0 or 1, a number, or a moment.
_OF_HOST = {
    "fwpolicy_applied": "Whether a policy was ever applied here.",
    "fwpolicy_in_force": "Whether the rules that were applied are the ones that are loaded.",
    "fwpolicy_boot_ok": "Whether the rules will be there after a reboot.",
    "fwpolicy_open": "Whether somebody has taken the rules out of the way (fwpolicy open).",
    "fwpolicy_waiting_for_confirmation": "Whether an apply waits for its confirm.",
    "fwpolicy_status_timestamp_seconds": "When this was looked at.",
}


def metrics(status: Status, machine: Machine, now: int) -> str:
    """The text format, of a host as it was looked at `now` (Unix time)."""
    state = State(machine)
    lines: list[str] = []
    for name, value in _of_host(status, state, now).items():
        lines += family(name, "gauge", _OF_HOST[name], [({}, value)])
    text = "How many things differ from what was applied, by kind."
    lines += family("fwpolicy_differences", "gauge", text, _differences(status))
    if status.generation is not None:
        lines += _of_generation(status.generation, state, now)
    lines += _of_bundle(machine)
    return exposition(lines)


def _of_host(status: Status, state: State, now: int) -> dict[str, int]:
    kinds, opened = dict(status.kinds), state.opened() is not None
    applied = status.generation is not None
    entry = pending(state)
    return {
        "fwpolicy_applied": int(applied),
        "fwpolicy_in_force": int(applied and not opened and not kinds.get("rules")),
        "fwpolicy_boot_ok": int(bool(status.generation and status.generation.boot) and not kinds.get("boot")),
        "fwpolicy_open": int(opened),
        "fwpolicy_waiting_for_confirmation": int(entry is not None and entry.waits and not entry.is_over()),
        "fwpolicy_status_timestamp_seconds": now,
    }


def _differences(status: Status) -> Iterator[Sample]:
    found = dict(status.kinds)
    return (({"kind": kind}, found.get(kind, 0)) for kind in KINDS)


def _of_generation(generation: Generation, state: State, now: int) -> Iterator[str]:
    name = {"policy": generation.policy}
    labels = {**name, "backend": generation.backend, "version": VERSION, "applied_by": generation.tool}
    text = "What is in force: the policy, the backend, this version and that which applied it."
    yield from family("fwpolicy_info", "gauge", text, [(labels, 1)])
    yield from family(
        "fwpolicy_generation", "gauge", "The number of the apply in force.", [(name, generation.number)]
    )
    text = "When what is in force was applied."
    applied = timegm(strptime(generation.time, "%Y-%m-%dT%H:%M:%SZ"))
    yield from family("fwpolicy_apply_timestamp_seconds", "gauge", text, [(name, applied)])
    text = "When a line of the policy ends; fwpolicy_line_info of `counters` says which line."
    samples = _expiring(generation, state, now)
    known = [(name, int(samples is not None))]
    yield from family("fwpolicy_line_expires_timestamp_seconds", "gauge", text, samples or ())
    text = "Whether the policy that was applied is still there to be read: without it no line expires here."
    yield from family("fwpolicy_policy_readable", "gauge", text, known)


def _expiring(generation: Generation, state: State, now: int) -> list[Sample] | None:
    """The lines that end; None where the policy cannot be read any more."""
    kept = said(state, generation.number)
    found = policy(kept, now) if kept else None
    if found is None:
        return None
    counters = {(line.file, line.line): line.counter for line in generation.lines}
    samples: dict[tuple[str, ...], tuple[Mapping[str, str], int]] = {}
    for rule in (rule for section in found.sections for rule in (*section.block, *section.allow)):
        if rule.expires is not None:
            counter = counters.get((rule.origin.file, rule.origin.line), "")
            labels = {"counter": counter, "owner": rule.owner or "", "ticket": rule.ticket or ""}
            key = tuple(labels.values())
            first = min(rule.expires, samples[key][1]) if key in samples else rule.expires
            samples[key] = {"policy": generation.policy, **labels}, first
    return list(samples.values())


def _of_bundle(machine: Machine) -> Iterator[str]:
    """The newest bundle that has counted here, if one has."""
    text = "Whether what is remembered of the newest bundle can be read: without it none is taken."
    try:
        seen = last_seen(machine)
    except HostError:
        yield from family("fwpolicy_bundle_readable", "gauge", text, [({}, 0)])
        return
    if seen is None:
        return
    yield from family("fwpolicy_bundle_readable", "gauge", text, [({}, 1)])
    text = "The number of the newest bundle that has counted here."
    yield from family("fwpolicy_bundle_sequence", "gauge", text, [({}, seen.sequence)])
    text = "The commit of that bundle."
    yield from family("fwpolicy_bundle_info", "gauge", text, [({"commit": seen.commit}, 1)])
