"""The table that keeps deleted connections dead, whoever speaks next.

Without its entry a connection's next packet would make a new one, in whichever direction the policy allows:
the server's next packet is then one that this host, or a network behind it, may begin. So what was deleted
may not be picked up in the middle, nor, where the kernel does not pick up (nf_conntrack_tcp_loose), go on
as what connection tracking calls invalid. A TCP connection that begins anew with a SYN is the policy's to
judge, and what is established since does not come here. It only drops: what the policy's own table lets
through or not is proved without it.
"""

from __future__ import annotations

import struct

from fwpolicy.addresses import BITS
from fwpolicy.backends.nft.elements import (
    CREATE,
    DELETE_ELEMENTS,
    NEW_ELEMENTS,
    Message,
    attribute,
    name_of_set,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    # Protocol, source, source port, destination, destination port.
    Ends = tuple[int, int, int, int, int]

TABLE = "fwpolicy-purged"
TCP = 6
# UDP, DCCP, SCTP, UDP-Lite: their ports are where TCP's are.
PORTED = frozenset((17, 33, 132, 136))
# A message has 16 bits for the length of its elements.
_ROOM = 64_000
_MOST = 1 << 20
# Its own for what is not TCP: counted from the last packet.
SILENCE = 180

_SETS = """\
	set tcp{v} {{
		type {address} . inet_service . {address} . inet_service
		size {most}
		flags timeout
	}}
	set ports{v} {{
		type inet_proto . {address} . inet_service . {address} . inet_service
		size {most}
		flags dynamic,timeout
	}}
	set ends{v} {{
		type inet_proto . {address} . {address}
		size {most}
		flags dynamic,timeout
	}}
"""
_RULES = """\
	chain purged{v} {{
		tcp flags & (fin | syn | rst | ack) != syn {tcp} @tcp{v} drop
		{ports} @ports{v} update @ports{v} {{ {ports} timeout {silence}s }} drop
		{ends} @ends{v} update @ends{v} {{ {ends} timeout {silence}s }} drop
	}}
"""
_HOOKS = """\
	chain {hook} {{
		type filter hook {hook} priority filter - 11; policy accept;
		ct state new,invalid meta nfproto vmap {{ ipv4 : jump purged4, ipv6 : jump purged6 }}
	}}
"""


def text() -> str:
    """The whole table, empty, in the place of whatever is there: its chains run right before the policy's."""
    sets, rules = [], []
    for v, ip, address in ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")):
        ports = f"meta l4proto . {ip} saddr . th sport . {ip} daddr . th dport"
        ends = f"meta l4proto . {ip} saddr . {ip} daddr"
        tcp = f"{ip} saddr . tcp sport . {ip} daddr . tcp dport"
        sets.append(_SETS.format(v=v, address=address, most=_MOST))
        rules.append(_RULES.format(v=v, tcp=tcp, ports=ports, ends=ends, silence=SILENCE))
    hooks = (_HOOKS.format(hook=hook) for hook in ("input", "forward", "output"))
    body = "".join((*sets, *rules, *hooks))
    return f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}}}\n"


def relenting() -> str:
    """Forgets all but TCP, which alone tells a connection that begins anew from one that goes on."""
    names = (f"{kind}{v}" for kind in ("ports", "ends") for v in (4, 6))
    return "".join(f"flush set inet {TABLE} {name}\n" for name in names)


def burial(dead: Mapping[tuple[int, Ends], int]) -> tuple[Message, ...]:
    """What puts (family, ends) into the sets, each for so many seconds."""
    return _messages(dead, NEW_ELEMENTS, CREATE)


def exhumation(dead: Mapping[tuple[int, Ends], int]) -> tuple[Message, ...]:
    """What takes them out again."""
    return _messages(dead, DELETE_ELEMENTS, 0)


def _messages(dead: Mapping[tuple[int, Ends], int], kind: int, flags: int) -> tuple[Message, ...]:
    by_set: dict[str, list[bytes]] = {}
    for (family, ends), seconds in dead.items():
        name, key = _key(family, ends)
        inner = attribute(1, attribute(1, key)) + attribute(4, struct.pack(">Q", seconds * 1000))
        by_set.setdefault(name, []).append(attribute(1, inner))
    bodies = (body for name, found in by_set.items() for body in _bodies(name, found))
    return tuple(Message(kind, flags, body) for body in bodies)


def _key(family: int, ends: Ends) -> tuple[str, bytes]:
    """(set, key): each part is padded to 32 bits."""
    protocol, source, sport, destination, dport = ends
    width = BITS[family] // 8
    here, there = source.to_bytes(width, "big"), destination.to_bytes(width, "big")
    if protocol != TCP and protocol not in PORTED:
        return f"ends{family}", bytes((protocol, 0, 0, 0)) + here + there
    key = here + struct.pack(">Hxx", sport) + there + struct.pack(">Hxx", dport)
    return (f"tcp{family}", key) if protocol == TCP else (f"ports{family}", bytes((protocol, 0, 0, 0)) + key)


def _bodies(name: str, found: list[bytes]) -> Iterable[bytes]:
    """All elements of a set have the same size."""
    most = _ROOM // len(found[0])
    for start in range(0, len(found), most):
        yield name_of_set(TABLE, name) + attribute(3, b"".join(found[start : start + most]))
