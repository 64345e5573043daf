"""A few rules, one packet, and what the program that is read from the rules does to it."""

from __future__ import annotations

from fwpolicy import addresses
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.iptables import of_text
from fwpolicy.model.program import Program

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "esp": 50, "sctp": 132}
DEFAULTS = {"l4proto": "tcp", "th": 1, "iif": "eth0", "tcpflags": 2, "ttl": 64, "skuid": fields.NO_OWNER}
DEFAULTS |= {"skgid": fields.NO_OWNER, "daddrtype": "local", "saddrtype": "unicast"}


def save(*rules: str, chains: str = "", policy: str = "ACCEPT", table: str = "filter") -> str:
    """The text of one table; `rules` go to INPUT unless they say where."""
    names = ("INPUT", "FORWARD", "OUTPUT") if table == "filter" else ("PREROUTING", "OUTPUT")
    builtin = [f":{name} {policy} [0:0]" for name in names]
    own = [f":{name} - [0:0]" for name in chains.split()]
    added = [rule if rule[:2] in ("-A", "-I") else f"-A INPUT {rule}" for rule in rules]
    return "\n".join([f"*{table}", *builtin, *own, *added, "COMMIT", ""])


def program(*rules: str, family: int = 4, **options: str) -> Program:
    return of_text(save(*rules, **options), "rules.v4", family)


def packet(family: int = 4, **values: object) -> dict[str, int]:
    """A packet's fields: protocols, states, types, interfaces and addresses as people write them."""
    found = {"nfproto": family}
    for name, value in (DEFAULTS | values).items():
        found |= _field(family, name, value)
    return found


def _field(family: int, name: str, value: object) -> dict[str, int]:
    match name:
        case "l4proto" if isinstance(value, str):
            return {name: PROTOCOLS[value]}
        case "iif" | "oif":
            return {name: fields.interface(str(value))[0][0]}
        case "ctstate":
            return {name: fields.STATES.index(str(value))}
        case "daddrtype" | "saddrtype" | "daddrtype_iif":
            return {name: fields.ADDRESS_TYPES.index(str(value))}
        case "pkttype":
            return {name: fields.PACKET_TYPES.index(str(value))}
        case "saddr" | "daddr" | "origsaddr" | "origdaddr":
            return {f"{name}{family}": addresses.parse(str(value))[1]}
    assert isinstance(value, int), name
    return {name: value}


def verdict(found: Program, hook: str = "input", **values: object) -> str:
    family = next(int(chain.base.families[0]) for chain in found.chains.values() if chain.base)
    return decide(found, hook, packet(family, **values))[0].kind


def matches(rule: str, hook: str = "input", family: int = 4, **values: object) -> bool:
    """Whether one condition holds, by a rule that drops."""
    chain = {"input": "INPUT", "output": "OUTPUT", "forward": "FORWARD"}[hook]
    return verdict(program(f"-A {chain} {rule} -j DROP", family=family), hook, **values) == "drop"
