"""Policy -> Ruleset: the fixed evaluation of docs/language.md, step by step, as chains."""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, merge
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.ntp import STEP as NTP_STEP
from fwpolicy.compiler.ntp import NtpRules
from fwpolicy.compiler.sets import Sets
from fwpolicy.ir.ruleset import (
    FAMILY,
    OURS,
    RAW,
    TABLE,
    Accept,
    Address,
    Base,
    Chain,
    CtState,
    Drop,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    Match,
    Nfproto,
    Port,
    Reject,
    Return,
    Rule,
    Ruleset,
    Table,
    Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import AddressSet
    from fwpolicy.compiler.ntp import Guard
    from fwpolicy.policy import model
    from fwpolicy.policy.services import Service

UDP, TCP, ICMP, ICMPV6 = 17, 6, 1, 58
# RFC 1122 3.2.2: destination unreachable, time exceeded, parameter problem.
ICMP_ERRORS = (3, 11, 12)
# RFC 4890 4.4: errors, multicast listener discovery (130-132, 143), neighbour discovery (133-137).
ICMPV6_ESSENTIAL = (1, 2, 3, 4, *range(130, 138), 143)
# fe80::/10
LINK_LOCAL = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)
SIDE = {"input": "saddr", "output": "daddr"}


def lower(policy: model.Policy, facts: Facts) -> Ruleset:
    """The ruleset of `policy` on a host of which `facts` hold."""
    sets = Sets()
    ntp = NtpRules(policy.ntp, facts, sets) if policy.ntp else None
    chains: list[Chain] = []
    if ntp and not facts.nat:
        chains.append(Chain("prefilter", ntp.early_drops(), Base("prerouting", RAW, "accept")))
    for hook, section in (("input", policy.input), ("output", policy.output)):
        if ntp or section:
            chains += _Hook(hook, section, ntp, sets).chains()
    return Ruleset((Table(FAMILY, TABLE, sets.all, tuple(chains)),))


class _Hook:
    """The chains of one hook; the base chain is the first."""

    def __init__(self, hook: str, section: model.Section | None, ntp: NtpRules | None, sets: Sets) -> None:
        self.hook = hook
        self.section = section
        self.ntp = ntp
        self.sets = sets
        self.regular: list[Chain] = []

    def chains(self) -> list[Chain]:
        rules = [_loopback(self.hook), *self.guards()]
        policy = "accept"
        if self.section:
            rules += [*_essential(self.hook), *_tracked(), *self.lines(self.section.block, "block")]
            rules += [*self.role_accepts(), *self.lines(self.section.allow, "allow")]
            rules += _default(self.section)
            policy = "accept" if self.section.default == "accept" else "drop"
        return [Chain(self.hook, tuple(rules), Base(self.hook, OURS, policy)), *self.regular]

    # Steps 2 and 7: roles

    def guards(self) -> list[Rule]:
        if not self.ntp:
            return []
        guards = self.ntp.input_guards() if self.hook == "input" else self.ntp.output_guards()
        return [rule for guard in guards for rule in self.guard(guard, self.ntp)]

    def guard(self, guard: Guard, ntp: NtpRules) -> list[Rule]:
        """Where the section is absent, to pass is to leave our chain; else the next steps follow."""
        origin = ntp.role.origin
        drops = [Rule((selector,), Drop(), NTP_STEP, origin) for selector in guard.selectors]
        if not guard.passes or self.section is None:
            accepts = [Rule(matches, Accept(), NTP_STEP, origin) for matches in guard.passes]
            return accepts + drops
        name = f"ntp_{self.hook}_{len(self.regular) + 1}"
        returns = [Rule(matches, Return(), NTP_STEP, origin) for matches in guard.passes]
        self.regular.append(Chain(name, (*returns, Rule((), Drop(), NTP_STEP, origin))))
        return [
            Rule((selector,), Jump(name), NTP_STEP, origin, counter=False) for selector in guard.selectors
        ]

    def role_accepts(self) -> tuple[Rule, ...]:
        if not self.ntp:
            return ()
        return self.ntp.input_accepts() if self.hook == "input" else self.ntp.output_accepts()

    # Steps 6 and 8: lines

    def lines(self, lines: tuple[model.Rule, ...], step: str) -> list[Rule]:
        return [rule for line in lines for rule in self.line(line, step)]

    def line(self, line: model.Rule, step: str) -> list[Rule]:
        comment = line.comment
        verdicts = _verdicts(line.verdict)
        if line.holes:
            name = f"{step}_{self.hook}_{len(self.regular) + 1}"
            inner = [
                Rule(matches, Return(), step, line.origin, counter=False)
                for hole in line.holes
                for matches in self.matches(hole, (4, 6))
            ]
            inner += [Rule(guard, verdict, step, line.origin, comment=comment) for guard, verdict in verdicts]
            self.regular.append(Chain(name, tuple(inner)))
            verdicts = (((), Jump(name)),)
        return [
            Rule(
                (*matches, *guard),
                verdict,
                step,
                line.origin,
                not line.holes,
                None if line.holes else comment,
            )
            for matches in self.matches(line.match, line.families)
            for guard, verdict in verdicts
            if not _contradicts(matches, guard)
        ]

    def matches(self, match: model.Match, families: tuple[int, ...]) -> list[tuple[Match, ...]]:
        """One list of matches for each rule that the kernel needs; together exactly `match`."""
        return [
            (*address, *service)
            for address, family in self.addresses(match, families)
            for service in _services(match.services, family)
        ]

    def addresses(
        self, match: model.Match, families: tuple[int, ...]
    ) -> list[tuple[tuple[Match, ...], int | None]]:
        """(matches, family) for each leg; family None where the rule needs no telling apart."""
        addresses, group = self.peers(match)
        if addresses is None or addresses == EVERYWHERE:
            return [((), None)]
        side = SIDE[self.hook]
        return [
            ((self.sets.match(family, side, addresses, group),), family)
            for family in families
            if addresses.of(family)
        ]

    def peers(self, match: model.Match) -> tuple[AddressSet | None, str | None]:
        if self.hook == "input":
            return match.source, match.source_group
        return match.destination, match.destination_group


def _loopback(hook: str) -> Rule:
    key = "iifname" if hook == "input" else "oifname"
    return Rule((Interface(key, ("lo",)),), Accept(), "loopback", counter=False)


def _essential(hook: str) -> list[Rule]:
    server_side, client_side = ("sport", "dport") if hook == "input" else ("dport", "sport")
    dhcp = _ports(server_side, 67, client_side, 68)
    dhcpv6 = _ports(server_side, 547, client_side, 546)
    server = Address(6, "saddr", LINK_LOCAL) if hook == "input" else Nfproto(6)
    return [
        Rule(matches, Accept(), "essential", counter=False)
        for matches in (
            (IcmpType(ICMP, ICMP_ERRORS),),
            (IcmpType(ICMPV6, ICMPV6_ESSENTIAL),),
            (Nfproto(4), *dhcp),
            (server, *dhcpv6),
        )
    ]


def _ports(server_side: str, server: int, client_side: str, client: int) -> tuple[Match, Match]:
    """Source port first, as nft lists them."""
    ports = (Port(UDP, server_side, ((server, server),)), Port(UDP, client_side, ((client, client),)))
    return ports if server_side == "sport" else (ports[1], ports[0])


def _tracked() -> list[Rule]:
    return [
        Rule((CtState(("invalid",)),), Drop(), "invalid"),
        Rule((CtState(("established", "related")),), Accept(), "established", counter=False),
    ]


def _default(section: model.Section) -> list[Rule]:
    if section.default == "accept":
        return []
    verdict = "drop" if section.default == "drop" else "reject"
    return [Rule(guard, v, "default", section.origin) for guard, v in _verdicts(verdict)]


def _verdicts(verdict: str) -> tuple[tuple[tuple[Match, ...], Verdict], ...]:
    """A verdict's (further matches, verdict) pairs: a reject is a reset for TCP, ICMP for the rest."""
    if verdict == "accept":
        return (((), Accept()),)
    if verdict == "drop":
        return (((), Drop()),)
    return (((L4Proto((TCP,)),), Reject("tcp-reset")), ((), Reject("port-unreachable")))


def _contradicts(matches: tuple[Match, ...], guard: tuple[Match, ...]) -> bool:
    """A rule on UDP ports needs no TCP reset."""
    if not guard:
        return False
    protocols = {match.protocol for match in matches if isinstance(match, Port | IcmpType)}
    return bool(protocols) and TCP not in protocols


def _services(services: tuple[Service, ...] | None, family: int | None) -> list[tuple[Match, ...]]:
    """Services of one protocol join into one match."""
    if services is None:
        return [()]
    ports: dict[int, list[tuple[int, int]]] = {}
    types: dict[int, list[int]] = {}
    others: list[int] = []
    for service in services:
        if service.family and family and service.family != family:
            continue
        if service.ports:
            ports.setdefault(service.protocol, []).extend(service.ports)
        elif service.icmp_types:
            types.setdefault(service.protocol, []).extend(service.icmp_types)
        else:
            others.append(service.protocol)
    found: list[tuple[Match, ...]] = [(Port(number, "dport", merge(each)),) for number, each in ports.items()]
    found += [(IcmpType(number, tuple(sorted(set(each)))),) for number, each in types.items()]
    if others:
        found.append((L4Proto(tuple(sorted(set(others)))),))
    return found
