"""Policy -> Ruleset: the fixed evaluation of docs/language.md, step by step, as chains."""

from __future__ import annotations

from fwpolicy.compiler.denial import Denial
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lines import Lines
from fwpolicy.compiler.names import Names
from fwpolicy.compiler.ntp import STEP as NTP_STEP
from fwpolicy.compiler.ntp import NtpRules
from fwpolicy.compiler.sets import Sets
from fwpolicy.ir.ruleset import (
    FAMILY,
    LOOPBACK,
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
    Match,
    Nfproto,
    Port,
    Return,
    Rule,
    Ruleset,
    Table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.compiler.nat import NatRules
    from fwpolicy.compiler.ntp import Guard
    from fwpolicy.policy import model

UDP, ICMP, ICMPV6 = 17, 1, 58
# RFC 1122 3.2.2: destination unreachable, time exceeded, parameter problem; RFC 4443 3: too big, too.
ICMP_ERRORS = (3, 11, 12)
ICMPV6_ERRORS = (1, 2, 3, 4)
# RFC 4890 4.4: errors, multicast listener discovery (130-132, 143), neighbour discovery (133-137).
ICMPV6_ESSENTIAL = (*ICMPV6_ERRORS, *range(130, 138), 143)
# fe80::/10
LINK_LOCAL = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)


def lower(policy: model.Policy, facts: Facts) -> Ruleset:
    """The ruleset of `policy` on a host of which `facts` hold."""
    return _Table(policy, facts).ruleset()


class _Table:
    """Our table while it is put together."""

    def __init__(self, policy: model.Policy, facts: Facts) -> None:
        self.policy = policy
        self.sets = Sets(policy.dynamic)
        self.names = Names()
        self.denial = Denial(policy.log)
        self.lines = Lines(self.sets, self.denial, self.names)
        # A packet that NAT has not seen yet may still be somebody else's.
        self.translated = facts.nat or policy.nat is not None
        self.ntp = NtpRules(policy.ntp, facts, self.sets, self.denial) if policy.ntp else None
        self.nat = self._nat()
        self.named = {
            (section.hook, step): self.names.lines(f"{step}_{section.hook}", lines)
            for section in policy.sections
            for step, lines in (("block", section.block), ("allow", section.allow))
        }

    def _nat(self) -> NatRules | None:
        if self.policy.nat is None:
            return None
        from fwpolicy.compiler.nat import NatRules  # noqa: PLC0415  (few hosts translate)

        return NatRules(self.policy.nat, self.sets, self.names)

    def ruleset(self) -> Ruleset:
        base = [
            chain for chain in (self.prefilter(), *map(self.hook, ("input", "output", "forward"))) if chain
        ]
        base += self.nat.chains() if self.nat else []
        chains = (*self.lines.chains, *base)
        logging = self.denial.chains(chains)
        chains = (*logging, *chains)
        regular = {chain.name: chain for chain in chains if chain.base is None}
        counters = tuple(dict.fromkeys(_counters(tuple(base), regular)))
        limits = (*(self.denial.limits() if logging else ()), *self.lines.limits.values())
        return Ruleset((Table(FAMILY, TABLE, self.sets.all, chains, counters, limits),))

    def prefilter(self) -> Chain | None:
        if not self.ntp or self.translated:
            return None
        return Chain("prefilter", self.ntp.early_drops(), Base("prerouting", RAW, "accept"))

    def hook(self, hook: str) -> Chain | None:
        """The base chain of `hook`, None where nothing of ours is on it."""
        section = getattr(self.policy, hook)
        rules = [*self.loopback(hook), *self.guards(hook, section)]
        policy = "accept"
        if section:
            rules += [*_essential(hook), *_tracked(hook), *self.step(section, "block")]
            rules += [*self.role_accepts(hook), *self.step(section, "allow"), *self.default(section)]
            policy = "accept" if section.default == "accept" else "drop"
        elif hook == "forward":
            rules = self.published("block")
            rules = [*_tracked(hook)[1:], *rules] if rules else []
        return Chain(hook, tuple(rules), Base(hook, OURS, policy)) if rules else None

    def loopback(self, hook: str) -> list[Rule]:
        if hook == "forward" or not (self.ntp or getattr(self.policy, hook)):
            return []
        key = "iifname" if hook == "input" else "oifname"
        return [Rule((Interface(key, LOOPBACK),), Accept(), "loopback")]

    # Steps 2 and 7: roles, which do not touch forward

    def guards(self, hook: str, section: model.Section | None) -> list[Rule]:
        if not self.ntp or hook == "forward":
            return []
        guards = self.ntp.input_guards() if hook == "input" else self.ntp.output_guards()
        counter = f"role_ntp_{hook}"
        found: list[Rule] = []
        for guard in guards:
            name = f"ntp_{hook}_{sum(isinstance(rule.verdict, Jump) for rule in found) + 1}"
            found += self.guard(guard, self.ntp, section is not None, counter, name)
        return found

    def guard(self, guard: Guard, ntp: NtpRules, goes_on: bool, counter: str, name: str) -> list[Rule]:
        """Where the section is absent, to pass is to leave our chain; else the next steps follow."""
        origin = ntp.role.origin
        ((_, drop),) = self.denial.verdicts("drop")
        if not guard.passes or not goes_on:
            accepts = [Rule(p, Accept(), NTP_STEP, origin, f"{counter}_accept") for p in guard.passes]
            return accepts + [
                Rule((selector,), drop, NTP_STEP, origin, f"{counter}_drop") for selector in guard.selectors
            ]
        returns = [Rule(matches, Return(), NTP_STEP, origin) for matches in guard.passes]
        end = Rule((), drop, NTP_STEP, origin, f"{counter}_drop")
        self.lines.add(Chain(name, (*returns, end)))
        return [Rule((selector,), Jump(name), NTP_STEP, origin) for selector in guard.selectors]

    def role_accepts(self, hook: str) -> tuple[Rule, ...]:
        if not self.ntp or hook == "forward":
            return ()
        return self.ntp.input_accepts() if hook == "input" else self.ntp.output_accepts()

    # Steps 6, 8 and 9: lines and the default

    def step(self, section: model.Section, step: str) -> list[Rule]:
        lines = section.block if step == "block" else section.allow
        named = zip(lines, self.named[section.hook, step], strict=True)
        rules = [rule for line, name in named for rule in self.lines.rules(line, step, name)]
        if section.hook != "forward":
            return rules
        implied = self.nat.accepts() if self.nat and step == "allow" else []
        return [*self.published(step), *implied, *rules]

    def published(self, step: str) -> list[Rule]:
        """What `published` lines of input say of connections that are sent on to somewhere else."""
        section = self.policy.input
        if section is None:
            return []
        lines = section.block if step == "block" else section.allow
        named = zip(lines, self.named["input", step], strict=True)
        return [
            rule
            for line, name in named
            if line.match.published
            for rule in self.lines.rules(line, step, name, redirected=True)
        ]

    def default(self, section: model.Section) -> list[Rule]:
        if section.default == "accept":
            return []
        counter = f"default_{section.hook}"
        pairs = self.denial.verdicts(section.default)
        return [Rule(guard, verdict, "default", section.origin, counter) for guard, verdict in pairs]


def _counters(of: tuple[Chain, ...], regular: dict[str, Chain]) -> list[str]:
    """Every counter in the order in which a packet meets it; takes each chain of `regular` once."""
    found: list[str] = []
    for rule in [rule for chain in of for rule in chain.rules]:
        counter, verdict = rule.counter, rule.verdict
        if isinstance(counter, str):
            found.append(counter)
        if isinstance(verdict, Jump) and (target := regular.pop(verdict.chain, None)):
            found += _counters((target,), regular)
    return found


def _essential(hook: str) -> list[Rule]:
    if hook == "forward":
        errors = (IcmpType(ICMP, ICMP_ERRORS), IcmpType(ICMPV6, ICMPV6_ERRORS))
        return [Rule((error,), Accept(), "essential") for error in errors]
    server_side, client_side = ("sport", "dport") if hook == "input" else ("dport", "sport")
    dhcp = _ports(server_side, 67, client_side, 68)
    dhcpv6 = _ports(server_side, 547, client_side, 546)
    server = Address(6, "saddr", LINK_LOCAL) if hook == "input" else Nfproto(6)
    return [
        Rule(matches, Accept(), "essential")
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


def _tracked(hook: str) -> list[Rule]:
    return [
        Rule((CtState(("invalid",)),), Drop(), "invalid", counter=f"invalid_{hook}"),
        Rule((CtState(("established", "related")),), Accept(), "established"),
    ]
