"""The NTP role as rules: RFC 8633 5.1 as a packet filter (docs/ntp.md).

State alone is not enough: a query that already waits in the daemon's socket is answered after the
rules arrive, and that answer makes a host-originated, "established" flow; packets forged with a
configured server's address pass as its replies. What tells them apart is the mode in the payload:
in only mode 4, out only mode 3.
"""

from __future__ import annotations

from fwpolicy.addresses import EVERYWHERE, AddressSet
from fwpolicy.compiler.denial import Denial
from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.sets import Sets, is_whole
from fwpolicy.ir.ruleset import (
    LOCAL,
    LOOPBACK,
    Accept,
    CtState,
    DestinationType,
    Interface,
    Match,
    Nfproto,
    NtpMode,
    Port,
    Rule,
)
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import NtpRole

STEP = "role:ntp"
TCP, UDP = 6, 17
NTP = Port(UDP, "dport", ((123, 123),))
FROM_NTP = Port(UDP, "sport", ((123, 123),))
# chronyd's command port (chronyc(1)), and NTS key establishment (RFC 8915 4).
CHRONY_COMMANDS = Port(UDP, "dport", ((323, 323),))
NTS_KE = Port(TCP, "dport", ((4460, 4460),))
QUERY, REPLY = NtpMode((3,)), NtpMode((4,))
ESTABLISHED = CtState(("established",))
# Every probe that NTP.md counts is one packet; the rules below are what makes the answer none.


@record
class Guard:
    """Traffic that a role owns: of what `selectors` pick, only what one of `passes` matches goes on."""

    selectors: tuple[Match, ...]
    passes: tuple[tuple[Match, ...], ...] = ()


class NtpRules:
    """The rules of one role, hook by hook."""

    def __init__(self, role: NtpRole, facts: Facts, sets: Sets, denial: Denial) -> None:
        self.role = role
        self.sets = sets
        self.denial = denial
        servers = facts.servers if role.from_daemon and facts.servers else role.servers
        self.servers = EVERYWHERE if servers is None else servers
        self.servers_name = role.servers_group or "ntp_servers"

    def input_guards(self) -> tuple[Guard, ...]:
        if self.role.mode == "closed":
            return (Guard((NTP, FROM_NTP)), Guard((CHRONY_COMMANDS,)), Guard((NTS_KE,)))
        passes = self._each("saddr", self.servers, self.servers_name, (NTP, REPLY, ESTABLISHED))
        if self.role.mode == "server":
            passes += self._served((NTP, QUERY))
        nts = self._served((NTS_KE,)) if self.role.mode == "server" and self.role.nts else ()
        return (Guard((NTP,), passes), Guard((CHRONY_COMMANDS,)), Guard((NTS_KE,), nts))

    def output_guards(self) -> tuple[Guard, ...]:
        if self.role.mode == "closed":
            return (Guard((FROM_NTP, NTP)),)
        passes = self._each("daddr", self.servers, self.servers_name, (NTP, QUERY))
        if self.role.mode == "server":
            passes += self._each("daddr", self.role.serve, "ntp_serve", (FROM_NTP, REPLY))
        return (Guard((FROM_NTP, NTP), passes),)

    def input_accepts(self) -> tuple[Rule, ...]:
        """Step 7 on input: a server's clients; a client's replies are established."""
        if self.role.mode != "server":
            return ()
        nts = self._served((NTS_KE,)) if self.role.nts else ()
        return tuple(self._accept(matches, "input") for matches in self._served((NTP, QUERY)) + nts)

    def output_accepts(self) -> tuple[Rule, ...]:
        """Step 7 on output: the questions a client asks."""
        if self.role.mode == "closed":
            return ()
        wanted = [(NTP, QUERY)] + ([(NTS_KE,)] if self.role.nts else [])
        passes = [
            p for matches in wanted for p in self._each("daddr", self.servers, self.servers_name, matches)
        ]
        return tuple(self._accept(matches, "output") for matches in passes)

    def early_drops(self) -> tuple[Rule, ...]:
        """Drops before connection tracking, for what is addressed to this host: a flood makes no
        conntrack entries and costs a third (867 ns a packet against 2,702).

        What kind an address is takes the kernel 300 ns to find out, so it is asked last, and one kind a rule:
        a set of both takes 70 more. A set of the host's own addresses in front, filled by `fib daddr type
        local add @own { ip daddr }`, was tried: its lookup takes 190, and a proof would have to trust it.
        """
        mine: tuple[Match, ...] = (NTP,)
        drops: list[tuple[Match, ...]] = []
        if self.role.mode == "closed":
            drops.append(mine)
        elif self.role.mode == "client-only":
            drops += self._others(mine, self.servers, self.servers_name)
            drops.append((*mine, NtpMode((4,), negated=True)))
        else:
            drops += self._others((*mine, REPLY), self.servers, self.servers_name)
            drops += self._others((*mine, QUERY), self.role.serve, "ntp_serve")
            drops.append((*mine, NtpMode((3, 4), negated=True)))
        loopback = Rule((Interface("iifname", LOOPBACK),), Accept(), "loopback")
        here = [(*matches, DestinationType((kind,))) for matches in drops for kind in LOCAL]
        return (loopback, *(self._early_drop(matches) for matches in here))

    def _served(self, matches: tuple[Match, ...]) -> tuple[tuple[Match, ...], ...]:
        return self._each("saddr", self.role.serve, "ntp_serve", matches)

    def _each(
        self, side: str, peers: AddressSet, name: str, matches: tuple[Match, ...]
    ) -> tuple[tuple[Match, ...], ...]:
        """`matches` and the peer's address, family by family; once, where that is any address."""
        if peers == EVERYWHERE:
            return (matches,)
        return tuple(
            (*matches, self.sets.match(family, side, peers, name)) for family in (4, 6) if peers.of(family)
        )

    def _others(self, matches: tuple[Match, ...], peers: AddressSet, name: str) -> list[tuple[Match, ...]]:
        """`matches` from anybody but `peers`."""
        others: list[tuple[Match, ...]] = []
        for family in (4, 6):
            if not peers.of(family):
                others.append((Nfproto(family), *matches))
            elif not is_whole(family, peers.of(family)):
                others.append((*matches, self.sets.match(family, "saddr", peers, name, negated=True)))
        return others

    def _accept(self, matches: tuple[Match, ...], hook: str) -> Rule:
        return Rule(matches, Accept(), STEP, self.role.origin, f"role_ntp_{hook}_accept")

    def _early_drop(self, matches: tuple[Match, ...]) -> Rule:
        """Counted with those of the input hook, where it would have been dropped too."""
        ((_, drop),) = self.denial.verdicts("drop")
        return Rule(matches, drop, STEP, self.role.origin, "role_ntp_input_drop")
