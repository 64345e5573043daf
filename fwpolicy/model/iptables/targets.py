"""Targets: what happens to the packet that a rule matches."""

from __future__ import annotations

from fwpolicy.model.program import ACCEPT, DROP, NotModelledError, Return, Verdict
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.iptables.words import Line, Options
    from fwpolicy.model.program import Action

# Nothing that a later rule, or the way of the packet, could depend on.
NO_EFFECT = ("LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TCPMSS", "CHECKSUM", "IDLETIMER", "LED", "RATEEST")
# They change the packet, its marks or its connection, copy it or fill a set, and go on with the next rule.
EFFECTS = (
    *("MARK", "CONNMARK", "CT", "NOTRACK", "DSCP", "TOS", "TTL", "HL", "TEE", "SET", "TCPOPTSTRIP", "ECN"),
    *("CLASSIFY", "SECMARK", "CONNSECMARK", "HMARK", "DNPT", "SNPT"),
)
TRANSLATIONS = ("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP")

_REJECTS = {
    4: {
        **dict.fromkeys(("icmp-net-unreachable", "net-unreach"), "net-unreachable"),
        **dict.fromkeys(("icmp-host-unreachable", "host-unreach"), "host-unreachable"),
        **dict.fromkeys(("icmp-proto-unreachable", "proto-unreach"), "prot-unreachable"),
        **dict.fromkeys(("icmp-port-unreachable", "port-unreach"), "port-unreachable"),
        **dict.fromkeys(("icmp-net-prohibited", "net-prohib"), "net-prohibited"),
        **dict.fromkeys(("icmp-host-prohibited", "host-prohib"), "host-prohibited"),
        **dict.fromkeys(("icmp-admin-prohibited", "admin-prohib"), "admin-prohibited"),
        **dict.fromkeys(("tcp-reset", "tcp-rst"), "tcp-reset"),
    },
    6: {
        **dict.fromkeys(("icmp6-no-route", "no-route"), "no-route"),
        **dict.fromkeys(("icmp6-adm-prohibited", "adm-prohibited"), "admin-prohibited"),
        **dict.fromkeys(("icmp6-addr-unreachable", "addr-unreach"), "addr-unreachable"),
        **dict.fromkeys(("icmp6-port-unreachable", "port-unreach"), "port-unreachable"),
        **dict.fromkeys(("icmp6-policy-fail", "policy-fail"), "policy-fail"),
        **dict.fromkeys(("icmp6-reject-route", "reject-route"), "reject-route"),
        **{"tcp-reset": "tcp-reset"},
    },
}


@record
class Outcome:
    """`action`: None where the next rule goes on. `effect`: it does what the model does not follow."""

    action: Action | None
    effect: bool = False


_PLAIN = {
    "": Outcome(None),
    "ACCEPT": Outcome(ACCEPT),
    "DROP": Outcome(DROP),
    "RETURN": Outcome(Return()),
    "QUEUE": Outcome(Verdict("queue")),
    "NFQUEUE": Outcome(Verdict("queue")),
    # The packet goes to a local socket, or, if there is none, nowhere (xt_TPROXY.c): its table ends here.
    "TPROXY": Outcome(ACCEPT, effect=True),
    **{name: Outcome(None) for name in NO_EFFECT},
    **{name: Outcome(None, effect=True) for name in EFFECTS},
}


def outcome(family: int, table: str, line: Line) -> Outcome:
    """What the rule's target, which is no chain, does."""
    if line.jump == "goto":
        raise NotModelledError(f"'-g' leads to a chain, and there is none called '{line.target}'")
    if plain := _PLAIN.get(line.target):
        return plain
    if line.target == "REJECT":
        return Outcome(Verdict(f"reject:{_rejection(family, line.target_options)}"))
    if line.target in TRANSLATIONS:
        if table != "nat":
            raise NotModelledError(f"'{line.target}' stands in the nat table only")
        return Outcome(Verdict(_translation(line)))
    raise NotModelledError(f"there is no chain '{line.target}', and no such target is known here")


def _rejection(family: int, options: Options) -> str:
    known = _REJECTS[family]
    text = next((values[0] for name, _, values in options if name == "reject-with" and values), None)
    if text is None:
        return "port-unreachable"
    # An unambiguous beginning will do (libipt_REJECT.c).
    found = known.get(text.lower()) or next(
        (kind for name, kind in known.items() if name.startswith(text.lower())), None
    )
    if found is None:
        raise NotModelledError(f"'{text}' is no way to reject over IPv{family}")
    return found


def _translation(line: Line) -> str:
    given = {name: " ".join(values) for name, _, values in line.target_options}
    kind = line.target.lower()
    if ports := given.pop("to-ports", None):
        kind += f" to :{ports}"
    for name in ("to-source", "to-destination", "to"):
        if address := given.pop(name, None):
            kind += f" to {address}"
    # How ports are chosen: "random", "persistent".
    return " ".join((kind, *sorted(given)))
