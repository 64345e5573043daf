"""What hosts have said of themselves: reports of `status`, `counters` and `probe`, collected in a folder.

Nothing here is believed longer than it can be known: a report that is missing, wrong, from the future or
older than asked for says nothing.
"""

from __future__ import annotations

import json
from calendar import timegm
from time import strptime

from fwpolicy.record import record
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

STATUS, COUNTERS, PROBE = "status", "counters", "probe"
# As what is said of each begins.
KINDS = {STATUS: ("the status is", "no status was"), COUNTERS: ("the counters are", "no counters were")}
KINDS[PROBE] = ("the probe is", "no probe was")
HOUR, DAY = 3600, 86400
# Clocks differ by so much; more is a wrong one.
_AHEAD = 300
# Probes are sent by hand, or seldom.
PROBE_AGE = 31 * DAY


@record
class Status:
    """`drift`: (what differs, lines below it). `commit`, `sequence` and `host` are those of the bundle that
    it came in: "" and None where none was told."""

    applied: bool
    policy: str
    generation: int | None
    time: str
    drift: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]
    commit: str
    sequence: int | None
    host: str = ""


@record
class Count:
    """What a line of the policy has counted; `packets` is None where it is not in force."""

    file: str
    line: int
    text: str
    id: str
    counter: str
    packets: int | None


@record
class Probed:
    """One address and the verdict on it: OPEN, CLOSED or INCONCLUSIVE, with a sentence."""

    address: str
    verdict: str
    reason: str
    factor: float


@record
class Heard:
    """One report of a host: `said` is None where nothing is known, and `why` says so. `at`: Unix time."""

    said: Any
    at: int | None = None
    why: str = ""


@record
class Facts:
    """What is known of one host."""

    status: Heard
    counters: Heard
    probe: Heard


MISSING = Facts(*(Heard(None, None, f"{none} collected") for _, none in KINDS.values()))


class FactError(ValueError):
    """A report that is none; the message says why."""


def facts_of(files: Iterable[tuple[str, bytes]], now: int, oldest: int) -> Facts:
    """What the files of one host say at `now`. `oldest`: how many seconds status and counters count."""
    found = {kind: Heard(None, None, f"{none} collected") for kind, (_, none) in KINDS.items()}
    broken = ""
    for name, data in files:
        try:
            for kind, report in _reports(data):
                found[kind] = _heard(kind, report, now, PROBE_AGE if kind == PROBE else oldest)
        except FactError as error:
            broken = f"{name}: {error}"
    if broken:
        found = {
            kind: each if each.at is not None else Heard(None, None, broken) for kind, each in found.items()
        }
    return Facts(found[STATUS], found[COUNTERS], found[PROBE])


def _reports(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The reports of one file, one after the other, each known by its keys."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FactError(f"not UTF-8 at byte {error.start}") from None
    decoder, place = json.JSONDecoder(), _next(text, 0)
    if place == len(text):
        raise FactError("the file is empty")
    while place < len(text):
        try:
            report, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise FactError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
        except RecursionError:
            raise FactError("nested too deep") from None
        yield _kind(report), report
        place = _next(text, place)


def _next(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _kind(report: object) -> str:
    if isinstance(report, dict):
        for kind, key in ((STATUS, "drift"), (COUNTERS, "counters"), (PROBE, "probes")):
            if key in report:
                return kind
    raise FactError("neither of status, counters or probe, as --json prints them")


def _heard(kind: str, report: Mapping[str, Any], now: int, oldest: int) -> Heard:
    at = _time(report.get("at"))
    said, _ = KINDS[kind]
    if at is None:
        return Heard(None, None, f"{said} without the time at which it was taken")
    if at > now + _AHEAD:
        return Heard(None, at, f"{said} from the future")
    if at < now - oldest:
        return Heard(None, at, f"{said} {age(now - at)} old")
    try:
        return Heard({STATUS: _status, COUNTERS: _counters, PROBE: _probe}[kind](report), at)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FactError(f"{said} damaged") from None


def age(seconds: int) -> str:
    """In the largest unit that is not too coarse."""
    for size, unit in ((DAY, "day"), (HOUR, "hour"), (60, "minute")):
        if seconds >= 2 * size or (size == 60 and seconds >= size):
            return counted(seconds // size, unit)
    return f"{max(seconds, 0)} seconds"


def _time(value: object) -> int | None:
    try:
        return timegm(strptime(value, "%Y-%m-%dT%H:%M:%SZ")) if isinstance(value, str) else None
    except ValueError:
        return None


def applied_at(status: Status) -> int | None:
    """When what is in force was applied (Unix time)."""
    return _time(status.time)


def _status(report: Mapping[str, Any]) -> Status:
    came = report.get("provenance") or {}
    return Status(
        _is(bool, report["applied"]),
        _text(report["policy"]),
        None if report["generation"] is None else _is(int, report["generation"]),
        _text(report["time"]),
        tuple((_is(str, each["what"]), _texts(each["detail"])) for each in _is(list, report["drift"])),
        _texts(report["notes"]),
        _text(came.get("commit")),
        None if came.get("sequence") is None else _is(int, came["sequence"]),
        _text(came.get("host")),
    )


def _counters(report: Mapping[str, Any]) -> tuple[Count, ...]:
    return tuple(
        Count(
            _text(each["file"]),
            each["line"] if isinstance(each["line"], int) else 0,
            _text(each["text"]),
            _text(each["id"]),
            _is(str, each["counter"]),
            None if each["packets"] is None else _is(int, each["packets"]),
        )
        for each in _is(list, report["counters"])
    )


def _probe(report: Mapping[str, Any]) -> tuple[Probed, ...]:
    hosts = _is(list, report["hosts"])
    return tuple(
        Probed(
            _is(str, each["address"]),
            _one_of(("OPEN", "CLOSED", "INCONCLUSIVE"), each["verdict"]),
            _is(str, each["reason"]),
            float(each["max_factor"]),
        )
        for each in hosts
    )


def _is(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _one_of(words: tuple[str, ...], value: object) -> str:
    if value not in words:
        raise ValueError
    return str(value)


def _text(value: object) -> str:
    return "" if value is None else str(_is(str, value))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_is(str, each) for each in _is(list, value))
