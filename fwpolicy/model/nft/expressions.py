"""What a rule looks at and compares with: nft text -> the expressions of libnftables-json(5).

nft(8) "PRIMARY EXPRESSIONS", "PAYLOAD EXPRESSIONS", "CONNTRACK EXPRESSIONS", "SETS".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fwpolicy.model.nft.lexer import Tokens

    Json = Any

PAYLOADS = (
    *("ip", "ip6", "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "th"),
    *("ether", "vlan", "arp", "ah", "esp", "comp"),
)
# `meta` may be left out before these: nft(8) "META EXPRESSIONS".
UNQUALIFIED = (
    *("iif", "iifname", "iiftype", "iifgroup", "oif", "oifname", "oiftype", "oifgroup", "skuid", "skgid"),
    *("nftrace", "rtclassid", "ibriport", "obriport", "ibrname", "obrname", "pkttype", "cpu", "cgroup"),
    *("mark",),
)
_OPERATORS = {"&": "&", "and": "&", "|": "|", "or": "|", "^": "^", "xor": "^", "<<": "<<", ">>": ">>"}
_PORTS = {"@th,0,16": "sport", "@th,16,16": "dport"}
_TIGHTNESS = {"<<": 3, ">>": 3, "&": 2, "^": 1, "|": 0}


def expression(tokens: Tokens) -> Json:
    """A whole left side: parts joined by " . "."""
    return _series(tokens, ".", "concat", binary)


def _series(tokens: Tokens, sign: str, key: str, part: Callable[[Tokens], Json]) -> Json:
    """Parts joined by `sign`, as {key: parts}; a single one as it is."""
    first = part(tokens)
    if tokens.text != sign or tokens.kind != "sign":
        return first
    parts = [first]
    while tokens.take(sign):
        parts.append(part(tokens))
    return {key: parts}


def left_side(tokens: Tokens) -> Json:
    """An expression that looks at something; a bare word is no nft that this knows."""
    start = tokens.at
    found = expression(tokens)
    if not _looks(found):
        tokens.go_back(start)
        tokens.refuse(f"'{tokens.text}' is not known")
    return found


def _looks(tree: Json) -> bool:
    if not isinstance(tree, dict):
        return False
    ((kind, of),) = tree.items()
    if kind == "concat":
        return all(_looks(part) for part in of)
    return _looks(of[0]) if kind in _TIGHTNESS else kind not in ("range", "prefix")


def binary(tokens: Tokens, least: int = 0) -> Json:
    """Operators as C binds them."""
    left = primary(tokens)
    while tokens.kind != "string" and tokens.text in _OPERATORS:
        operator = _OPERATORS[tokens.text]
        if _TIGHTNESS[operator] < least:
            break
        tokens.advance()
        left = {operator: [left, binary(tokens, _TIGHTNESS[operator] + 1)]}
    return left


def primary(tokens: Tokens) -> Json:
    """One thing to look at, or a value."""
    text = tokens.text
    if tokens.kind == "raw":
        if text in _PORTS:
            # nft lists these so, whoever wrote them.
            return {"payload": {"protocol": "th", "field": _PORTS[tokens.advance()]}}
        base, offset, length = tokens.advance()[1:].split(",")
        return {"payload": {"base": base, "offset": int(offset), "len": int(length)}}
    if tokens.kind == "word":
        if text in PAYLOADS:
            return _payload(tokens)
        if text in UNQUALIFIED:
            return {"meta": {"key": tokens.advance()}}
        if text in _SPECIAL:
            tokens.advance()
            return _SPECIAL[text](tokens)
    if tokens.take("("):
        inner = binary(tokens)
        tokens.expect(")")
        return inner
    return value(tokens)


def _payload(tokens: Tokens) -> Json:
    protocol = tokens.advance()
    if tokens.take("option"):
        found = {"name": tokens.word()}
        if protocol == "tcp" and tokens.kind == "word" and tokens.text in _OPTION_FIELDS:
            found["field"] = tokens.advance()
        return {f"{protocol} option": found}
    if protocol == "sctp" and tokens.take("chunk"):
        name = tokens.word()
        more = {} if tokens.text in ("exists", "missing") else {"field": tokens.word()}
        return {"sctp chunk": {"name": name} | more}
    return {"payload": {"protocol": protocol, "field": tokens.word()}}


_OPTION_FIELDS = ("kind", "length", "size", "count", "left", "right", "tsval", "tsecr")


def _meta(tokens: Tokens) -> Json:
    return {"meta": {"key": tokens.word()}}


def _ct(tokens: Tokens) -> Json:
    side = tokens.take("original", "reply")
    key = tokens.word()
    if key in ("ip", "ip6"):
        key = f"{key} {tokens.expect('saddr', 'daddr')}"
    return {"ct": {"key": key} | ({"dir": side} if side else {})}


def _fib(tokens: Tokens) -> Json:
    flags = [tokens.expect("saddr", "daddr", "mark", "iif", "oif")]
    while tokens.take("."):
        flags.append(tokens.expect("saddr", "daddr", "mark", "iif", "oif"))
    return {"fib": {"result": tokens.expect("type", "oif", "oifname"), "flags": flags}}


def _header(name: str) -> Callable[[Tokens], Json]:
    def parse(tokens: Tokens) -> Json:
        if name == "rt" and tokens.text in ("classid", "nexthop", "mtu", "ipsec", "ip", "ip6"):
            family = tokens.take("ip", "ip6")
            return {"rt": {"key": tokens.word()} | ({"family": family} if family else {})}
        return {"exthdr": {"name": name, "field": tokens.word()}}

    return parse


def _exists(tokens: Tokens) -> Json:
    return {"exthdr": {"name": tokens.word()}}


def _socket(tokens: Tokens) -> Json:
    key = tokens.word()
    level = {"level": tokens.number()} if tokens.take("level") else {}
    return {"socket": {"key": key} | level}


def _osf(tokens: Tokens) -> Json:
    ttl = {"ttl": tokens.word()} if tokens.take("ttl") else {}
    return {"osf": {"key": tokens.expect("name", "version")} | ttl}


def _numgen(tokens: Tokens) -> Json:
    mode = tokens.expect("inc", "random")
    tokens.expect("mod")
    return {"numgen": {"mode": mode, "mod": tokens.number(), "offset": _offset(tokens)}}


def _offset(tokens: Tokens) -> int:
    return tokens.number() if tokens.take("offset") else 0


def _jhash(tokens: Tokens) -> Json:
    found: Json = {"expr": expression(tokens)}
    tokens.expect("mod")
    found["mod"] = tokens.number()
    if tokens.take("seed"):
        found["seed"] = tokens.number()
    return {"jhash": found | _more_offset(tokens)}


def _symhash(tokens: Tokens) -> Json:
    tokens.expect("mod")
    return {"symhash": {"mod": tokens.number()} | _more_offset(tokens)}


def _more_offset(tokens: Tokens) -> Json:
    offset = _offset(tokens)
    return {"offset": offset} if offset else {}


def _ipsec(tokens: Tokens) -> Json:
    found: Json = {"dir": tokens.expect("in", "out")}
    if tokens.take("spnum"):
        found["spnum"] = tokens.number()
    family = tokens.take("ip", "ip6")
    return {"ipsec": found | ({"family": family} if family else {}) | {"key": tokens.word()}}


_SPECIAL: dict[str, Callable[[Tokens], Json]] = {
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "exthdr": _exists,
    "socket": _socket,
    "osf": _osf,
    "numgen": _numgen,
    "jhash": _jhash,
    "symhash": _symhash,
    "ipsec": _ipsec,
    **{name: _header(name) for name in ("rt", "frag", "hbh", "dst", "mh", "srh")},
}


# Right sides.


def value(tokens: Tokens) -> Json:
    """A single value, a prefix or a range."""
    first = _single(tokens)
    if tokens.kind != "sign":
        return first
    if tokens.take("-"):
        return {"range": [first, _single(tokens)]}
    if tokens.text == "/" and isinstance(first, int) and tokens.adjacent():
        # `ct mark 0x10000000/4`: how listings write the highest bits of a number.
        tokens.advance()
        return {"prefix": {"addr": first, "len": tokens.number()}}
    return first


def _single(tokens: Tokens) -> Json:
    kind, text = tokens.kind, tokens.text
    if kind == "number":
        number = tokens.number()
        if tokens.text == "[" and tokens.take("["):
            # `ct original proto-dst 0x50 [invalid type]`: nft 1.0.6 after `meta l4proto { tcp, udp }`.
            tokens.expect("invalid"), tokens.expect("type"), tokens.expect("]")
        return number
    if kind == "string":
        return tokens.string()
    if kind == "address":
        tokens.advance()
        address, slash, length = text.partition("/")
        return {"prefix": {"addr": address, "len": int(length)}} if slash else text
    if kind == "word" and text in ("exists", "missing"):
        return tokens.advance() == "exists"
    if kind == "word" or (kind == "sign" and text == "*"):
        return tokens.advance()
    tokens.refuse("expected a value")


def right(tokens: Tokens) -> Json:
    """What a left side is compared with: a set, its name, a value, or bits `a,b`, `a|b`."""
    if tokens.kind == "set":
        return tokens.advance()
    if tokens.text == "{" and tokens.kind == "sign":
        return set_literal(tokens)
    return bits(tokens)


def bits(tokens: Tokens) -> Json:
    """A value, or several joined by "," or "|", in brackets or not."""
    if tokens.text == "(" and tokens.take("("):
        found = bits(tokens)
        tokens.expect(")")
        return found
    found = [value(tokens)]
    if tokens.kind != "sign" or tokens.text not in (",", "|"):
        return found[0]
    sign = tokens.text
    while tokens.take(sign):
        found.append(value(tokens))
    return found if sign == "," else {"|": found}


def set_literal(tokens: Tokens) -> Json:
    """`{ ... }`: elements, or pairs of a map's."""
    tokens.expect("{")
    found: list[Json] = []
    tokens.blank()
    while not tokens.take("}"):
        found.append(_element(tokens))
        tokens.blank()
        if not tokens.take(","):
            tokens.expect("}")
            break
        tokens.blank()
    return {"set": found}


def _element(tokens: Tokens) -> Json:
    key = _series(tokens, ".", "concat", _element_part)
    if tokens.kind == "sign" and tokens.text in (",", "}"):
        return key
    key = _options(tokens, key)
    if not tokens.take(":"):
        return key
    tokens.blank()
    data = verdict(tokens)
    if data is None:
        data = _series(tokens, ".", "concat", _element_part)
    return [_options(tokens, key), data]


def _element_part(tokens: Tokens) -> Json:
    """`syn | ack` is one element."""
    return _series(tokens, "|", "|", value)


def _options(tokens: Tokens, key: Json) -> Json:
    """What stands behind an element: `timeout 1h expires 5m comment "..." counter packets 1 bytes 2`."""
    more: dict[str, Json] = {}
    while not (tokens.ends() or (tokens.kind == "sign" and tokens.text in (",", ":"))):
        option = tokens.expect("timeout", "expires", "comment", "counter", "limit", "ct", "quota", "last")
        if option == "comment":
            more[option] = tokens.string()
        elif option in ("timeout", "expires"):
            more[option] = tokens.advance()
        else:
            more[option] = None
            while tokens.kind in ("word", "number") and tokens.text not in ("timeout", "expires", "comment"):
                tokens.advance()
                tokens.take("/")
    return {"elem": {"val": key} | more} if more else key


def verdict(tokens: Tokens) -> Json | None:
    """`accept`, `jump x` ...; None where another thing stands."""
    if tokens.kind != "word":
        return None
    if word := tokens.take("accept", "drop", "return", "continue"):
        return {word: None}
    if word := tokens.take("jump", "goto"):
        return {word: {"target": tokens.word()}}
    return None
