"""What it means to deny: the verdict, and the log before it where the policy wants one."""

from __future__ import annotations

from fwpolicy.ir.ruleset import (
    Accept,
    Chain,
    Continue,
    DestinationType,
    Drop,
    Jump,
    L4Proto,
    LimitName,
    LimitObject,
    Log,
    Match,
    Rate,
    Reject,
    Rule,
    Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.policy import model

TCP = 6
STEP = "log"
# One limit for all denials: a flood must not fill the log by hitting several lines.
LIMIT = "log_denied"
BURST = 5
DEFAULT_PREFIX = "fwp"
DEFAULT = Rate(5, "minute", BURST)
# Announcements and searches that every segment is full of, at every host.
NO_NOISE = DestinationType(("broadcast", "multicast"), negated=True)

Ending = tuple[tuple[Match, ...], Verdict]


class Denial:
    """How the table denies: `rate` and `group` are also those of the logs that single lines ask for."""

    def __init__(self, log: model.Log | None) -> None:
        self.log = log if log and log.denied else None
        self.rate = Rate(log.rate, log.unit, BURST) if log else DEFAULT
        self.group = log.group if log else None
        self.prefix = log.prefix if log else DEFAULT_PREFIX

    def verdicts(self, verdict: str, logged: bool = True) -> tuple[Ending, ...]:
        """A verdict's (further matches, verdict) pairs: a reject is a reset for TCP, ICMP for the rest."""
        if self.log and logged and verdict != "accept":
            return (((), Jump(f"log_{verdict}")),)
        return _PLAIN[verdict]

    def chains(self, used: Iterable[Chain]) -> tuple[Chain, ...]:
        """The chains that log and deny, those of them that `used` jumps to."""
        if not self.log:
            return ()
        targets = {
            rule.verdict.chain for chain in used for rule in chain.rules if isinstance(rule.verdict, Jump)
        }
        return tuple(_chain(verdict, self.log) for verdict in _DENIALS if f"log_{verdict}" in targets)

    def limits(self) -> tuple[LimitObject, ...]:
        return (LimitObject(LIMIT, self.rate),) if self.log else ()


_DENIALS = ("drop", "reject")
_PLAIN: dict[str, tuple[Ending, ...]] = {
    "accept": (((), Accept()),),
    "drop": (((), Drop()),),
    "reject": (((L4Proto((TCP,)),), Reject("tcp-reset")), ((), Reject("port-unreachable"))),
}


def _chain(verdict: str, log: model.Log) -> Chain:
    said = Log(log_prefix(f"{log.prefix} denied"), log.group)
    loud = Rule((NO_NOISE, LimitName(LIMIT)), Continue(), STEP, log=said)
    return Chain(f"log_{verdict}", (loud, *(Rule(guard, end, STEP) for guard, end in _PLAIN[verdict])))


def log_prefix(text: str) -> str:
    """The kernel puts its own words right behind the prefix."""
    return text if text.endswith(" ") else f"{text}: "
