"""What became of a unit, as plain values: it can be kept in a file, and sent from one process to another."""

from __future__ import annotations

import json

from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Problem


@record
class Place:
    """A file's name, and a line and column of it."""

    file: str
    line: int
    column: int


@record
class Finding:
    """A problem as it is told: `rendered` is all of it, with its source line."""

    severity: str
    message: str
    at: Place | None
    hint: str | None
    rendered: str


@record
class Outcome:
    """What became of a unit. `exit_code` is 0, or that of what failed, which `message` says and, where the
    policy's text is wrong, `findings`; they are warnings where nothing failed.

    `artifacts`: (name, text, mode). `read`: the digest of each file that was read. `day`: the day (since
    1970) on which this was so, None where it is so on every day.
    """

    policy: str
    exit_code: int
    message: str
    findings: tuple[Finding, ...]
    tests: int
    artifacts: tuple[tuple[str, str, int], ...]
    read: dict[str, str]
    day: int | None


def finding(problem: Problem) -> Finding:
    span = problem.span
    place = Place(span.file, span.line, span.column) if span else None
    return Finding(problem.severity, problem.message, place, problem.hint, problem.render())


def to_bytes(outcome: Outcome) -> bytes:
    """For from_bytes."""
    plain = {name: getattr(outcome, name) for name in outcome.__slots__}  # type: ignore[attr-defined]
    plain["findings"] = [_of_finding(each) for each in outcome.findings]
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_bytes(data: bytes) -> Outcome | None:
    """The outcome; None where the bytes are none: cut short, say."""
    try:
        plain = json.loads(data.decode("utf-8", "surrogatepass"))
        plain["findings"] = tuple(_finding(*each) for each in plain["findings"])
        plain["artifacts"] = tuple((name, text, mode) for name, text, mode in plain["artifacts"])
        return Outcome(**plain)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _of_finding(each: Finding) -> list[object]:
    at = [each.at.file, each.at.line, each.at.column] if each.at else None
    return [each.severity, each.message, at, each.hint, each.rendered]


def _finding(
    severity: str, message: str, at: list[object] | None, hint: str | None, rendered: str
) -> Finding:
    return Finding(severity, message, Place(*at) if at else None, hint, rendered)  # type: ignore[arg-type]
