"""A policy file as the user wrote it: located words, no name resolved yet."""

from __future__ import annotations

from fwpolicy.errors import Problem, Span
from fwpolicy.record import record
from fwpolicy.source import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.expectations import TestMoreText
    from fwpolicy.policy.gates import GateText
    from fwpolicy.policy.groups import HostsText
    from fwpolicy.policy.model import Limit
    from fwpolicy.policy.nat import NatText
    from fwpolicy.policy.zones import ZoneText
    from fwpolicy.source import Place


@record
class Word:
    """A scalar, and where it stands: in `source`, at `place`."""

    text: str
    source: Text
    place: Place

    @property
    def span(self) -> Span:
        """Made when it is asked for: only mistakes and names ask."""
        return self.source.span_of(self.place)

    def __str__(self) -> str:
        return self.text


@record
class MatchText:
    """The keys of a rule or of an `except`; None where a key is absent."""

    span: Span
    services: tuple[Word, ...] | None = None
    sources: tuple[Word, ...] | None = None
    destinations: tuple[Word, ...] | None = None
    sports: tuple[Word, ...] | None = None
    incoming: tuple[Word, ...] | None = None
    outgoing: tuple[Word, ...] | None = None
    published: bool = False
    family: Word | None = None


@record
class LabelText:
    """What a line says of itself, and what happens beside its verdict.

    `limit` and `expires` are read already; `log` is the prefix of its own, "" for the policy's.
    """

    id: Word | None = None
    comment: str | None = None
    log: str | None = None
    limit: Limit | None = None
    expires: int | None = None
    owner: str | None = None
    ticket: str | None = None


UNLABELLED = LabelText()


@record
class RuleText:
    """A line of `allow` or `block`."""

    match: MatchText
    holes: tuple[MatchText, ...] = ()
    action: Word | None = None
    label: LabelText = UNLABELLED


@record
class SectionText:
    """`input:`, `output:` or `forward:`; `open` where its default may come from another file."""

    hook: str
    key: Word
    default: Word | None
    allow: tuple[RuleText, ...]
    block: tuple[RuleText, ...]
    open: bool = False


@record
class GroupText:
    """A group: its members in place, one a line in `file`, by name in `hosts`, or put in at run time.

    `extends`: it adds to an included one. `dynamic`: the seconds that a member stays (0: for good).
    `flawed` where some of it could not be read.
    """

    name: Word
    members: tuple[Word, ...]
    file: Word | None = None
    optional: bool = False
    flawed: bool = False
    extends: bool = False
    dynamic: int | None = None
    hosts: HostsText | None = None


@record
class ServiceText:
    """A service of the policy's own: its name, and `proto/port` texts or other services' names."""

    name: Word
    specs: tuple[Word, ...]


@record
class NtpText:
    """`roles.ntp`; `flawed` where some of it could not be read."""

    key: Word
    mode: Word | None
    servers: Word | None = None
    serve: tuple[Word, ...] | None = None
    monitors: tuple[Word, ...] = ()
    daemon: Word | None = None
    nts: bool = False
    flawed: bool = False


@record
class TestText:
    """A line of `tests:`."""

    allow: bool
    what: Word
    span: Span
    sources: tuple[Word, ...] | None = None
    destinations: tuple[Word, ...] | None = None
    state: Word | None = None
    mode: Word | None = None
    more: TestMoreText | None = None


@record
class PolicyText:
    """One file. `apply` holds its words by key; `problems` what the grammar found wrong."""

    text: Text
    name: Word | None
    description: Word | None
    backends: tuple[Word, ...]
    groups: tuple[GroupText, ...]
    services: tuple[ServiceText, ...]
    ntp: NtpText | None
    sections: tuple[SectionText, ...]
    tests: tuple[TestText, ...]
    apply: tuple[tuple[str, Word], ...]
    problems: tuple[Problem, ...]
    zones: tuple[ZoneText, ...] = ()
    log: tuple[tuple[str, Word], ...] | None = None
    nat: NatText | None = None
    includes: tuple[Word, ...] = ()
    overrides: tuple[Word, ...] = ()
    gates: tuple[GateText, ...] = ()


@record
class Sources:
    """The files that make one policy: `files` in order, an including one before what it includes.

    `tops`: the names of those that no other brought in. `reach`: which files each includes, over any
    number of steps. `now`: the time (Unix), None where nothing depends on it. `locked_by`: what is given to
    `fwpolicy lock` for the lock file, where that is not the policy.
    """

    files: tuple[PolicyText, ...]
    tops: tuple[str, ...]
    reach: dict[str, frozenset[str]]
    now: int | None = None
    locked_by: str = ""
