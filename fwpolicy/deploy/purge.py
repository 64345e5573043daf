"""Connections that the policy denies: found, ended, and kept from coming back.

In this order: the sockets of this host are ended while their reset still finds its way, the deleted
connections' ends go into a table of their own (backends/nft/purged.py), and then the entries go.
"""

from __future__ import annotations

import os
import time

from fwpolicy.addresses import AddressSet, collect, format_address, parse
from fwpolicy.backends.nft import purged as table
from fwpolicy.backends.nft.elements import name_of_set
from fwpolicy.deploy.undo import Undo
from fwpolicy.errors import HostError
from fwpolicy.host.conntrack import ICMP, ICMPV6, TCP
from fwpolicy.ir.ruleset import FAMILY, TABLE
from fwpolicy.record import record, replace
from fwpolicy.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from fwpolicy.backends.nft.purged import Ends
    from fwpolicy.deploy.flows import Scene, Verdicts
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.host.conntrack import Flow
    from fwpolicy.policy.model import Policy

    Tell = Callable[[str], None]
    Members = Callable[[str], AddressSet]

# In silence a sender repeats what was not acknowledged for 15 minutes (tcp(7), tcp_retries2).
_LEAST = {TCP: 3600}
_BRIDGE_CALLS = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@record
class Purge:
    """What is to be done: `condemned` goes, of it `guarded` is what a role denies; `notes` say what is denied
    and stays, each a sentence."""

    condemned: tuple[Flow, ...] = ()
    guarded: frozenset[Flow] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def of_roles(self) -> Purge:
        """What a role denies, alone."""
        return replace(self, condemned=tuple(flow for flow in self.condemned if flow in self.guarded))

    @property
    def rest(self) -> tuple[Flow, ...]:
        """What is condemned, and not by a role."""
        return tuple(flow for flow in self.condemned if flow not in self.guarded)


def look(policy: Policy, scene: Scene, servers: AddressSet | None, flows: Sequence[Flow]) -> Purge:
    """What of `flows` the policy denies. Raises HostError where a route cannot be asked for."""
    if policy.apply.conntrack == "keep":
        return Purge()
    from fwpolicy.deploy.flows import judge  # noqa: PLC0415

    found = judge(policy, flows, scene, servers)
    return Purge(found.condemned, found.guarded, tuple(_notes(found)))


def denies_anything(policy: Policy) -> bool:
    """Does the policy say anything of packets at all?"""
    return policy.ntp is not None or bool(policy.sections)


def scene_of(policy: Policy, machine: Machine, of_group: Members | None = None) -> Scene:
    """This host as its connections see it, in the network namespace of the calling thread. `of_group`: who
    is in a group that is filled at run time. Reads only; raises HostError."""
    from fwpolicy.deploy.flows import Scene  # noqa: PLC0415
    from fwpolicy.host import processes  # noqa: PLC0415
    from fwpolicy.host.operator import operator  # noqa: PLC0415
    from fwpolicy.host.routes import Routes  # noqa: PLC0415

    routes = Routes()
    return Scene(
        processes.own_addresses(),
        processes.broadcast_addresses(),
        {group.name: (of_group or members)(group.name) for group in policy.dynamic},
        routes,
        bridged=routes.has_bridge() and machine.files.read(_BRIDGE_CALLS) != "1\n",
        operator=None if machine.netns else operator(os.environ),
        now=int(time.time()),
    )


def members(group: str) -> AddressSet:
    """Of a group that is filled at run time: what the kernel's set of ours holds now."""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    kernel = Nftables()
    listings = (kernel.listing(f"set {FAMILY} {TABLE} {group}_v{family}") for family in (4, 6))
    held = [e["set"].get("elem", ()) for listing in listings for e in listing["nftables"] if "set" in e]
    return collect(parse(_address(each)) for elements in held for each in elements)


def _address(element: object) -> str:
    """nft's JSON: an address, or one with what is known of it, or a prefix."""
    found = element
    while isinstance(found, dict):
        found = f"{found['addr']}/{found['len']}" if "addr" in found else next(iter(_inner(found)))
    return str(found)


def _inner(found: dict[str, object]) -> Iterator[object]:
    return (found[key] for key in ("elem", "val", "prefix") if key in found)


def _notes(found: Verdicts) -> Iterator[str]:
    for flow in found.operators[:1]:
        yield f"your own connection ({flow_text(flow)}) is denied from now on; it is kept until it ends"
    if found.unsure:
        yield (
            f"{_counted(found.unsure)} kept that one interface is denied and another is not: "
            f"no single route tells which it is, as of {flow_text(found.unsure[0])}"
        )
    if found.bridged:
        yield f"{_counted(found.bridged)} kept that a bridge passes on, where no rule of ours sees it"
    offloaded = [flow for flow in found.condemned if flow.is_offloaded]
    if offloaded:
        yield (
            f"{_counted(offloaded)} offloaded to a flowtable and passes the rules by until that lets go "
            f"of it: {', '.join(map(flow_text, offloaded[:3]))}"
        )


def _counted(flows: Sequence[Flow]) -> str:
    return "1 connection is" if len(flows) == 1 else f"{len(flows)} connections are"


def flow_text(flow: Flow) -> str:
    """`udp ADDR port N -> ADDR port N`."""
    source, destination = (format_address(flow.family, each) for each in (flow.source, flow.destination))
    protocol = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(flow.protocol, f"ip/{flow.protocol}")
    if not flow.sport and not flow.dport:
        return f"{protocol} {source} -> {destination}"
    return f"{protocol} {source} port {flow.sport} -> {destination} port {flow.dport}"


# Done


def denied(
    policy: Policy,
    machine: Machine,
    servers: AddressSet | None,
    tell: Tell,
    of_group: Members | None = None,
) -> Purge:
    """The connections of now that the policy, which is in force by now, denies. Raises HostError; where the
    kernel does not tell of its connections, that is said."""
    from fwpolicy.host import conntrack  # noqa: PLC0415

    relent()
    if policy.apply.conntrack == "keep" or not denies_anything(policy):
        return Purge()
    try:
        flows = conntrack.flows()
    except HostError as error:
        tell(f"connections were not looked at: {error}")
        return Purge()
    if not flows:
        return Purge()
    found = look(policy, scene_of(policy, machine, of_group), servers, flows)
    for note in found.notes:
        tell(note)
    return found


def finish(flows: tuple[Flow, ...], tell: Tell) -> tuple[Flow, ...]:
    """End what was put off. Raises HostError."""
    with Undo() as undo:
        return end(Purge(flows), undo, tell)


def end(found: Purge, undo: Undo, tell: Tell) -> tuple[Flow, ...]:
    """End what is condemned; the connections that were deleted. Raises HostError.

    What is ended does not come back by `undo`, but may begin again.
    """
    if not found.condemned:
        return ()
    from fwpolicy.host import conntrack  # noqa: PLC0415

    _end_sockets(found, tell)
    _bury(found, undo, tell)
    deleted, busy = conntrack.delete(found.condemned)
    if deleted:
        entries = counted(len(deleted), "connection tracking entry", "connection tracking entries")
        tell(f"deleted {entries}")
    if busy:
        tell(f"a flowtable holds {len(busy)} denied connections, which pass the rules by until it lets go")
    return deleted


def _end_sockets(found: Purge, tell: Tell) -> None:
    """Those of this host, whichever end it is: the other end hears of it now, and not in 15 minutes."""
    from fwpolicy.host.sockets import destroy  # noqa: PLC0415

    flows = (flow for flow in found.condemned if flow.protocol == TCP)
    wanted = {
        (flow.family, *ends[1:])
        for flow in flows
        for way in (flow.seen, flow.original)
        for ends in _both_ways(way)
    }
    try:
        ended = destroy(wanted)
    except HostError as error:
        tell(f"processes keep their ends of denied connections until they give up: {error}")
    else:
        if ended:
            tell(f"ended {counted(ended, 'TCP connection')} of this host")


def _bury(found: Purge, undo: Undo, tell: Tell) -> None:
    """What a role denies packet by packet needs no grave."""
    dead = graves(flow for flow in found.condemned if flow not in found.guarded)
    if not dead:
        return
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415
    from fwpolicy.host.nfnetlink import Netfilter  # noqa: PLC0415

    try:
        if not _is_there():
            undo.then(forget)
            Nftables().load(table.text())
        with Netfilter() as kernel:
            kernel.commit(table.burial(dead), None)
        undo.then(_exhume, dead)
    except HostError as error:
        tell(f"denied connections can come back, as the kernel would not remember them: {error}")


def _exhume(dead: Mapping[tuple[int, Ends], int]) -> None:
    from fwpolicy.host.nfnetlink import Netfilter  # noqa: PLC0415

    try:
        with Netfilter() as kernel:
            kernel.commit(table.exhumation(dead), None)
    except HostError:
        forget()  # some are out of time already


def relent() -> None:
    """Whenever another policy comes into force: what the one before denied, this one may allow."""
    if _is_there():
        from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

        Nftables().load(table.relenting())


def _is_there() -> bool:
    from fwpolicy.host.nfnetlink import Netfilter  # noqa: PLC0415

    try:
        with Netfilter() as kernel:
            return kernel.set_kind(name_of_set(table.TABLE, "ends6")) is not None
    except HostError:
        return False  # nor could anything have been put there


def graves(flows: Iterable[Flow]) -> Mapping[tuple[int, Ends], int]:
    """(family, ends) that no packet may have, and for how many seconds: as long as the entry would have
    lived in silence. As a filter sees it, and as it comes where its translation is forgotten, both ways."""
    from fwpolicy.deploy.flows import is_shared  # noqa: PLC0415

    found: dict[tuple[int, Ends], int] = {}
    for flow in flows:
        if flow.protocol in (ICMP, ICMPV6) or is_shared(flow.family, flow.seen[3]):
            continue  # what answers without a question is invalid; nobody answers from there
        seconds = max(flow.seconds, _LEAST.get(flow.protocol, table.SILENCE))
        for ends in (flow.seen, flow.original, flow.reply):
            for each in _both_ways(ends):
                found[flow.family, each] = max(seconds, found.get((flow.family, each), 0))
    return found


def _both_ways(ends: Ends) -> tuple[Ends, Ends]:
    protocol, source, sport, destination, dport = ends
    return ends, (protocol, destination, dport, source, sport)


def forget() -> None:
    """The table is gone, and with it what it remembers."""
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415

    if _is_there():
        Nftables().delete_table(FAMILY, table.TABLE)
