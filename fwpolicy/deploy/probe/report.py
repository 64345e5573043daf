"""From what became of each probe to a verdict, a text for people and a document for programs."""

from __future__ import annotations

from fwpolicy.deploy.probe.matrix import Probe
from fwpolicy.deploy.probe.packets import NTP_PORT
from fwpolicy.host.flight import ANSWERED, BLOCKED, NOT_SENT, REFUSED, SILENT, UNREACHABLE
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

OPEN, CLOSED, INCONCLUSIVE = "OPEN", "CLOSED", "INCONCLUSIVE"
EXIT = {CLOSED: 0, INCONCLUSIVE: 1, OPEN: 3}
# The order in which fwpolicy's exit codes win over each other: 1, then 3, then 0.
_WEIGHT = (INCONCLUSIVE, OPEN, CLOSED)

OUTCOMES = (ANSWERED, SILENT, REFUSED, BLOCKED, UNREACHABLE, NOT_SENT)

_GIVE_CONTROL = "give one that is known to answer time requests over the same path: --control HOST"


@record
class Result:
    """What became of one probe; bytes are octets of UDP payload.

    `source` is the forged address, if it was forged; `error`: the answer was a mode 6 error;
    `sender`: who answered.
    """

    probe: Probe
    outcome: str
    reason: str = ""
    bytes_out: int = 0
    bytes_in: int = 0
    packets_in: int = 0
    source: str = ""
    error: bool = False
    sender: str = ""

    @property
    def sent(self) -> bool:
        return self.outcome not in (NOT_SENT, BLOCKED)

    @property
    def factor(self) -> float:
        """Octets of payload that came back for each one sent (the "bandwidth amplification factor" of
        Rossow, "Amplification Hell", NDSS 2014, section III)."""
        return round(self.bytes_in / self.bytes_out, 2) if self.bytes_out else 0.0


@record
class Control:
    """The positive control of one family: what it answered before the probes and, if asked, after them.

    `before` and `after` are outcomes ("" if not asked), `reason` belongs to the failing one.
    """

    host: str
    address: str
    before: str
    after: str = ""
    reason: str = ""


@record
class Target:
    """One address of one host and all that was asked of it. `obstacle`: why nothing could be asked."""

    host: str
    address: str
    family: int
    control: Control | None
    results: tuple[Result, ...]
    obstacle: str = ""


@record
class Judgement:
    """OPEN, CLOSED or INCONCLUSIVE, and the sentence that says why."""

    verdict: str
    reason: str


def count(results: Iterable[Result]) -> dict[str, int]:
    """How many probes there were, were sent, and had each outcome; "not sent" as `not_sent`."""
    every = tuple(results)
    numbers = {"probes": len(every), "sent": sum(result.sent for result in every)}
    for outcome in OUTCOMES:
        numbers[outcome.replace(" ", "_")] = sum(result.outcome == outcome for result in every)
    return numbers


def judge(target: Target) -> Judgement:
    """The verdict on one address.

    Silence proves nothing by itself: CLOSED takes a control that answered over the same path, before
    and after, and that no probe was stopped on this side.
    """
    numbers = count(target.results)
    if target.obstacle:
        return Judgement(INCONCLUSIVE, target.obstacle)
    control = target.control
    if control is not None and control.before != ANSWERED:
        why = f": {control.reason}" if control.reason else ""
        return Judgement(
            INCONCLUSIVE, f"the control {control.host} ({control.address}) is {control.before}{why}"
        )
    if numbers["answered"]:
        return Judgement(OPEN, f"{_of(numbers)} answered")
    return _silent(target, numbers)


def _silent(target: Target, numbers: dict[str, int]) -> Judgement:
    control = target.control
    if numbers["blocked"]:
        count_of = f"{numbers['blocked']} of {numbers['probes']} probes"
        return Judgement(
            INCONCLUSIVE,
            f"{count_of} were stopped by this host's own firewall, about which nothing can be concluded; "
            "probe from a host or network namespace whose firewall lets them out",
        )
    if numbers["unreachable"]:
        return Judgement(INCONCLUSIVE, f"{target.address} cannot be reached: {_first(target, UNREACHABLE)}")
    if not numbers["sent"]:
        return Judgement(INCONCLUSIVE, f"no probe could be sent: {_first(target, NOT_SENT)}")
    if control is None:
        return Judgement(INCONCLUSIVE, _without_control(numbers))
    if control.after not in ("", ANSWERED):
        return Judgement(
            INCONCLUSIVE,
            f"the control {control.host} answered before the probes but not after them, from port 123: "
            "it limits its rate, or the path drops that port",
        )
    return Judgement(CLOSED, f"0 of {numbers['sent']} probes answered, and the control {control.host} did")


def _without_control(numbers: dict[str, int]) -> str:
    said = f"{numbers['refused']} probes were refused, but " if numbers["refused"] else ""
    return f"{said}no probe was answered, and without a control silence proves nothing; {_GIVE_CONTROL}"


def _first(target: Target, outcome: str) -> str:
    return next(result.reason for result in target.results if result.outcome == outcome)


def _of(numbers: dict[str, int]) -> str:
    return f"{numbers['answered']} of {numbers['sent']} probes"


def host_verdict(targets: Iterable[Target]) -> str:
    """The verdict on the addresses of one host: one that answers opens it, whatever the others do."""
    found = {judge(target).verdict for target in targets}
    return next(verdict for verdict in (OPEN, INCONCLUSIVE, CLOSED) if verdict in found)


def by_host(targets: Iterable[Target]) -> dict[str, tuple[Target, ...]]:
    """The targets of each host as it was named on the command line, in order."""
    hosts: dict[str, tuple[Target, ...]] = {}
    for target in targets:
        hosts[target.host] = (*hosts.get(target.host, ()), target)
    return hosts


def overall(targets: Iterable[Target]) -> str:
    """The verdict on all hosts together: INCONCLUSIVE, then OPEN, then CLOSED."""
    found = {host_verdict(group) for group in by_host(targets).values()}
    return next(verdict for verdict in _WEIGHT if verdict in found)


def inconclusive(targets: Iterable[Target]) -> tuple[str, ...]:
    """A sentence for each address about which nothing can be concluded, for stderr."""
    judged = [(target, judge(target)) for target in targets]
    return tuple(f"{t.address}: {INCONCLUSIVE}: {j.reason}" for t, j in judged if j.verdict == INCONCLUSIVE)


def strongest(results: Iterable[Result]) -> Result | None:
    """The answered probe with the greatest amplification factor, or None."""
    answered = [result for result in results if result.outcome == ANSWERED and result.bytes_out]
    return max(answered, key=lambda result: result.factor, default=None)


def ntpq(target: Target) -> str:
    """What `ntpq -pn` would have shown: "answer", "error", "timed out", "refused" or "unknown".

    It sends one mode 6 readstat request of version 2 from a fresh port, and repeats it once. Where
    that probe was silent but the host refused others, the kernel's limit on ICMP errors kept it so
    (icmp(7), icmp_ratelimit): asked alone it would have been refused.
    """
    found = [result for result in target.results if result.probe.name == "readstat-v2-high"]
    if not found:
        return "unknown"
    if found[0].outcome == ANSWERED:
        return "error" if found[0].error else "answer"
    if found[0].outcome == SILENT and _port_is_closed(target.results):
        return "refused"
    return {SILENT: "timed out", REFUSED: "refused"}.get(found[0].outcome, "unknown")


def _port_is_closed(results: tuple[Result, ...]) -> bool:
    """Whether nobody listens on the host's udp/123: it refused some and answered none."""
    asked = [result for result in results if result.probe.port == NTP_PORT and result.bytes_out]
    return {REFUSED} <= {result.outcome for result in asked} <= {REFUSED, SILENT}


_NTPQ = {
    "answer": "would have had an answer here",
    "error": "would have shown an error message of the daemon here, which is an answer",
    "timed out": 'would have said "timed out, nothing received" here',
    "refused": 'would have said "Connection refused" here',
    "unknown": "cannot be told, its probe was not sent",
}
_NTPQ_MEANS = (
    "that is one mode 6 probe over one family, with exit status 0 either way; hosts for which it timed "
    "out were measured to answer 10 to 28 other probes"
)


def text(targets: tuple[Target, ...]) -> str:
    """The report for people: a paragraph an address, then the verdict on everything."""
    paragraphs = ["\n".join(_paragraph(target)) for target in targets]
    verdicts = [f"{host}: {host_verdict(group)}" for host, group in by_host(targets).items()]
    return "\n\n".join([*paragraphs, "\n".join(verdicts)])


def _paragraph(target: Target) -> list[str]:
    judgement = judge(target)
    head = target.address if target.host == target.address else f"{target.host} {target.address}"
    lines = [f"{head} (IPv{target.family})", *_control_line(target.control)]
    if target.results:
        lines += [_answer(result) for result in target.results if result.outcome == ANSWERED]
        lines += [_summary(target), *_others(target.results), *_forged(target.results)]
        lines += [_amplification(target.results), *_ntpq_line(target)]
    return [*lines, f"  {judgement.verdict}: {judgement.reason}"]


def _control_line(control: Control | None) -> list[str]:
    if control is None:
        return ["  no control"]
    after = f", {control.after} after the probes" if control.after else ""
    return [f"  control {control.host} ({control.address}): {control.before}{after}"]


def _answer(result: Result) -> str:
    forged = f" as {result.source}" if result.source else ""
    if not result.bytes_out:
        return f"  answered  {result.probe.name:<40} connected"
    packets = f" in {result.packets_in} packets" if result.packets_in > 1 else ""
    size = f"{result.bytes_out} -> {result.bytes_in} bytes{packets}, x{result.factor:g}"
    return f"  answered  {result.probe.name + forged:<40} {size}"


def _summary(target: Target) -> str:
    numbers = count(target.results)
    others = [f"{numbers[o.replace(' ', '_')]} {o}" for o in OUTCOMES[1:] if numbers[o.replace(" ", "_")]]
    return f"  {numbers['answered']} of {numbers['sent']} probes answered ({', '.join(others) or 'all'})"


def _others(results: tuple[Result, ...]) -> list[str]:
    """One line for each reason why probes were refused, stopped or not sent."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.outcome not in (ANSWERED, SILENT):
            reasons.setdefault((result.outcome, result.reason), []).append(result.probe.name)
    lines = []
    for (outcome, reason), names in reasons.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        lines.append(f"  {outcome}: {', '.join(names[:2])}{more}: {reason}")
    return lines


def _forged(results: tuple[Result, ...]) -> list[str]:
    forged = [result for result in results if result.source]
    silent = {result.source for result in forged if result.outcome == SILENT}
    if not silent or any(result.outcome == ANSWERED for result in forged):
        return []
    return [
        f"  answers to forged probes go to {', '.join(sorted(silent))}: seen only if this link carries them"
    ]


def _amplification(results: tuple[Result, ...]) -> str:
    best = strongest(results)
    return f"  amplification: x{best.factor:g} ({best.probe.name})" if best else "  amplification: none"


def _ntpq_line(target: Target) -> list[str]:
    shown = ntpq(target)
    answered = count(target.results)["answered"]
    others = f", where {answered} other probes were answered" if shown == "timed out" and answered else ""
    return [f"  ntpq -pn {target.address} {_NTPQ[shown]}{others}: {_NTPQ_MEANS}"]


def document(targets: tuple[Target, ...]) -> dict[str, Any]:
    """The report for programs; its keys are stable.

    `changed` (always false), `verdict`, `exit`, `hosts` (an entry an address: host, address, family,
    verdict, reason, control, counts, max_factor, ntpq), `probes` (name, host, address, family, forged,
    sent, outcome, reason, bytes_out, bytes_in, packets_in, factor), `counts` by "ipv4" and "ipv6", and
    `max_factor`. `forged` is the forged source or null.
    """
    verdict = overall(targets)
    families = sorted({target.family for target in targets})
    return {
        "changed": False,
        "verdict": verdict,
        "exit": EXIT[verdict],
        "hosts": [_host(target) for target in targets],
        "probes": [_probe(target, result) for target in targets for result in target.results],
        "counts": {f"ipv{family}": count(_results(targets, family)) for family in families},
        "max_factor": _max_factor(_results(targets, None)),
    }


def _results(targets: tuple[Target, ...], family: int | None) -> tuple[Result, ...]:
    return tuple(r for target in targets if family in (None, target.family) for r in target.results)


def _max_factor(results: Iterable[Result]) -> float:
    best = strongest(results)
    return best.factor if best else 0.0


def _host(target: Target) -> dict[str, Any]:
    judgement, control = judge(target), target.control
    names = ("host", "address", "before", "after", "reason")
    return {
        "host": target.host,
        "address": target.address,
        "family": target.family,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "control": {name: getattr(control, name) for name in names} if control else None,
        "counts": count(target.results),
        "max_factor": _max_factor(target.results),
        "ntpq": ntpq(target),
    }


def _probe(target: Target, result: Result) -> dict[str, Any]:
    return {
        "name": result.probe.name,
        "host": target.host,
        "address": target.address,
        "family": target.family,
        "forged": result.source or None,
        "sent": result.sent,
        "outcome": result.outcome,
        "reason": result.reason,
        "bytes_out": result.bytes_out,
        "bytes_in": result.bytes_in,
        "packets_in": result.packets_in,
        "factor": result.factor,
    }
