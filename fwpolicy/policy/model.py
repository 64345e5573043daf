"""A policy, resolved: what the user wants, with every name replaced by what it stands for.

The vocabulary is LANGUAGE's (docs/language.md): sections, rules, roles, steps.
"""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.errors import Problem, Span
from fwpolicy.policy.services import Service
from fwpolicy.record import record

HOOKS = ("input", "output")


@record
class Match:
    """One condition: its parts are ANDed, the members of a part ORed; None means anything.

    `source_group` and `destination_group` name the group when the addresses are exactly one's.
    """

    services: tuple[Service, ...] | None
    source: AddressSet | None = None
    destination: AddressSet | None = None
    source_group: str | None = None
    destination_group: str | None = None


@record
class Rule:
    """A line of `allow` or `block`: `verdict` is "accept", "drop" or "reject"; `families` its legs (4, 6)."""

    verdict: str
    match: Match
    holes: tuple[Match, ...]
    families: tuple[int, ...]
    origin: Span
    comment: str | None = None


@record
class Section:
    """One direction. `default` is "drop", "reject" or "accept"."""

    hook: str
    default: str
    allow: tuple[Rule, ...]
    block: tuple[Rule, ...]
    origin: Span


@record
class NtpRole:
    """`roles.ntp`, resolved. `servers` is None for any; `from_daemon` asks for the daemon's own sources."""

    mode: str
    origin: Span
    servers: AddressSet | None = None
    servers_group: str | None = None
    from_daemon: bool = False
    serve: AddressSet = AddressSet()
    monitors: AddressSet = AddressSet()
    daemon: str = "auto"
    nts: bool = False


@record
class Test:
    """An expectation: `allow` says which. None means: left to the packet syntax's defaults."""

    allow: bool
    hook: str
    services: tuple[Service, ...]
    what: str
    origin: Span
    source: AddressSet | None = None
    destination: AddressSet | None = None
    state: str = "new"
    mode: int = 3


@record
class ApplyOptions:
    """`apply:`: how the policy is put in force (docs/language.md)."""

    conntrack: str = "purge-denied"
    foreign: str = "refuse"
    daemon_config: str = "manage"
    on_boot_failure: str | None = None


@record
class Policy:
    """A whole policy. `input`, `output`: None where the section is absent and its hook is left alone."""

    name: str
    description: str
    backends: tuple[str, ...]
    ntp: NtpRole | None
    input: Section | None
    output: Section | None
    tests: tuple[Test, ...]
    apply: ApplyOptions
    warnings: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def sections(self) -> tuple[Section, ...]:
        return tuple(section for section in (self.input, self.output) if section is not None)

    @property
    def is_overlay(self) -> bool:
        """Roles alone: it can only close, and anybody can apply it to a running server."""
        return not self.sections
