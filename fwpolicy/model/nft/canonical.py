"""One spelling of what a match compares with, whichever flags the listing was made with.

What stays opaque is equal to the same words only, and `nft list` says `tcp` where `nft -n list` says 6.
"""

from __future__ import annotations

from fwpolicy.model.nft import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = Any

_THERE: dict[Any, Any] = {"0": False, "1": True}
_DAYS = {
    name: number
    for number, name in enumerate(
        ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
    )
}
# `nft -n -j` swaps the bytes of these.
_ETHERTYPES = {"ip": 8, 2048: 8, "arp": 1544, 2054: 1544, "ip6": 56710, 34525: 56710, "vlan": 129, 33024: 129}
_NAMES: dict[tuple[str, str], Mapping[Any, Any]] = {
    ("ct", "state"): words.CT_STATES,
    ("ct", "status"): words.CT_STATUS,
    ("ct", "l3proto"): {"ipv4": 2, "ipv6": 10},
    ("ct", "protocol"): words.PROTOCOLS,
    ("ct", "direction"): words.DIRECTIONS,
    ("meta", "l4proto"): words.PROTOCOLS,
    ("meta", "protocol"): _ETHERTYPES,
    ("meta", "day"): _DAYS,
    ("ip", "protocol"): words.PROTOCOLS,
    ("ip6", "nexthdr"): words.PROTOCOLS,
    ("ether", "type"): _ETHERTYPES,
    ("vlan", "type"): _ETHERTYPES,
    ("tcp", "flags"): words.TCP_FLAGS,
    ("icmp", "type"): words.ICMP_TYPES,
    ("icmpv6", "type"): words.ICMPV6_TYPES,
    **{(proto, side): words.SERVICES for proto in ("tcp", "udp", "th") for side in ("sport", "dport")},
}


# The NTP mode: nft 1.1 lists three bits where those before list a masked byte.
_BITS: Json = {"payload": {"base": "th", "offset": 69, "len": 3}}
_BYTE: Json = {"payload": {"base": "th", "offset": 64, "len": 8}}


def left(tree: Json) -> Json:
    """What a match looks at, in the words of any release."""
    return {"&": [_BYTE, 7]} if tree == _BITS else tree


def right(left: Json, tree: Json) -> Json:
    """`tree` as it is compared with `left`, with numbers for words."""
    if isinstance(left, dict) and "concat" in left:
        return _of_parts(left["concat"], tree)
    names = _names(left)
    return _replaced(names, tree) if names or left == _EXPIRATION else tree


_EXPIRATION = {"ct": {"key": "expiration"}}


def _names(left: Json) -> Mapping[Any, Any]:
    ((kind, of), *_) = left.items()
    if kind in ("&", "|", "^"):
        return _names(of[0]) if isinstance(of[0], dict) else {}
    if kind == "payload" and "protocol" in of:
        return _NAMES.get((of["protocol"], of["field"]), {})
    if kind in ("meta", "ct"):
        return _NAMES.get((kind, of["key"]), {})
    absent = kind in ("exthdr", "ip option", "tcp option", "sctp chunk") and "field" not in of
    if absent or (kind == "fib" and of["result"] in ("oif", "oifname")):
        return _THERE
    return {}


def _replaced(names: Mapping[Any, Any], tree: Json) -> Json:
    if isinstance(tree, dict):
        return {
            kind: of if kind == "elem" and "val" not in of else _replaced(names, of)
            for kind, of in tree.items()
        }
    if isinstance(tree, list):
        return [_replaced(names, each) for each in tree]
    if isinstance(tree, bool):
        return tree
    if names is _THERE and isinstance(tree, int):
        return names.get(str(tree), tree)
    if not names:
        return _seconds(tree)
    return names.get(tree, tree)


def _seconds(text: Json) -> Json:
    """`1h30m` as JSON says it."""
    if not isinstance(text, str):
        return text
    total, number = 0, ""
    for character in text:
        if character.isdigit():
            number += character
        elif number and character in _UNITS:
            total, number = total + int(number) * _UNITS[character], ""
        else:
            return text
    return total


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def _of_parts(parts: list[Json], tree: Json) -> Json:
    if isinstance(tree, dict) and "concat" in tree:
        pairs = zip(parts, tree["concat"], strict=False)
        return {"concat": [right(part, value) if isinstance(part, dict) else value for part, value in pairs]}
    if isinstance(tree, dict) and "set" in tree:
        return {"set": [_of_parts(parts, member) for member in tree["set"]]}
    if isinstance(tree, dict) and "elem" in tree:
        return _of_parts(parts, tree["elem"]["val"])
    return tree
