"""A policy's `nat` as chains of the model: what becomes of the first packet of each connection."""

from __future__ import annotations

from fwpolicy.addresses import format_address
from fwpolicy.model import fields
from fwpolicy.model.conditions import interfaces, redirected_by, service
from fwpolicy.model.program import And, Lit, Not, Or, Verdict
from fwpolicy.model.steps import policy_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.addresses import AddressSet
    from fwpolicy.model.program import Expr, Rule
    from fwpolicy.policy import model

LOCAL = fields.values(fields.ADDRESS_TYPES.index("local"))


def redirections(policy: model.Policy) -> Iterator[Rule]:
    """What is asked for at one of the host's addresses and goes elsewhere."""
    for forward in policy.nat.forward if policy.nat else ():
        family, address = forward.to
        shown = format_address(family, address)
        port = "" if forward.port is None else f":{forward.port}"
        target = Verdict(f"dnat to {f'[{shown}]' if port and family == 6 else shown}{port}")
        arriving = interfaces("iif", forward.incoming)
        if forward.hairpin:
            # One of the host's own addresses, but not of the interface that it comes in by.
            outside = And((Not(arriving), Not(Lit("daddrtype_iif", LOCAL))))
            arriving = Or((arriving, outside))
        asked = And(service(forward.service, published=False))
        parts = (arriving, Lit("daddrtype", LOCAL), *_of(family, forward.source), asked)
        yield policy_rule("nat", And(parts), target, forward.origin, "this port forward redirects it")


def senders(policy: model.Policy) -> Iterator[Rule]:
    """Who gets another source address: a hairpin's clients, then `snat`, then `masquerade`."""
    nat = policy.nat
    if nat is None:
        return
    masquerade = Verdict("masquerade")
    for forward in nat.forward:
        if forward.hairpin:
            parts: tuple[Expr, ...] = (redirected_by(forward), Not(interfaces("iif", forward.incoming)))
            reason = "the server must answer by way of this host"
            yield policy_rule("nat", And(parts), masquerade, forward.origin, reason)
    for snat in nat.snat:
        parts = (interfaces("oif", snat.outgoing), *_of(snat.to[0], snat.source))
        verdict = Verdict(f"snat to {format_address(*snat.to)}")
        yield policy_rule("nat", And(parts), verdict, snat.origin, "this line translates it")
    for line in nat.masquerade:
        for family in line.families:
            parts = (interfaces("oif", line.outgoing), *_of(family, line.source))
            yield policy_rule("nat", And(parts), masquerade, line.origin, "this line translates it")


def _of(family: int, source: AddressSet | None) -> tuple[Expr, ...]:
    v = Lit("nfproto", ((family, family),))
    return (v,) if source is None else (v, Lit(f"saddr{family}", source.of(family)))
