"""A policy file as the user wrote it: located words, no name resolved yet."""

from __future__ import annotations

from fwpolicy.errors import Problem, Span
from fwpolicy.record import record
from fwpolicy.source import Text


@record
class Word:
    """A scalar and where it stands."""

    text: str
    span: Span

    def __str__(self) -> str:
        return self.text


@record
class MatchText:
    """The keys of a rule or of an `except`; None where a key is absent."""

    span: Span
    services: tuple[Word, ...] | None = None
    sources: tuple[Word, ...] | None = None
    destinations: tuple[Word, ...] | None = None


@record
class RuleText:
    """A line of `allow` or `block`."""

    match: MatchText
    holes: tuple[MatchText, ...] = ()
    action: Word | None = None
    comment: Word | None = None


@record
class SectionText:
    """`input:` or `output:`."""

    hook: str
    key: Word
    default: Word | None
    allow: tuple[RuleText, ...]
    block: tuple[RuleText, ...]


@record
class GroupText:
    """A group: its members in place or, one a line, in `file`; `flawed` where some could not be read."""

    name: Word
    members: tuple[Word, ...]
    file: Word | None = None
    optional: bool = False
    flawed: bool = False


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
