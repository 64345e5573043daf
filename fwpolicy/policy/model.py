"""A policy, resolved: what the user wants, with every name replaced by what it stands for.

The vocabulary is the language's (docs/language.md): sections, rules, roles, steps.
"""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.errors import Problem, Span
from fwpolicy.policy.services import Service
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Intervals
    from fwpolicy.policy.gates import Gate

HOOKS = ("input", "output", "forward")


@record
class Match:
    """One condition: its parts are ANDed, the members of a part ORed; None means anything.

    `source_group` and `destination_group` name the group when the addresses are exactly one's.
    `source_dynamic` and `destination_dynamic` name groups that are filled at run time and whose
    members only the kernel knows; they are ORed with the addresses beside them. `sports`: source
    ports. `incoming`, `outgoing`: interface names, a trailing "*" stands for any rest. `published`:
    the service as a stranger addresses it, by the connection's original port.
    """

    services: tuple[Service, ...] | None
    source: AddressSet | None = None
    destination: AddressSet | None = None
    source_group: str | None = None
    destination_group: str | None = None
    source_dynamic: tuple[str, ...] = ()
    destination_dynamic: tuple[str, ...] = ()
    sports: Intervals | None = None
    incoming: tuple[str, ...] | None = None
    outgoing: tuple[str, ...] | None = None
    published: bool = False

    @property
    def sides(self) -> tuple[tuple[AddressSet | None, tuple[str, ...]], ...]:
        """(addresses, groups that are filled at run time) of the source, and of the destination."""
        return (self.source, self.source_dynamic), (self.destination, self.destination_dynamic)


@record
class Limit:
    """How much a rule allows: `rate` new connections per `unit` ("second" .. "day") with `burst`, and
    at most `maximum` at a time; each source its own where `per_source` (/64 for IPv6). 0: no such bound."""

    rate: int
    unit: str
    burst: int
    per_source: bool = False
    maximum: int = 0


@record
class Rule:
    """A line of `allow` or `block`: `verdict` is "accept", "drop" or "reject"; `families` its legs (4, 6).

    `id`: stable, names the counter. `log`: the prefix, "" for the policy's own, or None. `expires`:
    the first second (Unix time) in which the rule no longer holds. `owner`, `ticket`: as written; `comment`
    has them, too.
    """

    verdict: str
    match: Match
    holes: tuple[Match, ...]
    families: tuple[int, ...]
    origin: Span
    comment: str | None = None
    id: str | None = None
    log: str | None = None
    limit: Limit | None = None
    expires: int | None = None
    owner: str | None = None
    ticket: str | None = None


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
class Masquerade:
    """Traffic leaving by `outgoing` (interface names) gets the interface's own address."""

    outgoing: tuple[str, ...]
    source: AddressSet | None
    families: tuple[int, ...]
    origin: Span


@record
class SourceNat:
    """Traffic of `source` leaving by `outgoing` gets the address `to` = (family, integer)."""

    outgoing: tuple[str, ...]
    source: AddressSet | None
    to: tuple[int, int]
    origin: Span


@record
class PortForward:
    """`service` arriving by `incoming` for one of the host's addresses goes on to `to` = (family, integer).

    `port`: the port there, None for the same. `hairpin`: hosts behind the router reach it by the
    outside address, too. Its forward allow is implied, for its own redirected flows only.
    """

    incoming: tuple[str, ...]
    service: Service
    to: tuple[int, int]
    port: int | None
    hairpin: bool
    source: AddressSet | None
    origin: Span


@record
class Nat:
    """`nat:`. `clamp_mss`: TCP's segment size of forwarded connections follows the path MTU."""

    masquerade: tuple[Masquerade, ...] = ()
    forward: tuple[PortForward, ...] = ()
    snat: tuple[SourceNat, ...] = ()
    clamp_mss: bool = False


@record
class Log:
    """`log:`: of denied packets, at most `rate` per `unit`; `group`: nflog's, None for the kernel log."""

    denied: bool
    rate: int
    unit: str
    prefix: str
    group: int | None = None


@record
class DynamicGroup:
    """A group filled at run time; members leave after `timeout` seconds (0: never)."""

    name: str
    timeout: int
    origin: Span


@record
class Test:
    """An expectation: `allow` says which. None means: left to the packet syntax's defaults.

    `incoming`, `outgoing`: interface names and patterns, each of which the test is about. `published`:
    the port that a redirected connection first asked for. `time`: Unix time. `source_in`,
    `destination_in`: the dynamic groups that the packet's addresses are in.
    """

    allow: bool
    hook: str
    services: tuple[Service, ...]
    what: str
    origin: Span
    source: AddressSet | None = None
    destination: AddressSet | None = None
    state: str = "new"
    mode: int = 3
    incoming: tuple[str, ...] | None = None
    outgoing: tuple[str, ...] | None = None
    sports: Intervals | None = None
    published: int | None = None
    time: int | None = None
    source_in: tuple[str, ...] | None = None
    destination_in: tuple[str, ...] | None = None


@record
class ApplyOptions:
    """`apply:`: how the policy is put in force (docs/language.md).

    `confirm`: the seconds that an operator has for it, 0 where nobody is asked, None where nothing is said.
    """

    conntrack: str = "purge-denied"
    foreign: str = "refuse"
    daemon_config: str = "manage"
    on_boot_failure: str | None = None
    confirm: int | None = None
    gates: tuple[Gate, ...] = ()
    drift: str = "ignore"


@record
class Policy:
    """A whole policy. A section is None where it is absent and its hook is left alone."""

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
    forward: Section | None = None
    nat: Nat | None = None
    log: Log | None = None
    dynamic: tuple[DynamicGroup, ...] = ()

    @property
    def sections(self) -> tuple[Section, ...]:
        return tuple(section for section in (self.input, self.output, self.forward) if section is not None)

    @property
    def is_overlay(self) -> bool:
        """Roles alone: it can only close, and anybody can apply it to a running server."""
        return not self.sections and self.nat is None
