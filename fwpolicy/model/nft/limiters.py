"""What a limiter lets through, in words that a policy's limit can be compared with."""

from __future__ import annotations

from fwpolicy.model.nft import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = Any

_EACH = {
    "ip saddr": " per ipv4 source",
    # A site gets a /64, and a host takes any of its addresses (RFC 4291, 2.5.4).
    "ip6 saddr & ffff:ffff:ffff:ffff::": " per ipv6 source /64",
}


def rate(of: Json) -> str:
    """`limit rate 10/second burst 5 packets`, in place or as an object: "rate 10/second burst 5"."""
    if not isinstance(of, dict) or "rate" not in of or "rate_unit" in of or "burst_unit" in of:
        return render.limit(of)
    over = "over " if of.get("inv") else ""
    return f"rate {over}{of['rate']}/{of['per']} burst {of.get('burst', 5)}"


def count(of: Json) -> str:
    """`ct count 20`: "count 20"."""
    return f"count {'over ' if of.get('inv') else ''}{of['val']}"


def each(left: Json, statements: list[Json]) -> str:
    """`update @set { ip saddr limit ... }`: the bound, for each source by itself."""
    said = [
        rate(of) if kind == "limit" else count(of) if kind == "ct count" else f"{kind} {of}"
        for statement in statements
        for kind, of in statement.items()
    ]
    key = render.expression(left)
    return " and ".join(said) + _EACH.get(key, f" per {key}")
