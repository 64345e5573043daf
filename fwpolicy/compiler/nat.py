"""`nat:` as chains of type nat, and what it implies in the forward hook (nft(8) "NAT STATEMENTS")."""

from __future__ import annotations

from itertools import product

from fwpolicy.compiler.matches import interfaces
from fwpolicy.compiler.names import Names, service_words, shortened
from fwpolicy.ir.ruleset import (
    DSTNAT,
    MANGLE,
    SRCNAT,
    Accept,
    Address,
    Base,
    Chain,
    ClampMss,
    CtStatus,
    DestinationNat,
    DestinationType,
    Interface,
    L4Proto,
    Masquerade,
    Match,
    Nfproto,
    OriginalPort,
    Port,
    Rule,
    SourceNat,
    TcpSyn,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import AddressSet
    from fwpolicy.compiler.sets import Sets
    from fwpolicy.policy import model

    Legs = list[tuple[Match, ...]]

STEP = "nat"
MINE = DestinationType(("local",))
# An address of the host, but not of the network that the packet comes from: the outside one among them.
# No rule can ask for another interface's: the kernel refuses `fib daddr . oif` in prerouting.
OUTSIDE = DestinationType(("local",), here=True, negated=True)


class NatRules:
    """The rules of `nat:`, chain by chain."""

    def __init__(self, nat: model.Nat, sets: Sets, names: Names) -> None:
        self.nat = nat
        self.sets = sets
        self.names = names

    def chains(self) -> list[Chain]:
        """Those that have something to do."""
        found = [
            Chain("dstnat", self._destination(), Base("prerouting", DSTNAT, "accept", "nat")),
            Chain("srcnat", self._source(), Base("postrouting", SRCNAT, "accept", "nat")),
            Chain("clamp_mss", self._clamp(), Base("forward", MANGLE, "accept")),
        ]
        return [chain for chain in found if chain.rules]

    def accepts(self) -> list[Rule]:
        """Step 8 on forward: each port forward's own redirected flows, and nothing else."""
        rules = []
        for forward in self.nat.forward:
            arriving = [()] if forward.hairpin else _arriving(forward)
            for way, (original, ports) in product(arriving, _ports(forward)):
                to = (*self._from(forward.to[0], forward.source), _there(forward))
                rules.append(
                    Rule((*way, *to, *ports, CtStatus("dnat"), *original), Accept(), STEP, forward.origin)
                )
        return rules

    def _destination(self) -> tuple[Rule, ...]:
        rules = []
        for forward in self.nat.forward:
            counter = self.names.take(f"nat_forward_{shortened(service_words(forward.service), None)}")
            end = DestinationNat(*forward.to, forward.port)
            ways = [(*way, MINE) for way in _arriving(forward)]
            if forward.hairpin:
                ways.append((*_elsewhere(forward), OUTSIDE, MINE))
            for way in ways:
                family = self._from(forward.to[0], forward.source) or (Nfproto(forward.to[0]),)
                what = _addressed(forward)
                rules.append(Rule((*way, *family, *what), end, STEP, forward.origin, counter))
        return tuple(rules)

    def _source(self) -> tuple[Rule, ...]:
        """The particular before the general: whichever comes first decides for the connection."""
        rules = [rule for forward in self.nat.forward if forward.hairpin for rule in self._hairpin(forward)]
        for snat in self.nat.snat:
            family = snat.to[0]
            counter = self.names.take(shortened(["nat_snat", *snat.outgoing], (snat.source, snat.to)))
            matches = self._from(family, snat.source) or (Nfproto(family),)
            rules += [
                Rule((*way, *matches), SourceNat(*snat.to), STEP, snat.origin, counter)
                for way in interfaces("oifname", snat.outgoing)
            ]
        for masquerade in self.nat.masquerade:
            counter = self.names.take(shortened(["nat_masquerade", *masquerade.outgoing], masquerade.source))
            rules += [
                Rule((*way, *matches), Masquerade(), STEP, masquerade.origin, counter)
                for way in interfaces("oifname", masquerade.outgoing)
                for matches in self._families(masquerade)
            ]
        return tuple(rules)

    def _families(self, masquerade: model.Masquerade) -> Legs:
        if masquerade.source is None:
            return [()] if masquerade.families == (4, 6) else [(Nfproto(f),) for f in masquerade.families]
        return [self._from(family, masquerade.source) for family in masquerade.families]

    def _hairpin(self, forward: model.PortForward) -> list[Rule]:
        """The server must answer by way of us, not straight to its neighbour."""
        return [
            Rule(
                (
                    *_elsewhere(forward),
                    *self._from(forward.to[0], forward.source),
                    *(_there(forward), *ports, CtStatus("dnat"), *original),
                ),
                Masquerade(),
                STEP,
                forward.origin,
            )
            for original, ports in _ports(forward)
        ]

    def _clamp(self) -> tuple[Rule, ...]:
        return (Rule((TcpSyn(),), ClampMss(), STEP),) if self.nat.clamp_mss else ()

    def _from(self, family: int, source: AddressSet | None) -> tuple[Match, ...]:
        return () if source is None else (self.sets.match(family, "saddr", source, None),)


def _arriving(forward: model.PortForward) -> Legs:
    return interfaces("iifname", forward.incoming or None)


def _elsewhere(forward: model.PortForward) -> tuple[Match, ...]:
    """From an interface that the port forward is not about."""
    names = forward.incoming
    whole = tuple(name for name in names if not name.endswith("*"))
    prefixes = tuple(Interface("iifname", (n,), negated=True) for n in names if n.endswith("*"))
    return (*((Interface("iifname", whole, negated=True),) if whole else ()), *prefixes)


def _there(forward: model.PortForward) -> Address:
    family, address = forward.to
    return Address(family, "daddr", ((address, address),))


def _addressed(forward: model.PortForward) -> tuple[Match, ...]:
    service = forward.service
    if not service.ports:
        return (L4Proto((service.protocol,)),)
    return (Port(service.protocol, "dport", service.ports),)


def _ports(forward: model.PortForward) -> list[tuple[tuple[Match, ...], tuple[Match, ...]]]:
    """(the original port, the port there) for each range of the service."""
    service = forward.service
    if not service.ports:
        return [((), (L4Proto((service.protocol,)),))]
    found: list[tuple[tuple[Match, ...], tuple[Match, ...]]] = []
    for first, last in service.ports:
        there = (first, last) if forward.port is None else (forward.port, forward.port)
        found.append(((OriginalPort(first, last),), (Port(service.protocol, "dport", (there,)),)))
    return found
