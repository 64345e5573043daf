"""The table that watches a throw-away host: which packets came, in which state, and which got through.

Each packet has a number (`wire`), by which every chain here knows it: it is its conntrack zone, too, so no
two packets share a connection. What gets through is noted after the last chain and goes no further: no port
answers. Nor does what the kernel sends about a packet.
"""

from __future__ import annotations

from fwpolicy.addresses import format_address
from fwpolicy.host.arena import OURS_NFT
from fwpolicy.model import fields
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Fields = Mapping[str, int]

TABLE = "fwpolicy_trial"
# Numbers are 16 bits, and none is 0.
MOST = 2000
_NUMBER = {"ipv4": "@nh,32,16", "ipv6": "@nh,16,16"}
_NOTED = ("seen", "routed", "arrived_in", "arrived_through", "alive", "rejected")
_STATES = {1 << 0: "invalid", 1 << 1: "established", 1 << 2: "related", 1 << 3: "new", 1 << 6: "untracked"}
_MAPS = ("redirect4", "redirect6")


@record
class Seen:
    """What became of a packet: `verdict` is "accept", "drop", "reject", or "" where it never came to its
    hook; `state`: what connection tracking called it, "" where it was not asked."""

    verdict: str
    state: str


def table() -> str:
    """The table, for nft."""
    text = f"table inet {TABLE} {{\n"
    for name in _NOTED:
        text += f"set {name} {{ typeof ip id; flags dynamic; size 65535; }}\n"
    text += "set states { typeof ip id . ct state; flags dynamic; size 65535; }\n"
    text += "set untracked { typeof ip id; }\nmap ways { typeof ip id : meta mark; }\n"
    text += "map redirect4 { typeof ip id : ip daddr . tcp dport; }\n"
    text += "map redirect6 { typeof ip id : ip6 daddr . tcp dport; }\n"
    for name, kind, hook, priority, rules in _chains():
        text += f"chain {name} {{\ntype {kind} hook {hook} priority {priority}; policy accept;\n{rules}}}\n"
    return text + "}\n"


def _chains() -> tuple[tuple[str, str, str, int, str], ...]:
    noted = {name: _each(f"add @{name} {{ NUMBER }}") for name in _NOTED}
    # As late as can be: a packet with a zone reads as established before it is looked up.
    zones = _each("NUMBER @untracked notrack") + _each("NUMBER != @untracked ct zone set NUMBER")
    states = _each("add @states { NUMBER . ct state }")
    unmark = "meta mark set 0\n"
    return (
        ("from_wire", "filter", "prerouting", -1000, noted["seen"]),
        ("wire_zone", "filter", "prerouting", -201, zones),
        ("wire_state", "filter", "prerouting", -199, states),
        ("redirecting", "nat", "prerouting", -198, _redirecting()),
        ("routing", "filter", "prerouting", 1000, noted["routed"] + _each("meta mark set NUMBER map @ways")),
        ("coming_in", "filter", "input", -1000, noted["arrived_in"] + unmark),
        ("in", "filter", "input", 1000, noted["alive"] + "drop\n"),
        ("coming_through", "filter", "forward", -1000, noted["arrived_through"] + unmark),
        ("from_host", "filter", "output", -1000, _answers() + noted["seen"]),
        ("host_zone", "filter", "output", -201, zones),
        ("host_state", "filter", "output", -199, states),
        ("leaving", "filter", "postrouting", 1000, noted["alive"] + "drop\n"),
    )


def _each(text: str) -> str:
    """Rules for both families; NUMBER stands for where the packet's number is."""
    return "".join(f"meta nfproto {v} {text.replace('NUMBER', place)}\n" for v, place in _NUMBER.items())


def _redirecting() -> str:
    return "".join(
        f"meta l4proto {protocol} dnat {v} to {place} map @redirect{v[2:] or 4}\n"
        for v, place in (("ip", "@nh,32,16"), ("ip6", "@nh,16,16"))
        for protocol in (6, 17, 132)
    )


def _answers() -> str:
    """What the kernel says about a packet: errors repeat its header, resets its numbers."""
    foreign = f"meta priority != {OURS_NFT}"
    return (
        f"{foreign} icmp type destination-unreachable add @rejected {{ @th,96,16 }}\n"
        f"{foreign} icmpv6 type destination-unreachable add @rejected {{ @th,80,16 }}\n"
        f"{foreign} tcp flags & rst == rst add @rejected {{ @th,40,16 }} add @rejected {{ @th,72,16 }}\n"
        f"{foreign} drop\n"
    )


def forgotten() -> str:
    """Commands that forget all packets."""
    sets = "".join(f"flush set inet {TABLE} {name}\n" for name in (*_NOTED, "states", "untracked"))
    return sets + "".join(f"flush map inet {TABLE} {name}\n" for name in ("ways", *_MAPS))


def expected(packets: Iterable[Fields], ways: Mapping[int, int]) -> str:
    """Commands that tell the table of packets (with their numbers as `ident`). `ways`: number -> mark."""
    added = {"ways": [f"{number} : {mark}" for number, mark in ways.items()]}
    for found in packets:
        v, number = found["nfproto"], found["ident"]
        if found["ctstate"] == fields.STATES.index("untracked"):
            added.setdefault("untracked", []).append(str(number))
        if found.get("dnat"):
            place = f"{format_address(v, found[f'daddr{v}'])} . {found['dport']}"
            added.setdefault(f"redirect{v}", []).append(f"{number} : {place}")
    filled = ((name, texts) for name, texts in added.items() if texts)
    return "".join(f"add element inet {TABLE} {name} {{ {', '.join(texts)} }}\n" for name, texts in filled)


def zone(number: int) -> int:
    """The kernel takes the number's bytes for an integer of its own order."""
    return int.from_bytes(number.to_bytes(2, "big"), "little")


def verdicts(packets: Iterable[tuple[str, Fields]], members: Callable[[str], list[bytes]]) -> list[Seen]:
    """What became of each (hook, packet). `members`: the keys of a set of the table."""
    sets = {name: {int.from_bytes(key[:2], "big") for key in members(name)} for name in _NOTED}
    states = {int.from_bytes(key[:2], "big"): int.from_bytes(key[4:], "little") for key in members("states")}
    return [
        Seen(_verdict(hook, found["ident"], sets), _STATES.get(states.get(found["ident"], 0), ""))
        for hook, found in packets
    ]


def _verdict(hook: str, number: int, sets: Mapping[str, set[int]]) -> str:
    stops = {"input": "arrived_in", "forward": "arrived_through"}
    elsewhere = any(number in sets[place] for name, place in stops.items() if name != hook)
    if number not in sets["seen"] or elsewhere:
        return ""
    if number in sets["alive"]:
        return "accept"
    if number in sets["rejected"]:
        return "reject"
    # Between prerouting and its hook only the kernel itself stops a packet.
    stopped = hook in stops and number in sets["routed"] and number not in sets[stops[hook]]
    return "" if stopped else "drop"
