"""The ports that somebody listens on here, and what the new rules do to whoever calls there."""

from __future__ import annotations

from fwpolicy.addresses import LOOPBACK, AddressSet, of, subtract
from fwpolicy.host import processes
from fwpolicy.model.reach import Door, reaches
from fwpolicy.protocols import NUMBERS
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwpolicy.host.processes import Listener
    from fwpolicy.model.program import Program
    from fwpolicy.model.reach import Reach

# DHCP's answers to this host: the step `essential` lets them pass, whatever a policy says.
_ESSENTIAL = {("udp", 68), ("udp", 546)}
_ANY = {"0.0.0.0": (4,), "::": (4, 6)}  # noqa: S104 (an IPv6 socket takes IPv4, too, unless told otherwise)


@record
class Fate:
    """What becomes of a port that somebody listens on.

    `programs`, `units`: who listens. `lost`, `kept`: who no longer can open a connection, who still can, as
    Reach has them. `closes`: for somebody it does; `closed`: nobody at all can then. `passing`: a UDP port
    that the kernel chose for somebody's own questions, most likely; answers to them come in all the same.
    """

    protocol: str
    port: int
    programs: tuple[str, ...]
    units: tuple[str, ...]
    lost: tuple[str, ...]
    kept: tuple[str, ...]
    absent: bool
    closed: bool
    passing: bool

    @property
    def closes(self) -> bool:
        return bool(self.lost)

    @property
    def what(self) -> str:
        """`tcp/22`."""
        return f"{self.protocol}/{self.port}"

    @property
    def who(self) -> str:
        """`sshd (ssh.service)`."""
        who = ", ".join(self.programs) or "of no program that we may see"
        return f"{who} ({', '.join(self.units)})" if self.units else who

    @property
    def rest(self) -> str:
        """To whom it stays open; "" where to nobody."""
        if not self.kept:
            return ""
        few = sum(map(len, self.lost)) < sum(map(len, self.kept)) and "" not in self.lost
        said = f"no longer {' or '.join(self.lost)}" if few else f"only {' or '.join(self.kept)}"
        return f"{said}, which is not here" if self.absent and not few else said


def fates(before: Program, after: Program, now: int) -> tuple[Fate, ...]:
    """Every port of this network namespace that can be reached from outside. Raises TooLargeError."""
    listeners = (*processes.listeners("tcp"), *processes.listeners("udp"))
    own = _outside(processes.own_addresses())
    return judged(listeners, own, processes.interfaces(), processes.ephemeral_ports(), before, after, now)


def judged(
    listeners: Sequence[Listener],
    own: AddressSet,
    interfaces: Sequence[str],
    ephemeral: tuple[int, int],
    before: Program,
    after: Program,
    now: int,
) -> tuple[Fate, ...]:
    """The fates of `listeners` on a host with the addresses `own`, loopback's left out."""
    by_port: dict[tuple[str, int], list[Listener]] = {}
    for each in listeners:
        by_port.setdefault((each.protocol, each.port), []).append(each)
    doors = {key: _door(sockets, own) for key, sockets in sorted(by_port.items()) if key not in _ESSENTIAL}
    doors = {key: door for key, door in doors.items() if door.addresses}
    if not doors:
        return ()
    found = reaches(before, after, tuple(doors.values()), interfaces, now)
    return tuple(_fate(by_port[key], reach, ephemeral) for key, reach in zip(doors, found, strict=True))


def _outside(addresses: AddressSet) -> AddressSet:
    return AddressSet(subtract(addresses.v4, LOOPBACK.v4), subtract(addresses.v6, LOOPBACK.v6))


def _door(sockets: Sequence[Listener], own: AddressSet) -> Door:
    """The host's addresses that the sockets of a port take packets to; none where only over loopback."""
    addresses, groups = AddressSet(), set[int]()
    for each in sockets:
        families = _ANY.get(each.address)
        if families is None:
            addresses |= _outside(of(_plain(each.address)))
            continue
        addresses |= AddressSet(own.v4 if 4 in families else (), own.v6 if 6 in families else ())
        groups |= {family for family in families if each.protocol == "udp" and own.of(family)}
    return Door(NUMBERS[sockets[0].protocol], sockets[0].port, addresses, tuple(sorted(groups)))


def _plain(address: str) -> str:
    """An IPv4 address that a socket for both families is bound to is written as IPv4."""
    return address.removeprefix("::ffff:") if "." in address else address


def _fate(sockets: Sequence[Listener], reach: Reach, ephemeral: tuple[int, int]) -> Fate:
    first = sockets[0]
    return Fate(
        first.protocol,
        first.port,
        tuple(dict.fromkeys(each.process for each in sockets if each.process)),
        tuple(dict.fromkeys(each.unit for each in sockets if each.unit)),
        reach.lost,
        reach.kept,
        reach.absent,
        reach.closed,
        # A socket of no process is the kernel's own: WireGuard's may have such a port.
        first.protocol == "udp"
        and ephemeral[0] <= first.port <= ephemeral[1]
        and all(each.pid is not None for each in sockets),
    )
