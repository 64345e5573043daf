"""What a first policy is made from: who listens here, who is connected, who asks for the time."""

from __future__ import annotations

from fwpolicy.addresses import LOOPBACK, format_address, parse
from fwpolicy.errors import HostError
from fwpolicy.host import processes
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwpolicy.host.operator import Operator
    from fwpolicy.host.processes import Listener

NTP = 123


@record
class Open:
    """A port on which the host takes packets.

    `programs`, `addresses`: of its sockets; `loopback`: none of them can be reached from outside.
    `passing`: a UDP port that the kernel chose for somebody's own question, most likely.
    """

    protocol: str
    port: int
    programs: tuple[str, ...]
    addresses: tuple[str, ...]
    loopback: bool
    passing: bool = False


@record
class Scene:
    """`host`: its name. `daemon`: the kind of time daemon that runs, "" for none; `askers`: who asks it,
    None where it takes questions and nobody could see whether any come."""

    host: str
    open: tuple[Open, ...]
    operator: Operator | None
    daemon: str
    askers: tuple[str, ...] | None


def look(environment: Mapping[str, str], host: str) -> Scene:
    """This host now, as far as we may know it; in the network namespace of the calling thread."""
    from fwpolicy.host.operator import operator  # noqa: PLC0415

    listeners = (*processes.listeners("tcp"), *processes.listeners("udp"))
    ports = open_ports(listeners, processes.ephemeral_ports())
    daemon = _daemon()
    return Scene(host, ports, operator(environment), daemon, askers(ports) if daemon else ())


def open_ports(listeners: tuple[Listener, ...], ephemeral: tuple[int, int]) -> tuple[Open, ...]:
    """The listeners by protocol and port."""
    by_port: dict[tuple[str, int], list[Listener]] = {}
    for listener in listeners:
        by_port.setdefault((listener.protocol, listener.port), []).append(listener)
    return tuple(
        Open(
            protocol,
            port,
            tuple(dict.fromkeys(each.process for each in sockets if each.process)),
            tuple(dict.fromkeys(each.address for each in sockets)),
            all(is_loopback(each.address) for each in sockets),
            # A socket of no process is the kernel's own: WireGuard's may have such a port.
            protocol == "udp"
            and ephemeral[0] <= port <= ephemeral[1]
            and all(each.pid is not None for each in sockets),
        )
        for (protocol, port), sockets in sorted(by_port.items())
    )


def is_loopback(address: str) -> bool:
    family, value, _ = parse(address.removeprefix("::ffff:") if "." in address else address)
    return (family, value) in LOOPBACK


def _daemon() -> str:
    """The time daemon that runs. Its configuration is read, too, and is not our business here."""
    from fwpolicy.deploy.daemons import discover  # noqa: PLC0415
    from fwpolicy.host.files import Files  # noqa: PLC0415

    try:
        return next((found.config.kind for found in discover(Files()) if found.pid is not None), "")
    except HostError:
        return ""


def askers(ports: tuple[Open, ...]) -> tuple[str, ...] | None:
    """Who asks this host for the time, as connection tracking tells; it may not be in use."""
    if not any((each.protocol, each.port) == ("udp", NTP) and not each.loopback for each in ports):
        return ()
    from fwpolicy.host.conntrack import UDP, flows  # noqa: PLC0415

    try:
        every = flows()
    except HostError:
        return None
    here = processes.own_addresses()
    return (
        tuple(
            dict.fromkeys(
                format_address(flow.family, flow.source)
                for flow in every
                if (flow.protocol, flow.dport) == (UDP, NTP)
                and (flow.family, flow.destination) in here
                and (flow.family, flow.source) not in here
            )
        )
        if every
        else None
    )
