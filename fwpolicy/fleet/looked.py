"""All that a report tells of one unit, as plain values: worked out in one process, told in another."""

from __future__ import annotations

import json

from fwpolicy.errors import FwpolicyError
from fwpolicy.fleet.flows import Cell, Flow, flows
from fwpolicy.fleet.openings import Opening, openings
from fwpolicy.fleet.telling import line_of
from fwpolicy.model.of_policy import of_policy
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from fwpolicy.fleet.places import Place
    from fwpolicy.fleet.unit import Reading
    from fwpolicy.policy.model import NtpRole, Policy, Rule
    from fwpolicy.policy.vocabulary import Vocabulary


@record
class Line:
    """A line of a policy that does not hold for ever (`expires`: Unix time), or not for all that it names
    (`holes`)."""

    at: str
    text: str
    hook: str
    verdict: str
    owner: str
    ticket: str
    expires: int | None
    holes: int


@record
class Looked:
    """`defaults`: of each section that there is; `ntp`: the role's mode, "" without one, and `asks`: whom it
    asks. `failure`: why nothing more is known, "" else."""

    policy: str
    description: str
    defaults: tuple[tuple[str, str], ...]
    ntp: str
    asks: str
    flows: tuple[Flow, ...]
    openings: tuple[Opening, ...]
    lines: tuple[Line, ...]
    failure: str = ""


def look(policy: Policy, names: Vocabulary, places: Sequence[Place], reading: Reading, now: int) -> Looked:
    """Everything, at `now` (Unix time)."""
    failure = ""
    found: tuple[Flow, ...] = ()
    risky: tuple[Opening, ...] = ()
    try:
        found = tuple(flows(policy, names, places, now))
        risky = tuple(openings(policy, of_policy(policy), names, reading, now))
    except FwpolicyError as error:
        failure = str(error)
    return Looked(
        policy.name,
        policy.description,
        tuple((section.hook, section.default) for section in policy.sections),
        policy.ntp.mode if policy.ntp else "",
        _asks(policy.ntp) if policy.ntp else "",
        found,
        risky,
        tuple(_lines(policy, reading)),
        failure,
    )


def _asks(role: NtpRole) -> str:
    if role.mode == "closed":
        return "nobody"
    if role.from_daemon:
        return "its daemon's own servers"
    return role.servers_group or ("anybody" if role.servers is None else "servers of its own")


def _lines(policy: Policy, reading: Reading) -> Iterator[Line]:
    for section in policy.sections:
        for rule in (*section.block, *section.allow):
            if rule.expires is not None or rule.holes:
                yield _line(section.hook, rule, reading)


def _line(hook: str, rule: Rule, reading: Reading) -> Line:
    span = rule.origin
    text, at = line_of(span, reading).strip(), f"{span.file}:{span.line}"
    owner, ticket = rule.owner or "", rule.ticket or ""
    return Line(at, text, hook, rule.verdict, owner, ticket, rule.expires, len(rule.holes))


def to_bytes(looked: Looked) -> bytes:
    """For from_bytes."""
    plain = _values(looked)
    plain["flows"] = [[*_values(flow).values()] for flow in looked.flows]
    for flow in plain["flows"]:
        flow[-1] = [[*_values(cell).values()] for cell in flow[-1]]
    plain["openings"] = [[*_values(each).values()] for each in looked.openings]
    plain["lines"] = [[*_values(each).values()] for each in looked.lines]
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_bytes(data: bytes) -> Looked | None:
    """What was looked at; None where the bytes are none."""
    try:
        plain = json.loads(data.decode("utf-8", "surrogatepass"))
        plain["defaults"] = tuple((hook, default) for hook, default in plain["defaults"])
        plain["flows"] = tuple(_flow(*each) for each in plain["flows"])
        plain["openings"] = tuple(_opening(*each) for each in plain["openings"])
        plain["lines"] = tuple(Line(*each) for each in plain["lines"])
        return Looked(**plain)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _values(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}  # type: ignore[attr-defined]


def _flow(hook: str, start: str, service: str, ports: str, cells: list[Any]) -> Flow:
    found = (Cell(extent, tuple(words), limited) for extent, words, limited in cells)
    return Flow(hook, start, service, ports, tuple(found))


def _opening(level: int, risks: list[str], hook: str, classes: list[str], by: str, at: str) -> Opening:
    return Opening(level, tuple(risks), hook, tuple(classes), by, at)
