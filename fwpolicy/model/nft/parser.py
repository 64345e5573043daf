"""The text of a ruleset -> the commands of libnftables-json(5), each rule with its line and its text.

Reads what `nft list ruleset` prints (with -n, -s, -nn or none), and files that `nft -f` loads, as far as
they say what they mean themselves: no `define`, no `include`.
"""

from __future__ import annotations

import re

from fwpolicy.model.nft.expressions import expression, set_literal
from fwpolicy.model.nft.lexer import END, Tokens
from fwpolicy.model.nft.statements import quota, rate, statements
from fwpolicy.model.nft.words import PRIORITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = Any
    Commands = list[dict[str, Json]]

_MANAGED = re.compile(r"^# Warning: table (\S+ \S+) is managed by iptables-nft.*", re.MULTILINE)
FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
_OBJECTS = ("counter", "quota", "limit", "secmark", "synproxy", "flowtable")
# Addresses, prefixes and ranges only: split at the commas, without a parser.
_PLAIN = re.compile(r"[0-9a-fA-F:./\s,-]*")


def parse(text: str, file: str) -> dict[str, Json]:
    """The document; NotModelledError with the place of what is no nft that this knows."""
    tokens = Tokens(text, file)
    found: Commands = []
    try:
        while tokens.kind != END:
            if tokens.kind == "newline" or tokens.text == ";":
                tokens.advance()
            else:
                found += _command(tokens)
    except RecursionError:
        tokens.refuse("brackets too deep")
    return {"nftables": found}


def managed(text: str) -> list[tuple[int, str, str]]:
    """(line, "FAMILY TABLE", comment) of the tables that nft says are iptables-nft's: what it shows of them
    are translations, which lose negations (seen in 1.0.6, which says so on standard error only)."""
    found = _MANAGED.finditer(text)
    return [(text.count("\n", 0, match.start()) + 1, match[1], match[0]) for match in found]


def _command(tokens: Tokens) -> Commands:
    verb = tokens.take("add", "create", "insert", "delete", "destroy", "flush") or "add"
    kind = tokens.word() if tokens.kind == "word" else tokens.refuse("expected a command")
    if verb == "flush" and kind == "ruleset":
        if tokens.kind == "word":
            tokens.refuse("'flush ruleset' of one family is not modelled")
        return [{"flush": {"ruleset": None}}]
    if verb in ("delete", "destroy", "flush"):
        return [{verb: {kind: _address(tokens, kind)}}]
    if kind == "table":
        return _table(tokens)
    parse_one = _DECLARATIONS.get(kind)
    if parse_one is None:
        tokens.go_back(tokens.at - 1)
        tokens.refuse(f"'{kind}' is not read here")
    family = tokens.take(*FAMILIES) or "ip"
    table = tokens.word()
    found = parse_one(tokens, {"family": family, "table": table})
    return [{"insert": each} for each in found] if verb == "insert" else found


def _address(tokens: Tokens, kind: str) -> Json:
    """Whose deletion or flush: a table, or one thing of it."""
    family = tokens.take(*FAMILIES) or "ip"
    if kind == "table":
        return {"family": family, "name": tokens.word()}
    table = tokens.word()
    if kind not in ("chain", "set", "map", "counter", "limit", "quota") or tokens.text == "handle":
        tokens.refuse(f"this change of a {kind} is not modelled")
    return {"family": family, "table": table, "name": tokens.word()}


def _table(tokens: Tokens) -> Commands:
    family = tokens.take(*FAMILIES) or "ip"
    table: dict[str, Json] = {"family": family, "name": tokens.word()}
    found: Commands = [{"table": table}]
    if not tokens.take("{"):
        return found
    owner = {"family": family, "table": table["name"]}
    while not _closed(tokens):
        if tokens.take("flags"):
            table["flags"] = _names(tokens)
        elif tokens.take("comment"):
            tokens.string()
        else:
            kind = tokens.word() if tokens.kind == "word" else tokens.refuse("expected a chain or a set")
            parse_one = _DECLARATIONS.get(kind) or tokens.refuse(f"'{kind}' is not known in a table")
            found += parse_one(tokens, owner)
    return found


def _closed(tokens: Tokens) -> bool:
    """Over the ends of lines; whether the block ends here."""
    while tokens.kind == "newline" or (tokens.kind == "sign" and tokens.text == ";"):
        tokens.advance()
    if tokens.kind == END:
        tokens.refuse("the block does not end")
    return tokens.take("}") is not None


def _names(tokens: Tokens) -> list[str]:
    found = [tokens.word()]
    while tokens.take(","):
        found.append(tokens.word())
    return found


# Chains.


def _chain(tokens: Tokens, owner: dict[str, Json]) -> Commands:
    chain: dict[str, Json] = owner | {"name": tokens.word()}
    found: Commands = [{"chain": chain}]
    if not tokens.take("{"):
        return found
    tokens.chain = f"{chain['family']} {chain['table']} {chain['name']}"
    while not _closed(tokens):
        if tokens.take("type"):
            _hook(tokens, chain)
        elif tokens.take("policy"):
            chain["policy"] = tokens.expect("accept", "drop")
        elif tokens.take("comment"):
            tokens.string()
        else:
            found.append({"rule": _rule(tokens, owner | {"chain": chain["name"]})})
    tokens.chain = ""
    return found


def _hook(tokens: Tokens, chain: dict[str, Json]) -> None:
    chain["type"] = tokens.word()
    tokens.expect("hook")
    chain["hook"] = tokens.word()
    if tokens.take("device"):
        chain["dev"] = tokens.word()
    elif tokens.take("devices"):
        tokens.expect("=")
        chain["dev"] = set_literal(tokens)["set"]
    tokens.expect("priority")
    chain["prio"] = _priority(tokens)


def _priority(tokens: Tokens) -> int:
    """`-10`, `filter`, `filter - 10`. nft(8) "Standard priority names" (dstnat of a bridge is not read)."""
    base = 0
    if tokens.kind == "word":
        name = tokens.advance()
        base = PRIORITIES[name] if name in PRIORITIES else tokens.refuse(f"'{name}' is no priority")
    sign = tokens.take("-", "+")
    if tokens.kind != "number":
        return base
    return base + (-1 if sign == "-" else 1) * tokens.number()


def _rule(tokens: Tokens, place: dict[str, Json]) -> Json:
    start, line = tokens.at, tokens.line
    found, comment = statements(tokens)
    rule: Json = place | {"expr": found, "line": line, "text": tokens.since(start)}
    return rule | {"comment": comment} if comment is not None else rule


def _rule_command(tokens: Tokens, owner: dict[str, Json]) -> Commands:
    chain = tokens.word()
    if tokens.text in ("handle", "position", "index"):
        tokens.refuse("a rule at a position is not modelled")
    return [{"rule": _rule(tokens, owner | {"chain": chain})}]


# Sets, maps and what else has a name.


def _set(kind: str) -> Callable[[Tokens, dict[str, Json]], Commands]:
    def parse_one(tokens: Tokens, owner: dict[str, Json]) -> Commands:
        found: dict[str, Json] = owner | {"name": tokens.word()}
        tokens.expect("{")
        while not _closed(tokens):
            _set_line(tokens, found)
        return [{kind: found}]

    return parse_one


def _set_line(tokens: Tokens, found: dict[str, Json]) -> None:
    if tokens.kind == "elements":
        found["elem"] = [*found.get("elem", ()), *_elements(tokens)]
        return
    key = tokens.word()
    if key in ("type", "typeof"):
        found["type"] = _type(tokens)
        if tokens.take(":"):
            found["map"] = _type(tokens)
    elif key == "flags":
        found["flags"] = _names(tokens)
    elif key in ("timeout", "gc-interval", "size", "policy"):
        found[key] = tokens.advance()
    elif key == "comment":
        tokens.string()
    elif key in ("counter", "limit", "quota", "last", "ct"):
        # What each element gets of its own, when it is added.
        while not tokens.ends():
            tokens.advance()
    elif key != "auto-merge":
        tokens.refuse(f"'{key}' is not known in a set")


def _type(tokens: Tokens) -> Json:
    if tokens.kind == "word" and tokens.take("interval"):
        return "interval"
    found = expression(tokens)
    return found.get("concat", found) if isinstance(found, dict) else found


def _elements(tokens: Tokens) -> list[Json]:
    """The members between the braces of `elements = { ... }`."""
    text, line = tokens.text, tokens.line
    body = text[text.index("{") + 1 : -1]
    plain = ":" in body or "." in body
    if plain and _PLAIN.fullmatch(body) and " . " not in body and " : " not in body:
        tokens.advance()
        return list(filter(None, map(str.strip, body.split(","))))
    inner = Tokens("{" + body + "}", tokens.file, line)
    inner.chain = tokens.chain
    tokens.advance()
    found: list[Json] = set_literal(inner)["set"]
    return found


def _element_command(tokens: Tokens, owner: dict[str, Json]) -> Commands:
    name = tokens.word()
    return [{"element": owner | {"name": name, "elem": set_literal(tokens)["set"]}}]


def _object(kind: str) -> Callable[[Tokens, dict[str, Json]], Commands]:
    """A counter, a limit ...: only what a limit's rate and a quota's size is matters to verdicts."""

    def parse_one(tokens: Tokens, owner: dict[str, Json]) -> Commands:
        found = owner | {"name": tokens.word()}
        if kind == "limit":
            block = tokens.take("{")
            tokens.blank()
            tokens.take("rate")
            found |= rate(tokens)
            if block and not _closed(tokens):
                tokens.refuse("expected the end of the limit")
        elif kind == "quota":
            block = tokens.take("{")
            tokens.blank()
            found |= quota(tokens)
            if block:
                _skip_block(tokens)
        elif tokens.take("{"):
            _skip_block(tokens)
        return [{kind: found}]

    return parse_one


def _skip_block(tokens: Tokens) -> None:
    depth = 1
    while depth:
        if tokens.kind == END:
            tokens.refuse("the block does not end")
        depth += {"{": 1, "}": -1}.get(tokens.text if tokens.kind == "sign" else "", 0)
        tokens.advance()


def _ct_object(tokens: Tokens, owner: dict[str, Json]) -> Commands:
    return _object(f"ct {tokens.expect('helper', 'timeout', 'expectation')}")(tokens, owner)


_DECLARATIONS: dict[str, Callable[[Tokens, dict[str, Json]], Commands]] = {
    "chain": _chain,
    "rule": _rule_command,
    "set": _set("set"),
    "map": _set("map"),
    "element": _element_command,
    "ct": _ct_object,
    **{kind: _object(kind) for kind in _OBJECTS},
}
