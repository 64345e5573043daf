"""From a program to what happens to a packet: which base chains it passes, and what each can see.

A packet for this host passes prerouting and input, one that is passed on prerouting, forward and
postrouting, one of this host's own output and postrouting (nf_hook_entries; nft(8) "ADDRESS FAMILIES").
"""

from __future__ import annotations

from fwpolicy.model import fields
from fwpolicy.model.program import ACCEPT, FILTERS, And, Lit, Not, Or, run
from fwpolicy.protocols import EXTENSION_HEADERS
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwpolicy.model.program import Chain, Expr, Program, Rule, Verdict

PASSED = {
    "input": ("prerouting", "input"),
    "forward": ("prerouting", "forward", "postrouting"),
    "output": ("output", "postrouting"),
}
# What becomes of a connection's addresses is a function of its own: of the first packet, where it comes in
# ("dstnat") and where it leaves ("srcnat"), and of the host's own at either end.
TRANSLATED = {
    "dstnat": ("prerouting",),
    "srcnat": ("postrouting",),
    "output-dstnat": ("output",),
    "input-srcnat": ("input",),
}
# NF_IP_PRI_CONNTRACK: before it no packet has been looked up, and `ct state` reads invalid (seen).
CONNTRACK = -200
# What `fib daddr type` says of a packet that is for this host, by its numbers.
LOCAL_TYPES = fields.values(
    *(fields.ADDRESS_TYPES.index(name) for name in ("local", "broadcast", "multicast"))
)
PASSED_ON_TYPES = fields.values(*(fields.ADDRESS_TYPES.index(name) for name in ("unicast", "multicast")))
# ICMP, TCP, UDP, DCCP, ICMPv6, SCTP, UDP-Lite.
KNOWN_BY_PORTS = fields.values(1, 6, 17, 33, 58, 132, 136)
# Behind extension headers stands the protocol (nft_set_pktinfo_ipv6, ip6_packet_match).
_A_PROTOCOL = Or((Lit("nfproto", ((4, 4),)), Not(Lit("l4proto", fields.values(*EXTENSION_HEADERS)))))
LO = fields.interface("lo")


@record
class Stage:
    """A base chain on a packet's way. `fixed`: fields that have one value there, whatever the packet."""

    chain: Chain
    fixed: Mapping[str, int]


def stages(program: Program, hook: str) -> Iterator[Stage]:
    """The base chains that decide on a packet of `hook` (input, output, forward), or on its translation
    (TRANSLATED), in order."""
    types = ("nat",) if hook in TRANSLATED else FILTERS
    for passed in TRANSLATED.get(hook) or PASSED[hook]:
        for chain in program.bases(passed, types):
            yield Stage(chain, _fixed(hook, passed, chain.base.priority if chain.base else 0))


def _fixed(hook: str, passed: str, priority: int) -> dict[str, int]:
    fixed: dict[str, int] = {}
    if hook in ("output", "output-dstnat"):
        fixed["iif"] = fields.NO_INTERFACE
    if passed in ("prerouting", "input"):
        fixed["oif"] = fields.NO_INTERFACE
    if priority < CONNTRACK and passed in ("prerouting", "output"):
        fixed["ctstate"] = fields.STATES.index("invalid")
        fixed["dnat"] = fixed["snat"] = 0
    return fixed


def possible(hook: str) -> Expr:
    """What is true of every packet of `hook` that can be: the diagrams are compared there only."""
    if hook in TRANSLATED:
        return _first_packet(hook)
    lo = Lit("iif" if hook == "input" else "oif", LO)
    tracked = Lit("ctstate", fields.states("new", "established", "related"))
    parts: list[Expr] = [
        _A_PROTOCOL,
        Or((tracked, And((Lit("dnat", ((0, 0),)), Lit("snat", ((0, 0),)))))),
    ]
    # Connection tracking knows packets by their ports and types: where it cannot read them, none is tracked
    # (nf_conntrack_in; get_l4proto).
    readable = Or((Not(tracked), Not(Lit("l4proto", KNOWN_BY_PORTS)), Lit("th", ((1, 1),))))
    parts.append(readable)
    # The first packet of a connection is what its original direction is called after.
    parts.append(Or((Not(Lit("ctstate", fields.states("new"))), Lit("ctdir", ((0, 0),)))))
    some = ((1, (1 << 128) - 1),)
    if hook != "output":
        parts.append(Lit("iif", some))
    if hook != "input":
        parts.append(Lit("oif", some))
    if hook == "input":
        parts.append(Lit("daddrtype", LOCAL_TYPES))
    if hook == "forward":
        parts += [Lit("daddrtype", PASSED_ON_TYPES), Not(Lit("iif", LO)), Not(lo)]
    return And(tuple(parts))


def _first_packet(hook: str) -> Expr:
    """Only the first packet of a connection is asked about (nf_nat_inet_fn), and it can be read."""
    parts: list[Expr] = [
        _A_PROTOCOL,
        Lit("ctstate", fields.states("new", "related")),
        Lit("ctdir", ((0, 0),)),
        Lit("snat", ((0, 0),)),
        Or((Not(Lit("l4proto", KNOWN_BY_PORTS)), Lit("th", ((1, 1),)))),
    ]
    if hook == "dstnat":
        parts.append(Lit("iif", ((1, (1 << 128) - 1),)))
    if hook in ("dstnat", "output-dstnat"):
        parts.append(Lit("dnat", ((0, 0),)))
    return And(tuple(parts))


def decide(program: Program, hook: str, packet: Mapping[str, int]) -> tuple[Verdict, Rule | None]:
    """What happens to `packet`, and the rule that said so last (None: only chain policies did)."""
    decider: Rule | None = None
    for stage in stages(program, hook):
        base = stage.chain.base
        if base is None or packet.get("nfproto", 4) not in base.families:
            continue
        verdict, rule = run(program, stage.chain.name, {**packet, **stage.fixed})
        verdict = verdict or base.policy
        decider = rule or decider
        if verdict != ACCEPT:
            return verdict, rule
    return ACCEPT, decider
