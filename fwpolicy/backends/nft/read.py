"""`nft -n -j list` -> Ruleset, the opposite of render. Numeric: plain -j prints code 0 as a name.

Whatever is not understood is refused by name, never skipped (docs/architecture.md).
"""

from __future__ import annotations

from fwpolicy.addresses import AddressError, collect, merge, parse
from fwpolicy.ir.ruleset import (
    Accept,
    Address,
    Base,
    Chain,
    CtState,
    Drop,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    LocalDestination,
    Match,
    Nfproto,
    NtpMode,
    Port,
    Reject,
    Return,
    Rule,
    Ruleset,
    Set,
    Table,
    Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Json = Any

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": 58, "sctp": 132}
_FAMILIES = {"ip": 4, "ip6": 6}
# linux/netfilter.h NFPROTO_IPV4, NFPROTO_IPV6.
_NFPROTO = {2: 4, 10: 6, "ipv4": 4, "ipv6": 6}
# nft(8) "ct state"; the bits of linux/netfilter/nf_conntrack_common.h.
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
# RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST of linux/rtnetlink.h.
_LOCAL_TYPES = [{2, 3, 5}, {"local", "broadcast", "multicast"}]


_TABLE_KEYS = frozenset(("family", "name", "handle"))
_SET_KEYS = frozenset(("family", "name", "table", "type", "handle", "flags", "elem"))
_CHAIN_KEYS = frozenset(("family", "table", "name", "handle", "type", "hook", "prio", "policy"))
_RULE_KEYS = frozenset(("family", "table", "chain", "handle", "index", "comment", "expr"))


class UnknownExpressionError(ValueError):
    """The listing says something that the IR has no word for."""


def read(listing: Json, family: str, name: str) -> Table | None:
    """Table `family name` of a listing (the object that libnftables returns), or None if it is not there.

    Raises UnknownExpressionError. Chains and sets come in listing order, rules without origin.
    """
    objects = [next(iter(entry.items())) for entry in listing["nftables"]]
    table = next((b for k, b in objects if k == "table" and (b["family"], b["name"]) == (family, name)), None)
    if table is None:
        return None
    _only(table, "table", _TABLE_KEYS)
    mine = [(k, b) for k, b in objects if b.get("family") == family and b.get("table") == name]
    rules: dict[str, list[Rule]] = {}
    for kind, body in mine:
        if kind == "rule":
            rules.setdefault(body["chain"], []).append(_rule(body))
        elif kind not in ("set", "chain"):
            raise UnknownExpressionError(f"{kind} {body.get('name', '')}")
    sets = tuple(_set(body) for kind, body in mine if kind == "set")
    chains = tuple(_chain(body, tuple(rules.get(body["name"], ()))) for kind, body in mine if kind == "chain")
    return Table(family, name, sets, chains)


def normal_form(ruleset: Ruleset) -> dict[str, Json]:
    """What two rulesets must share to be the same: order of sets, chains and of the matches of a
    rule left out, and matches that nft itself implies and so leaves out of listings."""
    return {
        f"{table.family} {table.name}": {
            "sets": {each.name: (each.family, merge(each.intervals)) for each in table.sets},
            "chains": {
                chain.name: (chain.base, tuple(_normal_rule(rule) for rule in chain.rules))
                for chain in table.chains
            },
        }
        for table in ruleset.tables
    }


def _normal_rule(rule: Rule) -> tuple[object, ...]:
    matches = {_normal_match(match) for match in rule.matches}
    matches -= {Nfproto(family) for match in matches if (family := _implied_family(match))}
    if rule.verdict == Reject("tcp-reset"):
        matches.discard(L4Proto((6,)))
    return (frozenset(matches), rule.verdict, rule.counter, rule.step, rule.comment)


def _implied_family(match: Match) -> int | None:
    """nft leaves out a family that another match of the rule implies."""
    if isinstance(match, Address):
        return match.family
    return {1: 4, 58: 6}[match.protocol] if isinstance(match, IcmpType) else None


def _normal_match(match: Match) -> Match:
    if isinstance(match, Port):
        return Port(match.protocol, match.side, merge(match.ports))
    return match


def _only(body: Json, what: str, known: frozenset[str]) -> None:
    """Refuse what we would overlook: a dormant table or a set with a timeout means something else."""
    strange = [key for key in body if key not in known]
    if strange:
        raise UnknownExpressionError(f"{what} {body.get('name', '')} with {strange[0]}: {body[strange[0]]}")


def _set(body: Json) -> Set:
    _only(body, "set", _SET_KEYS)
    if any(flag != "interval" for flag in body.get("flags", ())):
        raise UnknownExpressionError(f"set {body['name']} with flags {body['flags']}")
    family = {"ipv4_addr": 4, "ipv6_addr": 6}.get(body["type"] if isinstance(body["type"], str) else "")
    if family is None:
        raise UnknownExpressionError(f"set {body['name']} of type {body['type']}")
    return Set(body["name"], family, _intervals(body.get("elem", ()), family))


def _chain(body: Json, rules: tuple[Rule, ...]) -> Chain:
    _only(body, "chain", _CHAIN_KEYS)
    base = Base(body["hook"], body["prio"], body["policy"], body["type"]) if "hook" in body else None
    return Chain(body["name"], rules, base)


def _rule(body: Json) -> Rule:
    _only(body, "rule", _RULE_KEYS)
    matches: list[Match] = []
    counter = False
    verdict: Verdict | None = None
    for expression in body["expr"]:
        ((kind, value),) = expression.items()
        if kind == "match":
            matches.append(_match(value))
        elif kind == "counter":
            counter = True
        elif verdict is None:
            verdict = _verdict(kind, value)
        else:
            raise UnknownExpressionError(f"{kind} after a verdict in {body['chain']}")
    if verdict is None:
        raise UnknownExpressionError(f"a rule without a verdict in {body['chain']}")
    step, _, comment = body.get("comment", "").partition(": ")
    return Rule(tuple(matches), verdict, step, None, counter, comment or None)


def _verdict(kind: str, value: Json) -> Verdict:
    simple: dict[str, Verdict] = {"accept": Accept(), "drop": Drop(), "return": Return()}
    if kind in simple:
        return simple[kind]
    if kind == "jump":
        return Jump(value["target"])
    if kind == "reject":
        if value and value.get("type") == "tcp reset":
            return Reject("tcp-reset")
        # icmpx code 1 is port-unreachable (linux/netfilter/nf_tables.h), and nft's default.
        if not value or (value.get("type"), value.get("expr")) in (
            ("icmpx", 1),
            ("icmpx", "port-unreachable"),
        ):
            return Reject("port-unreachable")
    raise UnknownExpressionError(f"{kind} {value if value else ''}".strip())


def _match(value: Json) -> Match:
    if value["op"] not in ("==", "!=", "in"):
        raise UnknownExpressionError(f"match with operator {value['op']}")
    negated = value["op"] == "!="
    left, right = value["left"], value["right"]
    ((kind, key),) = left.items()
    members = (
        right["set"]
        if isinstance(right, dict) and "set" in right
        else right
        if isinstance(right, list)
        else [right]
    )
    found: Match | None = None
    if kind == "payload":
        found = _payload(key, right, members, negated)
    elif kind == "&" and key == [{"payload": {"base": "th", "offset": 64, "len": 8}}, 7]:
        return NtpMode(tuple(sorted(members)), negated)
    elif kind == "meta":
        found = _meta(key["key"], members)
    elif kind == "ct" and key == {"key": "state"}:
        found = CtState(tuple(sorted(_STATES.get(state, state) for state in members)))
    elif kind == "fib" and key["result"] == "type" and key["flags"] in (["daddr"], "daddr"):
        found = LocalDestination() if set(members) in _LOCAL_TYPES else None
    if found is None or (negated and not getattr(found, "negated", False)):
        raise UnknownExpressionError(f"match {value}")
    return found


def _meta(key: str, members: list[Json]) -> Match | None:
    if key in ("iifname", "oifname"):
        return Interface(key, tuple(members))
    if key == "nfproto" and len(members) == 1:
        return Nfproto(_NFPROTO[members[0]])
    if key == "l4proto":
        return L4Proto(tuple(sorted(_PROTOCOLS[m] if m in _PROTOCOLS else int(m) for m in members)))
    return None


def _payload(key: Json, right: Json, members: list[Json], negated: bool) -> Match | None:
    protocol, field = key.get("protocol"), key.get("field")
    if protocol in _FAMILIES and field in ("saddr", "daddr"):
        family = _FAMILIES[protocol]
        if isinstance(right, str) and right.startswith("@"):
            return Address(family, field, set_name=right[1:], negated=negated)
        return Address(family, field, _intervals(members, family), negated=negated)
    if protocol in ("icmp", "icmpv6") and field == "type":
        return IcmpType(_PROTOCOLS[protocol], tuple(sorted(members)))
    if protocol in _PROTOCOLS and field in ("sport", "dport"):
        ports = [tuple(m["range"]) if isinstance(m, dict) else (m, m) for m in members]
        return Port(_PROTOCOLS[protocol], field, merge(ports))
    return None


def _intervals(members: Iterable[Json], family: int) -> tuple[tuple[int, int], ...]:
    try:
        return collect(parse(_address_text(member)) for member in members).of(family)
    except (AddressError, KeyError, TypeError) as error:
        raise UnknownExpressionError(f"address element: {error}") from None


def _address_text(member: Json) -> str:
    if isinstance(member, str):
        return member
    if "elem" in member:
        return _address_text(member["elem"]["val"])
    if "prefix" in member:
        return f"{member['prefix']['addr']}/{member['prefix']['len']}"
    first, last = member["range"]
    return f"{first}-{last}"
