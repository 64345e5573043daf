"""Which newly allowed traffic a reviewer had better look at first."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from fwpolicy.addresses import common, merge, subtract
from fwpolicy.model import fields
from fwpolicy.model.compare import ALLOWED
from fwpolicy.model.hooks import TRANSLATED
from fwpolicy.policy.groups import built_in
from fwpolicy.policy.services import BUILT_IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.model.compare import Change
    from fwpolicy.model.describe import Cube

    _Ports = Mapping[int, Intervals]

TCP, UDP = 6, 17
# What runs a machine, or is seldom meant for strangers: (protocol, first port, last port).
ADMINISTRATIVE: dict[str, tuple[tuple[int, int, int], ...]] = {
    "ssh": ((TCP, 22, 22),),
    "telnet": ((TCP, 23, 23),),
    "rpcbind": ((TCP, 111, 111), (UDP, 111, 111)),
    "snmp": ((UDP, 161, 161),),
    "ldap": ((TCP, 389, 389), (UDP, 389, 389)),
    "smb": ((TCP, 139, 139), (TCP, 445, 445)),
    "remote shells": ((TCP, 512, 514),),
    "ipmi": ((UDP, 623, 623),),
    "rsync": ((TCP, 873, 873),),
    "sql": ((TCP, 1433, 1433), (TCP, 1521, 1521), (TCP, 3306, 3306), (TCP, 5432, 5432)),
    "nfs": ((TCP, 2049, 2049), (UDP, 2049, 2049)),
    "docker": ((TCP, 2375, 2376),),
    "etcd": ((TCP, 2379, 2380),),
    "rdp": ((TCP, 3389, 3389), (UDP, 3389, 3389)),
    "vnc": ((TCP, 5900, 5909),),
    "winrm": ((TCP, 5985, 5986),),
    "x11": ((TCP, 6000, 6063),),
    "redis": ((TCP, 6379, 6379),),
    "kubernetes": ((TCP, 6443, 6443), (TCP, 10250, 10250)),
    "elasticsearch": ((TCP, 9200, 9200), (TCP, 9300, 9300)),
    "memcached": ((TCP, 11211, 11211), (UDP, 11211, 11211)),
    "mongodb": ((TCP, 27017, 27019),),
}
# UDP services that send more than they are sent, to whatever address a packet claims to come from; but for
# those that are run for strangers: dns, and ntp, which has a role.
AMPLIFIERS = {
    "qotd": 17,
    "chargen": 19,
    "tftp": 69,
    "rpcbind": 111,
    "netbios": 137,
    "snmp": 161,
    "ldap": 389,
    "ipmi": 623,
    "ssdp": 1900,
    "ws-discovery": 3702,
    "mdns": 5353,
    "memcached": 11211,
}
# A range of more ports is not meant for each service that has one in it, but for media or FTP, say; of more
# services than these it is no accident.
_NAMED, _BY_ACCIDENT = 1000, 2
_RTP = tuple(int(port) for port in BUILT_IN["rtp"].removeprefix("udp/").split("-"))
# So much of the Internet, or more, is no partner's network: a /8, a /32.
_WIDE = {4: 1 << 24, 6: 1 << 96}
_EVERY = ((0, 65535),)
_MOST_PORTS = 1 << 15
_NEW = fields.STATES.index("new")
_NOTHING: _Ports = {}
# How much of it a reviewer should see before the rest.
INTERNET_TO_ADMIN, FROM_INTERNET, TO_ADMIN, NONE = 3, 2, 1, 0


def risks(change: Change, reached: _Ports = _NOTHING) -> tuple[int, tuple[str, ...]]:
    """(how risky, 0 to 3; why, in words). `reached`: the ports that much of the Internet reaches by this
    change and others, by protocol."""
    if change.what != ALLOWED or change.hook == "output" or change.hook in TRANSLATED:
        return NONE, ()
    return of_cubes(change.cubes, reached=reached)


def together(found: Sequence[Change]) -> list[tuple[int, tuple[str, ...]]]:
    """The same of all changes of a host: what many lines open, each to a part of the Internet, is as open as
    if they were one."""
    reached: dict[str, _Ports] = {}
    for hook in {change.hook for change in found}:
        own = [change for change in found if change.hook == hook and change.what == ALLOWED]
        if len(own) > 1:
            reached[hook] = _reached(cube.values for change in own for cube in change.cubes)
    return [risks(change, reached.get(change.hook, _NOTHING)) for change in found]


def _reached(classes: Iterable[Mapping[str, Intervals]]) -> _Ports:
    """The ports that all of the classes together open to much of the Internet, by protocol."""
    sources: dict[tuple[int, int, Intervals], list[Interval]] = {}
    for values in classes:
        if "icmptype" in values or not _has(values, "ctstate", _NEW):
            continue
        for protocol in (each for each in (TCP, UDP) if _has(values, "l4proto", each)):
            for family in (4, 6):
                key = protocol, family, values.get("dport", _EVERY)
                sources.setdefault(key, []).extend(_strangers(values, family))
    return {protocol: tuple(_wide_ports(sources, protocol)) for protocol in (TCP, UDP)}


def _wide_ports(
    sources: Mapping[tuple[int, int, Intervals], list[Interval]], protocol: int
) -> Iterator[Interval]:
    for family in (4, 6):
        own = [(ports, found) for (*kind, ports), found in sources.items() if kind == [protocol, family]]
        ends = sorted({end for ports, _ in own for first, last in ports for end in (first, last + 1)})
        by_part: list[list[Interval]] = [[] for _ in ends]
        for ports, found in own:
            for first, last in ports:
                for part in range(bisect_left(ends, first), bisect_left(ends, last + 1)):
                    by_part[part] += found
        for (first, after), found in zip(pairwise(ends), by_part, strict=False):
            if _number(merge(found)) >= _WIDE[family]:
                yield first, after - 1


def _meets(values: Mapping[str, Intervals], reached: _Ports) -> bool:
    if "icmptype" in values or not any(_strangers(values, family) for family in (4, 6)):
        return False
    return any(
        common(values.get("dport", _EVERY), ports)
        for protocol, ports in reached.items()
        if ports and _has(values, "l4proto", protocol)
    )


def of_cubes(
    cubes: Iterable[Cube], outside: Intervals | None = None, reached: _Ports = _NOTHING
) -> tuple[int, tuple[str, ...]]:
    """The same of classes of packets that come in or pass. `outside`: the interfaces that the Internet is
    behind, where they are known."""
    found = [_of_class(cube.values, outside, reached) for cube in cubes]
    level = max((each for each, _ in found), default=NONE)
    reasons = dict.fromkeys(reason for each, why in found if each == level for reason in why)
    return level, tuple(reasons)


def _of_class(
    values: Mapping[str, Intervals], outside: Intervals | None, reached: _Ports
) -> tuple[int, tuple[str, ...]]:
    if not _has(values, "ctstate", _NEW):
        return NONE, ()
    inside = outside is not None and "iif" in values and not common(values["iif"], outside)
    alone = not inside and any(_from_internet(values, family) for family in (4, 6))
    wide = alone or _meets(values, reached)
    ports = tuple(_ports(values, wide))
    level = (FROM_INTERNET if wide else NONE) + (TO_ADMIN if ports else NONE)
    ranges = tuple(f"{each:,} ports" for each in _ranges(values)) if level else ()
    whence = "from the Internet" if alone else "from the Internet, with other lines"
    return level, ((whence,) if wide else ()) + ports + ranges


def _ports(values: Mapping[str, Intervals], wide: bool) -> Iterator[str]:
    """What the ports stand for; `wide`: whoever asks may be anybody, under any address."""
    protocols = [number for number in (TCP, UDP) if _has(values, "l4proto", number)]
    if not protocols or "icmptype" in values:
        return
    opened = values.get("dport", _EVERY)
    if _most(opened):
        yield "most ports"
        return
    opened = (*opened, *_asked_for(values))
    found = _administrative(protocols, [each for each in opened if _size(each) <= _NAMED])
    among = _administrative(protocols, [each for each in opened if _size(each) > _NAMED])
    found += among if len(among) > _BY_ACCIDENT else []
    yield from (f"administrative: {name}" for name in dict.fromkeys(found))
    if wide and UDP in protocols:
        yield from (f"amplifier: {name}" for name in _amplifiers(opened) if name not in found)


def _asked_for(values: Mapping[str, Intervals]) -> Intervals:
    """The ports at which a forward takes what it sends on to others: strangers look for the service there."""
    published = values.get("origport", _EVERY)
    return () if _most(published) else published


def _administrative(protocols: list[int], opened: list[Interval]) -> list[str]:
    """The services that have a port of their own in it."""
    return [
        name
        for name, parts in ADMINISTRATIVE.items()
        if any(
            first <= last_open and first_open <= last
            for protocol, first, last in parts
            if protocol in protocols
            for first_open, last_open in opened
        )
    ]


def _amplifiers(opened: Intervals) -> Iterator[str]:
    """Those in it, but for a range that says what it is for."""
    ranges = [each for each in opened if each != _RTP]
    for name, port in AMPLIFIERS.items():
        if any(first <= port <= last for first, last in ranges):
            yield name


def _ranges(values: Mapping[str, Intervals]) -> Iterator[int]:
    """How many ports each range has that names none of them."""
    opened = values.get("dport", _EVERY)
    if not _most(opened):
        yield from (_size(each) for each in opened if _size(each) > _NAMED)


def _most(opened: Intervals) -> bool:
    return sum(map(_size, opened)) >= _MOST_PORTS


def _size(ports: Interval) -> int:
    return ports[1] - ports[0] + 1


def _has(values: Mapping[str, Intervals], field: str, value: int) -> bool:
    return field not in values or any(first <= value <= last for first, last in values[field])


def _from_internet(values: Mapping[str, Intervals], family: int) -> bool:
    return _number(_strangers(values, family)) >= _WIDE[family]


def _strangers(values: Mapping[str, Intervals], family: int) -> Intervals:
    """The global addresses of a family that packets come from."""
    internet = built_in("internet").of(family)
    field = f"saddr{family}"
    # A class with addresses of the other family alone is of that family.
    if not _has(values, "nfproto", family) or (field not in values and f"saddr{10 - family}" in values):
        return ()
    if field not in values:
        return internet
    return subtract(merge(values[field]), subtract(fields.universe(field), internet))


def _number(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)
