"""A plan on paper: what was shown, and all that it was made from, so that nothing else is ever applied.

An apply of a saved plan plans anew and compares: it goes on only where policy, host and what would be done
are the same as then. Connections and listeners come and go, and are no part of it.
"""

from __future__ import annotations

import json

from fwpolicy import VERSION
from fwpolicy.deploy.state import digest
from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from fwpolicy.deploy.changes import FileChange
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan

FORMAT = 1
# A saved plan begins so; no policy does, whose first key is one of the language's.
HEAD = '{\n "fwpolicy-plan": '
_FILE = "file "
_SENTENCES = {
    "rules": "our rules were changed",
    "foreign": "other tools' chains were changed",
    "servers": "the time daemon asks other servers",
    "services": "units were started, stopped, enabled or disabled",
    "outcome": "what would be done now is not what was shown",
}


@record
class SavedPlan:
    """`policy`: the operands, absolute but for shipped names; `sources`: file -> SHA-256 of all that was read
    for it; `options`: of plan and of the machine, by name; `facts`: of facts_of; `shown`: the report."""

    time: str
    tool: str
    policy: tuple[str, ...]
    sources: Mapping[str, str]
    options: Mapping[str, Any]
    facts: Mapping[str, str]
    shown: Mapping[str, Any]


def facts_of(plan: Plan, machine: Machine) -> dict[str, str]:
    """What of the host the plan rests on, each as a digest or a word."""
    seen = plan.survey
    around = [[*map(str, seen.foreign)], seen.nat, seen.notrack, seen.legacy]
    states = [str(daemon.state) for daemon in plan.daemons] + [*map(str, plan.revived)]
    facts = {
        "rules": digest(f"{seen.listing}{seen.strange}{seen.unreadable}"),
        "foreign": digest(json.dumps(around)),
        "generation": str(plan.current.number if plan.current else 0),
        "servers": " ".join(plan.facts.servers.prefixes()) if plan.facts.servers else "",
        "services": digest(json.dumps([*states, plan.enable_boot])),
        "outcome": digest(json.dumps(_outcome(plan))),
    }
    files = {change.path: change.before for change in _changes(plan)}
    files |= {daemon.main: machine.files.read(daemon.main) for daemon in plan.daemons if daemon.main}
    return facts | {f"{_FILE}{path}": digest(text or "") for path, text in files.items()}


def _changes(plan: Plan) -> Iterator[FileChange]:
    yield from (change for daemon in plan.daemons for change in daemon.changes)
    yield from plan.returned
    yield from plan.boot


def _outcome(plan: Plan) -> list[object]:
    files = sorted((change.path, change.after, change.gone) for change in _changes(plan))
    ways = [(way.artifact.text if way.artifact else "", way == plan.loads[0]) for way in plan.loads]
    units = [plan.restarts, plan.stops, [state.unit for state in plan.revived]]
    return [plan.policy.name, *(each.text for each in plan.texts), ways, files, units]


def to_text(saved: SavedPlan) -> str:
    """JSON; `of_text` reads it."""
    fields = {
        "fwpolicy-plan": FORMAT,
        "time": saved.time,
        "tool": saved.tool,
        "policy": list(saved.policy),
        "sources": dict(saved.sources),
        "options": dict(saved.options),
        "facts": dict(saved.facts),
        "shown": dict(saved.shown),
    }
    return json.dumps(fields, indent=1) + "\n"


def is_one(data: bytes) -> bool:
    return data.startswith(HEAD.encode())


def of_text(name: str, data: bytes) -> SavedPlan:
    """Raises HostError: damaged, of another format or another version of the tool."""
    try:
        found = json.loads(data)
        if found["fwpolicy-plan"] != FORMAT:
            raise HostError(f"{name} is a plan of format {found['fwpolicy-plan']}, not {FORMAT}")
        saved = SavedPlan(
            _text(found["time"]),
            _text(found["tool"]),
            tuple(_text(each) for each in found["policy"]),
            _texts(found["sources"]),
            _options(found["options"]),
            _texts(found["facts"]),
            dict(found["shown"]),
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise HostError(f"{name}: this saved plan is damaged: {error!r}") from None
    if saved.tool != VERSION:
        raise HostError(f"{name} was made by fwpolicy {saved.tool}, this is {VERSION}; make a new plan")
    return saved


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _options(value: Any) -> dict[str, str | bool | None]:
    for each in value.values():
        if each is not None and not isinstance(each, bool | str):
            raise TypeError(f"{each!r} is no option's value")
    return dict(value)


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(each) for key, each in value.items()}


def require_same(name: str, saved: SavedPlan, sources: Mapping[str, str], facts: Mapping[str, str]) -> None:
    """Raises HostError where the policy's `sources` or the host's `facts` are not those that were saved."""
    policy = [_changed(path, saved.sources, sources) for path in _differing(saved.sources, sources)]
    if policy:
        raise _moved(name, saved, "policy", policy)
    host = [_sentence(key, saved.facts, facts) for key in _differing(saved.facts, facts)]
    if host:
        # What follows from another cause is not told as one of its own.
        raise _moved(name, saved, "host", [each for each in host if each != _SENTENCES["outcome"]] or host)


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [key for key in dict.fromkeys((*then, *now)) if then.get(key) != now.get(key)]


def _changed(path: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if path not in now:
        return f"{path} is no longer a part of it"
    return f"{path} was changed" if path in then else f"{path} was not a part of it"


def _sentence(key: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if key == "generation":
        said = {"0": "nothing", None: "nothing"}
        before, after = (
            said.get(each, f"generation {each}") for each in (then.get(key, "0"), now.get(key, "0"))
        )
        return f"{after} is in force, not {before}"
    return _SENTENCES.get(key) or f"{key.removeprefix(_FILE)} was changed"


def _moved(name: str, saved: SavedPlan, what: str, why: list[str]) -> HostError:
    return HostError(
        f"{name}: the {what} has moved on since this plan was made ({saved.time}): {'; '.join(why)}; "
        "make a new plan"
    )
