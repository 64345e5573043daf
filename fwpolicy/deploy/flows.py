"""Connections and the policy: which the new one denies, who loses a time server."""

from __future__ import annotations

from fwpolicy.addresses import parse
from fwpolicy.model.classes import Classes, interfaces
from fwpolicy.model.concrete import PORTED
from fwpolicy.model.decide import decide
from fwpolicy.model.packet import Packet
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fwpolicy.addresses import AddressSet
    from fwpolicy.host.conntrack import Flow
    from fwpolicy.host.operator import Operator
    from fwpolicy.host.routes import Link, Routes
    from fwpolicy.model.decide import Decision
    from fwpolicy.policy.model import Policy

TCP, UDP = 6, 17
DENIED = ("drop", "reject")
_MULTICAST = {4: (28, 0xE), 6: (120, 0xFF)}
_LIMITED_BROADCAST = (4, 0xFFFFFFFF)
# Up to so many lines times flows, to ask about each is quicker than to cut the addresses into classes.
_LITTLE = 20_000


@record
class Scene:
    """What a host is to its connections. `here`: its addresses; `shared`: those that call all hosts.

    `members`: of groups filled at run time. `routes`: None where nobody may ask. `bridged`: what passes a
    bridge passes no hook of ours. `now`: Unix time.
    """

    here: AddressSet
    shared: AddressSet
    members: Mapping[str, AddressSet]
    routes: Routes | None = None
    bridged: bool = False
    operator: Operator | None = None
    now: int | None = None


@record
class Verdicts:
    """`condemned`: what the policy denies if it began now; `guarded`: those of them that a role denies
    packet by packet, whatever is established; the rest is what is denied and kept all the same."""

    condemned: tuple[Flow, ...] = ()
    guarded: frozenset[Flow] = frozenset()
    operators: tuple[Flow, ...] = ()
    unsure: tuple[Flow, ...] = ()
    bridged: tuple[Flow, ...] = ()


def judge(policy: Policy, flows: Sequence[Flow], scene: Scene, servers: AddressSet | None) -> Verdicts:
    """Each flow as the filter's hooks see it, as a first packet; those of other connection tracking zones,
    which are somebody else's, and of loopback aside."""
    lines = sum(len(section.allow) + len(section.block) for section in policy.sections)
    court = _Court(policy, scene, servers, len(flows) * (1 + lines) > _LITTLE)
    own = [flow for flow in flows if not flow.zone]
    found = court.judged(flow for flow in own if flow.master is None)
    expected = [flow for flow in own if flow.master is not None]
    if expected:
        ended = {(flow.family, *flow.original) for flow in found.condemned}
        lost = [flow for flow in expected if (flow.family, *(flow.master or ())) in ended]
        kept = [flow for flow in expected if (flow.family, *(flow.master or ())) not in ended]
        found = _joined(found, _joined(court.judged(lost), court.judged(kept, "related")))
    return found


def losing_clients(
    policy: Policy, flows: Sequence[Flow], scene: Scene, servers: AddressSet | None
) -> tuple[tuple[int, int], ...]:
    """(family, address) of those who ask this host for the time now and will get no answer."""
    if policy.ntp is None:
        return ()
    asking = tuple(
        flow
        for flow in flows
        if flow.protocol == UDP
        and flow.dport == 123
        and (flow.family, flow.destination) in scene.here
        and (flow.family, flow.source) not in scene.here
    )
    lost = judge(policy, asking, scene, servers).condemned
    return tuple(dict.fromkeys((flow.family, flow.source) for flow in lost))


def _joined(one: Verdicts, other: Verdicts) -> Verdicts:
    return Verdicts(
        one.condemned + other.condemned,
        one.guarded | other.guarded,
        one.operators + other.operators,
        one.unsure + other.unsure,
        one.bridged + other.bridged,
    )


class _Court:
    def __init__(self, policy: Policy, scene: Scene, servers: AddressSet | None, many: bool) -> None:
        self.policy, self.scene, self.servers = policy, scene, servers
        # Of few flows each is a class of its own.
        self._classes = Classes(policy, servers) if many else None
        self._decided: dict[object, Decision | None] = {}
        self._ours: dict[tuple[int, int], bool] = {}

    def judged(self, flows: Iterable[Flow], state: str = "new") -> Verdicts:
        condemned: list[Flow] = []
        guarded: list[Flow] = []
        unknown: list[Flow] = []
        for flow in flows:
            hook = self._hook(flow)
            if not hook:
                continue
            key = self._key(flow, hook, state)
            if key not in self._decided:
                self._decided[key] = self._wherever(self._packet(flow, hook, state))
            decision = self._decided[key]
            if decision is None:
                unknown.append(flow)
            elif decision.verdict in DENIED:
                condemned.append(flow)
                if decision.step.startswith("role:"):
                    guarded.append(flow)
        placed, unsure = self._by_route(unknown, state)
        return self._spared([*condemned, *placed], frozenset(guarded), unsure)

    # What a flow is

    def _hook(self, flow: Flow) -> str:
        """ "" for what stays on loopback."""
        _, source, _, end, _ = flow.seen
        family = flow.family
        if self._is_here(family, source):
            return "" if self._is_here(family, end) else "output"
        called = (family, end) in self.scene.shared or is_shared(family, end)
        return "input" if called or self._is_here(family, end) else "forward"

    def _is_here(self, family: int, address: int) -> bool:
        found = self._ours.get((family, address))
        if found is None:
            found = self._ours[family, address] = (family, address) in self.scene.here
        return found

    def _key(self, flow: Flow, hook: str, state: str) -> object:
        if self._classes is None:
            return flow
        family = flow.family
        protocol, source, sport, end, dport = flow.seen
        asked = self._classes.port(flow.dport) if flow.is_redirected else None
        members = (self._members(family, source), self._members(family, end)) if self.scene.members else None
        alike = self._classes.of(family, source, end, sport, dport)
        return hook, family, protocol, flow.icmp_type, state, asked, members, alike

    def _packet(self, flow: Flow, hook: str, state: str) -> Packet:
        protocol, source, sport, end, dport = flow.seen
        ported = protocol in PORTED
        return Packet(
            hook,
            flow.family,
            protocol,
            source,
            end,
            sport if ported else None,
            dport if ported else None,
            flow.icmp_type,
            state,
            published=flow.dport if flow.is_redirected else None,
            time=self.scene.now,
            source_in=self._members(flow.family, source),
            destination_in=self._members(flow.family, end),
        )

    def _members(self, family: int, address: int) -> tuple[str, ...]:
        return tuple(name for name, found in self.scene.members.items() if (family, address) in found)

    # What the policy says

    def _wherever(self, packet: Packet) -> Decision | None:
        """The decision, if it does not matter by which interface; else None."""
        policy = self._relevant(packet)
        found = [self._decide(policy, each) for each in _everywhere(policy, packet)]
        return found[0] if len({each.verdict in DENIED for each in found}) == 1 else None

    def _relevant(self, packet: Packet) -> Policy:
        """What of the policy may be about it, wherever it comes in."""
        if self._classes is None:
            return self.policy
        ports = (packet.dport or 0, *(() if packet.published is None else (packet.published,)))
        return self._classes.relevant(packet.protocol, *ports)

    def _decide(self, policy: Policy, packet: Packet) -> Decision:
        """An entry does not say what is asked: of NTP it is denied if both a question and an answer are."""
        first = decide(policy, packet, self.servers)
        if packet.protocol != UDP or 123 not in (packet.sport, packet.dport) or first.verdict not in DENIED:
            return first
        answer = decide(policy, replace(packet, mode=4), self.servers)
        return first if answer.verdict in DENIED else answer

    # Where it comes in and leaves

    def _by_route(self, unknown: list[Flow], state: str) -> tuple[list[Flow], tuple[Flow, ...]]:
        """(condemned, unsure) of those of which it matters."""
        links = self._links(unknown)
        condemned: list[Flow] = []
        unsure: list[Flow] = []
        for flow in unknown:
            packet = self._packet(flow, self._hook(flow), state)
            incoming, outgoing = self._ways(packet, links)
            if incoming is None or outgoing is None:
                unsure.append(flow)
                continue
            placed = replace(packet, incoming=incoming, outgoing=outgoing)
            if self._decide(self._relevant(packet), placed).verdict in DENIED:
                condemned.append(flow)
        return condemned, tuple(unsure)

    def _links(self, flows: Sequence[Flow]) -> Mapping[tuple[int, int], Link | None]:
        """The way to each end that is not here: what comes from there comes by it."""
        if not flows or self.scene.routes is None:
            return {}
        ends = ((flow.family, address) for flow in flows for address in (flow.source, flow.seen[3]))
        return self.scene.routes.to(each for each in ends if not self._is_here(*each))

    @staticmethod
    def _ways(packet: Packet, links: Mapping[tuple[int, int], Link | None]) -> tuple[str | None, str | None]:
        """The interfaces' names; "" where the hook has none, None where it is not known."""
        found = (
            "" if packet.hook == hook else links.get((packet.family, address))
            for hook, address in (("output", packet.source), ("input", packet.destination))
        )
        incoming, outgoing = (each if isinstance(each, str) or each is None else each.name for each in found)
        return incoming, outgoing

    def _spared(self, condemned: list[Flow], guarded: frozenset[Flow], unsure: tuple[Flow, ...]) -> Verdicts:
        operators = [flow for flow in condemned if self._is_operators(flow)]
        rest = [flow for flow in condemned if flow not in operators] if operators else condemned
        bridged = frozenset(self._bridged(rest)) if self.scene.bridged else frozenset()
        left = tuple(flow for flow in rest if flow not in bridged) if bridged else tuple(rest)
        return Verdicts(left, guarded, tuple(operators), unsure, tuple(bridged))

    def _is_operators(self, flow: Flow) -> bool:
        """Whoever spoke first: of a connection that is older than its entry the server may have."""
        operator = self.scene.operator
        if operator is None or flow.protocol != TCP:
            return False
        _, source, sport, end, dport = flow.seen
        ends = {(flow.family, source, dport), (flow.family, end, sport)}
        family, address, _ = parse(operator.address)
        return (family, address, operator.port) in ends

    def _bridged(self, condemned: list[Flow]) -> Iterator[Flow]:
        """Between ports of one bridge: what is redirected was routed."""
        passing = [flow for flow in condemned if self._hook(flow) == "forward" and not flow.is_redirected]
        links = self._links(passing)
        for flow in passing:
            one, other = (links.get((flow.family, address)) for address in (flow.source, flow.destination))
            if one is not None and one == other and one.kind == "bridge":
                yield flow


def _everywhere(policy: Policy, packet: Packet) -> Iterator[Packet]:
    every = interfaces(policy)
    ins = (None,) if packet.hook == "output" else every
    outs = (None,) if packet.hook == "input" else every
    return (replace(packet, incoming=incoming, outgoing=outgoing) for incoming in ins for outgoing in outs)


def is_shared(family: int, address: int) -> bool:
    """Multicast, or broadcast on the link: nobody answers from there."""
    shift, prefix = _MULTICAST[family]
    return address >> shift == prefix or (family, address) == _LIMITED_BROADCAST
