"""What a report tells of hosts and lines: drift, lines that expire, lines that nothing meets, NTP."""

from __future__ import annotations

from fwpolicy.deploy.provenance import same_host
from fwpolicy.fleet.facts import DAY, MISSING, applied_at
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.fleet.facts import Heard, Probed, Status
    from fwpolicy.fleet.flows import Flow
    from fwpolicy.fleet.looked import Line
    from fwpolicy.fleet.openings import Opening
    from fwpolicy.fleet.overview import Overview, Seen

    Difference = tuple[str, tuple[str, ...]]

SAME, DIFFERS, UNKNOWN = "as applied", "differs", "not known"
SOON, LATER = 30, 90
NOT_APPLIED = "nothing was ever applied"
ANOTHER_POLICY, OF_ANOTHER = "another policy is in force", "another host's policy is in force"
# How counters of lines are called, which others (defaults, roles) are not (compiler/names.py).
_OF_LINES = ("allow_", "block_")


@record
class Drifted:
    """One difference, and the hosts that have it."""

    what: str
    detail: tuple[str, ...]
    hosts: tuple[str, ...]


@record
class Unused:
    """A line that let through or stopped nothing on any of `hosts`, since `seconds` (None: not known) on the
    host where it is there for the shortest time. `silent`: hosts of the line that nothing is known of."""

    at: str
    text: str
    hosts: tuple[str, ...]
    seconds: int | None
    silent: int


@record
class Posture:
    """NTP on one unit's hosts: the role, whom it asks, who is answered (None: not worked out), and what the
    probes found. `unknown`: hosts with the reason why nothing is known."""

    hosts: tuple[str, ...]
    role: str
    asks: str
    answers: Flow | None
    closed: tuple[str, ...]
    answered: tuple[tuple[str, Probed], ...]
    unknown: tuple[tuple[str, str], ...]


def state(overview: Overview, unit: Seen, host: str) -> str:
    """SAME, DIFFERS or UNKNOWN, of a host of the unit."""
    if overview.facts_of(host).status.said is None:
        return UNKNOWN
    return DIFFERS if _differences(overview, unit, host) else SAME


def states(overview: Overview) -> list[str]:
    """Every host's."""
    return [state(overview, unit, host) for unit in overview.units for host in unit.hosts]


def _differences(overview: Overview, unit: Seen, host: str) -> tuple[Difference, ...]:
    """What the host said of itself, and what that is not which its policies would make it; () also where
    nothing is known."""
    said = overview.facts_of(host).status.said
    if said is None:
        return ()
    if not said.applied:
        return said.drift or ((NOT_APPLIED, ()),)
    return (*_misplaced(said, unit, host), *said.drift)


def _misplaced(said: Status, unit: Seen, host: str) -> tuple[Difference, ...]:
    """Whether what was applied is this host's at all."""
    if said.host and not same_host(said.host, host):
        return ((OF_ANOTHER, (f"the bundle in force there is {said.host}'s",)),)
    if unit.looked is not None and said.policy != unit.looked.policy:
        return ((ANOTHER_POLICY, (f"{said.policy or 'one without a name'}, not {unit.looked.policy}",)),)
    return ()


def hosts_of(overview: Overview) -> Iterator[str]:
    return (host for unit in overview.units for host in unit.hosts)


def unread(overview: Overview) -> int:
    """Of how many hosts nobody knows what they let through: their policies are wrong or not worked out."""
    return sum(len(unit.hosts) for unit in overview.units if unit.looked is None or unit.looked.failure)


def drifted(overview: Overview) -> list[Drifted]:
    """Every difference, those of the most hosts first."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for unit in overview.units:
        for host in unit.hosts:
            for difference in _differences(overview, unit, host):
                found.setdefault(difference, []).append(host)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Drifted(what, detail, tuple(hosts)) for (what, detail), hosts in ordered]


def unknown(overview: Overview) -> dict[str, list[str]]:
    """The hosts whose status is not known, by the reason."""
    found: dict[str, list[str]] = {}
    for host in hosts_of(overview):
        heard = overview.facts_of(host).status
        if heard.said is None:
            found.setdefault(heard.why, []).append(host)
    return found


def openings(overview: Overview) -> list[tuple[Opening, tuple[str, ...]]]:
    """Each risky opening with its hosts, the riskiest first."""
    found: dict[Opening, list[str]] = {}
    for unit in overview.units:
        for each in unit.looked.openings if unit.looked else ():
            found.setdefault(each, []).extend(unit.hosts)
    ordered = sorted(found.items(), key=lambda item: (*_worst_first(item[0]), -len(item[1]), item[0].at))
    return [(each, tuple(hosts)) for each, hosts in ordered]


def _worst_first(opening: Opening) -> tuple[int, bool]:
    """By level; pings after what is served."""
    return -opening.level, all(text.startswith("icmp") for text in opening.classes)


def lines(overview: Overview) -> dict[Line, tuple[str, ...]]:
    """The lines that expire or have exceptions, each with its hosts."""
    found: dict[Line, list[str]] = {}
    for unit in overview.units:
        for line in unit.looked.lines if unit.looked else ():
            found.setdefault(line, []).extend(unit.hosts)
    return {line: tuple(dict.fromkeys(hosts)) for line, hosts in found.items()}


def line_at(overview: Overview) -> dict[str, Line]:
    """The same by their places."""
    return {line.at: line for line in lines(overview)}


def expiring(overview: Overview) -> list[tuple[Line, tuple[str, ...], int]]:
    """Lines that end, with how many whole days they have left (below 0: over), the soonest first."""
    found = (
        (line, hosts, (line.expires - overview.now) // DAY)
        for line, hosts in lines(overview).items()
        if line.expires is not None
    )
    return sorted(found, key=lambda each: (each[2], each[0].at))


def unused(overview: Overview) -> list[Unused]:
    """Lines that met nothing wherever counters are known."""
    met: set[tuple[str, str]] = set()
    idle: dict[tuple[str, str], dict[str, int | None]] = {}
    silent: dict[tuple[str, str], int] = {}
    for unit in overview.units:
        known = {host: dict(_packets(_counters(overview, unit, host))) for host in unit.hosts}
        keys = {key for packets in known.values() for key in packets}
        for key in keys:
            silent[key] = silent.get(key, 0) + sum(key not in packets for packets in known.values())
        for host, packets in known.items():
            met |= {key for key, number in packets.items() if number}
            for key in (key for key, number in packets.items() if number == 0):
                idle.setdefault(key, {})[host] = _standing(overview, host)
    found = [
        Unused(*key, tuple(hosts), _shortest(hosts), silent.get(key, 0))
        for key, hosts in idle.items()
        if key not in met
    ]
    return sorted(found, key=lambda each: (-(each.seconds or 0), each.at))


def _counters(overview: Overview, unit: Seen, host: str) -> Heard:
    """Those of the host's own policy: another's say nothing of its lines."""
    facts = overview.facts_of(host)
    said = facts.status.said
    return MISSING.counters if said is not None and _misplaced(said, unit, host) else facts.counters


def _packets(heard: Heard) -> Iterator[tuple[tuple[str, str], int]]:
    """(place and text of a line, how many packets it met); a line may have several counters."""
    found: dict[tuple[str, str], int | None] = {}
    for each in heard.said or ():
        if each.file and each.counter.startswith(_OF_LINES):
            key = (f"{each.file}:{each.line}", each.text)
            before = found.get(key, 0)
            found[key] = None if before is None or each.packets is None else before + each.packets
    return ((key, number) for key, number in found.items() if number is not None)


def _standing(overview: Overview, host: str) -> int | None:
    """For how long what is in force has been."""
    said = overview.facts_of(host).status.said
    since = applied_at(said) if said is not None else None
    return None if since is None else max(overview.now - since, 0)


def _shortest(hosts: dict[str, int | None]) -> int | None:
    known = [seconds for seconds in hosts.values() if seconds is not None]
    return min(known) if len(known) == len(hosts) else None


def ntp(overview: Overview) -> list[Posture]:
    """Every unit's; those that are seen to answer first."""
    found = [_posture(overview, unit) for unit in overview.units if unit.looked]
    return sorted(found, key=lambda each: not each.answered)


def _posture(overview: Overview, unit: Seen) -> Posture:
    looked = unit.looked
    assert looked is not None  # noqa: S101  (ntp() asks for no others)
    answers = (flow for flow in looked.flows if flow.hook == "input" and "udp/123" in flow.ports.split(", "))
    closed, answered, silent = [], [], []
    for host in unit.hosts:
        heard = overview.facts_of(host).probe
        verdicts = {each.verdict for each in heard.said or ()}
        answered += [(host, each) for each in heard.said or () if each.verdict == "OPEN"]
        if verdicts == {"CLOSED"}:
            closed.append(host)
        elif "OPEN" not in verdicts:
            silent.append((host, heard.why or "the probe was inconclusive"))
    return Posture(
        unit.hosts,
        looked.ntp,
        looked.asks,
        next(answers, None),
        tuple(closed),
        tuple(answered),
        tuple(silent),
    )
