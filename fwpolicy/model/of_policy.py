"""A policy as a program: the evaluation of docs/language.md, step by step, a rule for each leg of a line.

Straight from the language, and from nothing that the compiler uses: one bug must not hide on both sides.
"""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE
from fwpolicy.model import fields
from fwpolicy.model.conditions import (
    REDIRECTED,
    address,
    conditions,
    flat,
    icmp,
    legs,
    limits,
    mode,
    port,
    redirected_by,
    what_of,
)
from fwpolicy.model.hooks import LO
from fwpolicy.model.of_nat import redirections, senders
from fwpolicy.model.program import (
    ACCEPT,
    ALWAYS,
    DROP,
    And,
    Base,
    Chain,
    Lit,
    Not,
    Or,
    Program,
    Rule,
    used_fields,
)
from fwpolicy.model.steps import policy_rule, verdicts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import AddressSet, Interval
    from fwpolicy.model.program import Expr
    from fwpolicy.policy import model

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
NTP, NTS, CHRONY_CONTROL = 123, 4460, 323
CLIENT, SERVER = 3, 4
ESSENTIAL_ICMP = (3, 11, 12)
ICMPV6_ERRORS = (1, 2, 3, 4)
ESSENTIAL_ICMPV6 = (*ICMPV6_ERRORS, *range(130, 138), 143)
LINK_LOCAL: Interval = (0xFE80 << 112, (0xFEC0 << 112) - 1)
KNOWN = Lit("ctstate", fields.states("established", "related"))
INVALID = Lit("ctstate", fields.states("invalid"))


def of_policy(policy: model.Policy, servers: AddressSet | None = None) -> Program:
    """Chains "policy input", "policy output" and "policy forward", and of its `nat` "policy dstnat" and
    "policy srcnat". Whatever a policy leaves to others it accepts, and sends as it is. `servers` stands for
    the daemon's own under `servers: from-daemon`."""
    reader = _Reader(policy, servers)
    chains = (
        _chain("input", reader.local("input")),
        _chain("output", reader.local("output")),
        _chain("forward", reader.forward()),
        Chain("policy dstnat", tuple(redirections(policy)), Base("prerouting", -100, "nat", ACCEPT)),
        Chain("policy srcnat", tuple(senders(policy)), Base("postrouting", 100, "nat", ACCEPT)),
    )
    fields_used = (field for chain in chains for rule in chain.rules for field in used_fields(rule.guard))
    limiters = {field: what_of(field) for field in fields_used if field.startswith(fields.limiter(""))}
    return Program({chain.name: chain for chain in chains}, limiters=limiters)


def _chain(hook: str, rules: Iterable[Rule]) -> Chain:
    return Chain(f"policy {hook}", tuple(rules), Base(hook, -10, "filter", ACCEPT))


class _Reader:
    def __init__(self, policy: model.Policy, servers: AddressSet | None) -> None:
        self.policy = policy
        self.servers = servers

    def local(self, hook: str) -> Iterator[Rule]:
        """What comes to this host, or from it."""
        section = self.policy.input if hook == "input" else self.policy.output
        role = self.policy.ntp
        yield policy_rule("loopback", Lit("iif" if hook == "input" else "oif", LO), ACCEPT)
        if role:
            denied = self._closed_to(role) if hook == "input" else self._may_not_say(role)
            reason = f"the role ntp ({role.mode}) closes it"
            yield policy_rule("role:ntp", denied, DROP, role.origin, reason)
        if section is None:
            return
        yield from _before_the_lines(hook)
        yield from _lines("block", section.block)
        if role and role.mode != "closed":
            reason = f"the role ntp ({role.mode}) needs it"
            yield policy_rule("role:ntp", self._exchange(role, hook), ACCEPT, role.origin, reason)
        yield from _lines("allow", section.allow)
        yield from _default(section)

    def forward(self) -> Iterator[Rule]:
        """Steps 1, 2 and 7 are not for what passes by. A `published` line of input is about a connection
        wherever it was redirected to, so it counts here, too, whether or not there is a forward."""
        section, entry = self.policy.forward, self.policy.input
        block = [rule for rule in (entry.block if entry else ()) if rule.match.published]
        allow = [rule for rule in (entry.allow if entry else ()) if rule.match.published]
        if section is None:
            unknown = And((REDIRECTED, Not(KNOWN)))
            yield from _lines("block", block, unknown)
            return
        yield from _before_the_lines("forward")
        yield from _lines("block", block, REDIRECTED)
        yield from _lines("block", section.block)
        for each in self.policy.nat.forward if self.policy.nat else ():
            yield policy_rule(
                "allow", redirected_by(each), ACCEPT, each.origin, "this port forward redirected it"
            )
        yield from _lines("allow", allow, REDIRECTED)
        yield from _lines("allow", section.allow)
        yield from _default(section)

    def _known_servers(self, role: model.NtpRole) -> AddressSet:
        known = self.servers if role.from_daemon and self.servers else role.servers
        return EVERYWHERE if known is None else known

    def _may_not_say(self, role: model.NtpRole) -> Expr:
        """What the role keeps this host from sending."""
        either = Or((port(UDP, "sport", NTP), port(UDP, "dport", NTP)))
        if role.mode == "closed":
            return either
        asks = (port(UDP, "dport", NTP), mode(CLIENT), address("daddr", self._known_servers(role)))
        free: list[Expr] = [And(asks)]
        if role.mode == "server":
            free.append(And((port(UDP, "sport", NTP), mode(SERVER), address("daddr", role.serve))))
        return And((either, Not(Or(tuple(free)))))

    def _closed_to(self, role: model.NtpRole) -> Expr:
        """What the role keeps from this host."""
        served = address("saddr", role.serve) if role.mode == "server" else Or(())
        nts = And((port(TCP, "dport", NTS), Not(served) if role.nts else ALWAYS))
        control = port(UDP, "dport", CHRONY_CONTROL)
        if role.mode == "closed":
            ntp: Expr = Or((port(UDP, "sport", NTP), port(UDP, "dport", NTP)))
            return Or((nts, control, ntp))
        established = Lit("ctstate", fields.states("established"))
        reply = And((mode(SERVER), established, address("saddr", self._known_servers(role))))
        question = And((served, mode(CLIENT)))
        return Or((nts, control, And((port(UDP, "dport", NTP), Not(Or((reply, question)))))))

    def _exchange(self, role: model.NtpRole, hook: str) -> Expr:
        asks: Expr = And((port(UDP, "dport", NTP), mode(CLIENT)))
        if role.nts:
            asks = Or((asks, port(TCP, "dport", NTS)))
        if hook == "output":
            return And((asks, address("daddr", self._known_servers(role))))
        return And((asks, address("saddr", role.serve))) if role.mode == "server" else Or(())


def _before_the_lines(hook: str) -> Iterator[Rule]:
    """Steps 3 to 5."""
    yield policy_rule("essential", Or(tuple(essential(hook))), ACCEPT)
    yield policy_rule("invalid", INVALID, DROP)
    yield policy_rule("established", KNOWN, ACCEPT)


def essential(hook: str) -> Iterator[Expr]:
    """What step 3 lets through, whatever a policy says but for a role's guards."""
    v4, v6 = Lit("nfproto", ((4, 4),)), Lit("nfproto", ((6, 6),))
    yield And((v4, icmp(ICMP, ESSENTIAL_ICMP)))
    yield And((v6, icmp(ICMPV6, ICMPV6_ERRORS if hook == "forward" else ESSENTIAL_ICMPV6)))
    if hook != "forward":
        server, client = ("sport", "dport") if hook == "input" else ("dport", "sport")
        yield And((v4, port(UDP, server, 67), port(UDP, client, 68)))
        v6_from = And((v6, Lit("saddr6", (LINK_LOCAL,)))) if hook == "input" else v6
        yield And((v6_from, port(UDP, server, 547), port(UDP, client, 546)))


def _default(section: model.Section) -> Iterator[Rule]:
    reason = f"no line names it: default {section.default}"
    for guard, verdict in verdicts(section.default):
        yield policy_rule("default", guard, verdict, section.origin, reason)


def _lines(step: str, lines: Iterable[model.Rule], given: Expr = ALWAYS) -> Iterator[Rule]:
    """A rule for each family and service of each line."""
    for line in lines:
        common = (given, *conditions(line))
        for family in line.families:
            within = limits(line, family)
            for leg in legs(line.match, family, line.match.published):
                for guard, verdict in verdicts(line.verdict):
                    parts = flat((guard, leg, *common, *within))
                    yield policy_rule(step, And(parts), verdict, line.origin)
