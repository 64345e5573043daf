"""A rule's text -> the statements of libnftables-json(5). nft(8) "STATEMENTS"."""

from __future__ import annotations

from fwpolicy.model.nft.expressions import binary, bits, expression, left_side, right, set_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fwpolicy.model.nft.lexer import Tokens

    Json = Any

# What `OP VALUE` without an operator means for these: has one of the bits; a set means exact values.
_BITMASKS = (
    {"payload": {"protocol": "tcp", "field": "flags"}},
    *({"ct": {"key": key}} for key in ("state", "status", "label", "event")),
)
_PRIORITY = {"meta": {"key": "priority"}}
_WORDS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}
_BETWEEN = frozenset((*_WORDS, *_WORDS.values(), "!", "vmap", "set"))
_BYTES = {"bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20, "gbytes": 1 << 30}


def statements(tokens: Tokens) -> tuple[list[Json], str | None]:
    """(the rule's statements up to its end, its comment)."""
    found: list[Json] = []
    comment = None
    while not tokens.ends():
        if tokens.text == "comment" and tokens.kind == "word":
            tokens.advance()
            comment = tokens.string()
        else:
            found.append(_statement(tokens))
    return found, comment


def _statement(tokens: Tokens) -> Json:
    if tokens.kind == "word":
        if parse := _KEYWORDS.get(tokens.text):
            tokens.advance()
            return parse(tokens)
        if tokens.text == "ct" and tokens.texts[tokens.at + 1] == "count":
            tokens.advance(), tokens.advance()
            return {"ct count": _over(tokens, lambda: {"val": tokens.number()})}
    return _about(tokens, left_side(tokens))


def _about(tokens: Tokens, left: Json) -> Json:
    """A match, a verdict map, or a change of what stands on the left."""
    operator = tokens.advance() if tokens.text in _BETWEEN and tokens.kind != "string" else None
    if operator == "vmap":
        return {"vmap": {"key": left, "data": _data(tokens)}}
    if operator == "set":
        value = _class(tokens) if left == _PRIORITY else _new_value(tokens)
        return {"mangle": {"key": left, "value": value}}
    found = _class(tokens) if left == _PRIORITY else right(tokens)
    if isinstance(found, dict) and any(isinstance(member, list) for member in found.get("set", ())):
        tokens.refuse("expected 'vmap' or 'map' before pairs")
    if tokens.text == "/" and tokens.kind == "sign" and left in _BITMASKS:
        # `tcp flags syn / syn,ack`: how listings write `tcp flags & (syn|ack) == syn`.
        tokens.advance()
        left = {"&": [left, bits(tokens)]}
        operator = operator or "=="
    return {"match": _match(left, operator, found)}


def _class(tokens: Tokens) -> str:
    """`1:2`, tc's name of a queue, or `none`."""
    found = tokens.word()
    return f"{found}:{tokens.word()}" if tokens.take(":") else found


def _match(left: Json, operator: str | None, found: Json) -> Json:
    if isinstance(found, dict) and len(found.get("set", ())) == 1:
        # nft makes `{ a }` of one element `a` (seen in its bytecode).
        (found,) = found["set"]
    implicit = "in" if left in _BITMASKS and _is_bits(found) else "=="
    if operator is not None:
        operator = _WORDS.get(operator, operator)
    return {"op": operator or implicit, "left": left, "right": found}


def _is_bits(found: Json) -> bool:
    if isinstance(found, dict):
        return "|" in found
    return not (isinstance(found, str) and found.startswith("@"))


def _data(tokens: Tokens) -> Json:
    if tokens.kind == "set":
        return tokens.advance()
    return set_literal(tokens)


def _new_value(tokens: Tokens) -> Json:
    found = expression(tokens)
    if tokens.take("map"):
        return {"map": {"key": found, "data": _data(tokens)}}
    while tokens.take(","):
        found = {"|": [found, binary(tokens)]}
    return found


def _over(tokens: Tokens, parse: Callable[[], Json]) -> Json:
    over = tokens.take("over")
    tokens.take("until")
    return parse() | ({"inv": True} if over else {})


def _counter(tokens: Tokens) -> Json:
    if tokens.take("name"):
        return {"counter": _object(tokens)}
    if tokens.take("packets"):
        packets = tokens.number()
        tokens.expect("bytes")
        return {"counter": {"packets": packets, "bytes": tokens.number()}}
    return {"counter": None}


def _object(tokens: Tokens) -> Json:
    """The name of a counter, a limit ..., or the map that has it."""
    if tokens.kind == "string":
        return tokens.string()
    found = expression(tokens)
    if tokens.take("map"):
        return {"map": {"key": found, "data": _data(tokens)}}
    return found if isinstance(found, str) else tokens.refuse("expected a name or 'map'")


def _limit(tokens: Tokens) -> Json:
    if tokens.take("name"):
        return {"limit": _object(tokens)}
    tokens.expect("rate")
    return {"limit": rate(tokens)}


def rate(tokens: Tokens) -> Json:
    """`[over] 5/minute burst 3 packets`, `5 mbytes/second`."""
    return _over(tokens, lambda: _rate(tokens))


def _rate(tokens: Tokens) -> Json:
    found: Json = {"rate": tokens.number(), "burst": 5}
    if tokens.take("/"):
        found["per"] = tokens.word()
    else:
        unit, _, found["per"] = tokens.word().partition("/")
        found |= {"rate_unit": unit, "burst": 0, "burst_unit": "bytes"}
    if tokens.take("burst"):
        found["burst"] = tokens.number()
        unit = tokens.expect("packets", "bytes", "kbytes", "mbytes", "gbytes")
        if unit != "packets":
            found["burst_unit"] = unit
    return found


def _quota(tokens: Tokens) -> Json:
    if tokens.take("name"):
        return {"quota": _object(tokens)}
    return {"quota": _over(tokens, lambda: _bytes(tokens))}


def quota(tokens: Tokens) -> Json:
    """What a quota's object holds, as JSON has it; what was used of it comes and goes."""
    found = _over(tokens, lambda: _bytes(tokens))
    return {"bytes": found["val"] * _BYTES[found["val_unit"]], "inv": bool(found.get("inv"))}


def _bytes(tokens: Tokens) -> Json:
    found = {"val": tokens.number(), "val_unit": tokens.word()}
    if tokens.take("used"):
        found |= {"used": tokens.number(), "used_unit": tokens.word()}
    return found


def _log(tokens: Tokens) -> Json:
    found: dict[str, Json] = {}
    while key := tokens.take("prefix", "level", "group", "snaplen", "queue-threshold", "flags"):
        if key == "flags":
            found[key] = tokens.word()
            while tokens.kind == "word" and tokens.text in ("sequence", "options", "ether", "uid", "all"):
                tokens.advance()
            while tokens.take(","):
                tokens.word()
        else:
            found[key] = tokens.number() if tokens.kind == "number" else tokens.word()
    return {"log": found or None}


def _reject(tokens: Tokens) -> Json:
    if not tokens.take("with"):
        return {"reject": None}
    kind = tokens.expect("icmp", "icmpv6", "icmpx", "tcp")
    if kind == "tcp":
        tokens.expect("reset")
        return {"reject": {"type": "tcp reset"}}
    tokens.take("type", "code")
    return {"reject": {"type": kind, "expr": tokens.number() if tokens.kind == "number" else tokens.word()}}


def _nat(kind: str) -> Callable[[Tokens], Json]:
    def parse(tokens: Tokens) -> Json:
        found: dict[str, Json] = {}
        if kind in ("snat", "dnat", "tproxy") and (family := tokens.take("ip", "ip6")):
            found["family"] = family
        while tokens.take("prefix", "interval", "addr", ".", "port"):
            found["mapping"] = True
        if tokens.take("to"):
            found |= _target(tokens, with_address=kind in ("snat", "dnat", "tproxy"))
        flags = []
        while flag := tokens.take("random", "fully-random", "persistent", "prefix"):
            flags.append(flag)
            tokens.take(",")
        if flags:
            found["flags"] = flags[0] if len(flags) == 1 else flags
        return {kind: found or None}

    return parse


def _target(tokens: Tokens, *, with_address: bool) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if with_address and tokens.text != ":":
        found["addr"] = _nat_address(tokens)
        if tokens.take("map"):
            found["addr"] = {"map": {"key": found["addr"], "data": _data(tokens)}}
    if tokens.take(":"):
        found["port"] = _new_value(tokens)
    return found


def _nat_address(tokens: Tokens) -> Json:
    if not tokens.take("["):
        return expression(tokens)
    found = right(tokens)
    tokens.expect("]")
    if tokens.take("-"):
        tokens.expect("[")
        found = {"range": [found, right(tokens)]}
        tokens.expect("]")
    return found


def _queue(tokens: Tokens) -> Json:
    found: dict[str, Json] = {}
    while key := tokens.take("num", "to", "flags", "bypass", "fanout"):
        if key in ("num", "to"):
            found["num"] = _new_value(tokens)
        elif key != "flags":
            found.setdefault("flags", []).append(key)
            tokens.take(",")
    return {"queue": found or None}


def _set_change(operation: str) -> Callable[[Tokens], Json]:
    def parse(tokens: Tokens) -> Json:
        if tokens.kind != "set":
            tokens.refuse("expected a set's name")
        name = tokens.advance()
        tokens.expect("{")
        found = {"op": operation, "elem": _key(tokens), "set": name}
        stateful = _until_brace(tokens)
        return {"set": found | ({"stmt": stateful} if stateful else {})}

    return parse


def _key(tokens: Tokens) -> Json:
    """What a rule puts into a set, with how long it stays."""
    key = left_side(tokens)
    return {"elem": {"val": key, "timeout": tokens.advance()}} if tokens.take("timeout") else key


def _until_brace(tokens: Tokens) -> list[Json]:
    stateful = []
    while not tokens.take("}"):
        if tokens.take(":"):
            tokens.refuse("a map that is filled by rules is not modelled")
        stateful.append(_statement(tokens))
    return stateful


def _meter(tokens: Tokens) -> Json:
    name = tokens.word()
    size = tokens.number() if tokens.take("size") else 65535
    tokens.expect("{")
    key = _key(tokens)
    stateful = _until_brace(tokens)
    if len(stateful) != 1:
        tokens.refuse("expected one statement in the meter")
    return {"meter": {"key": key, "stmt": stateful[0], "size": size, "name": name}}


def _flow(tokens: Tokens) -> Json:
    tokens.expect("add", "offload")
    return {"flow": {"op": "add", "flowtable": tokens.advance()}}


def _to_device(kind: str) -> Callable[[Tokens], Json]:
    """`dup to 192.0.2.1 device "eth0"`, `fwd to "eth0"`."""

    def parse(tokens: Tokens) -> Json:
        found: dict[str, Json] = {}
        if family := tokens.take("ip", "ip6"):
            found["family"] = family
        tokens.expect("to")
        found["addr"] = _new_value(tokens)
        if tokens.take("device"):
            found["dev"] = _new_value(tokens)
        return {kind: found}

    return parse


def _xt(tokens: Tokens) -> Json:
    return {"xt": {"type": tokens.word(), "name": tokens.word()}}


def _synproxy(tokens: Tokens) -> Json:
    found: dict[str, Json] = {}
    while key := tokens.take("name", "mss", "wscale", "timestamp", "sack-perm"):
        found[key] = None if key in ("timestamp", "sack-perm") else tokens.advance()
    return {"synproxy": found or None}


_KEYWORDS: dict[str, Callable[[Tokens], Json]] = {
    "accept": lambda _: {"accept": None},
    "drop": lambda _: {"drop": None},
    "return": lambda _: {"return": None},
    "continue": lambda _: {"continue": None},
    "jump": lambda tokens: {"jump": {"target": tokens.word()}},
    "goto": lambda tokens: {"goto": {"target": tokens.word()}},
    "counter": _counter,
    "limit": _limit,
    "quota": _quota,
    "log": _log,
    "reject": _reject,
    "queue": _queue,
    "notrack": lambda _: {"notrack": None},
    "last": lambda _: {"last": None},
    "reset": lambda tokens: {"reset": expression(tokens)},
    "add": _set_change("add"),
    "update": _set_change("update"),
    "delete": _set_change("delete"),
    "meter": _meter,
    "flow": _flow,
    "dup": _to_device("dup"),
    "fwd": _to_device("fwd"),
    "xt": _xt,
    "synproxy": _synproxy,
    **{kind: _nat(kind) for kind in ("snat", "dnat", "masquerade", "redirect", "tproxy")},
}
