"""A question in PACKET syntax (docs/cli.md): what it says of a packet, and what it leaves open."""

from __future__ import annotations

from fwpolicy.addresses import merge
from fwpolicy.model import fields
from fwpolicy.model.concrete import to_fields
from fwpolicy.model.hooks import LO
from fwpolicy.model.packet import parse_packet
from fwpolicy.model.program import And, Not, used_fields
from fwpolicy.model.program import Lit as Literal
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.model.packet import Packet
    from fwpolicy.model.program import Expr, Program
    from fwpolicy.policy.vocabulary import Vocabulary

SYN = 2


@record
class Question:
    """`fixed`: the fields that are said, or that PACKET gives a value when left out; `region`: what else
    is said; all other fields are open. `spent`: every limit is used up."""

    hook: str
    fixed: dict[str, int]
    region: Expr
    spent: bool
    packet: Packet


def parse(text: str) -> Question:
    """The question that the words ask. Raises PacketError.

    Left out: a new connection's first packet, source port 40000, not over `lo`, NTP mode 3, not redirected,
    before any line expires, limits unspent. Open: interfaces, addresses, groups filled at run time.
    """
    packet = parse_packet(text)
    said = frozenset(text.split()[1:])
    fixed = to_fields(packet)
    open_fields = {"daddrtype", "daddrtype_iif", "tcpflags"}
    if not packet.loopback:
        open_fields |= {"iif"} if "in" not in said else set()
        open_fields |= {"oif"} if "out" not in said else set()
    for word, side in (("from", "saddr"), ("to", "daddr")):
        if word not in said:
            open_fields |= {f"{side}4", f"{side}6"}
    open_fields |= {f"origdaddr{v}" for v in (4, 6)}
    if "from" not in said and "to" not in said and packet.protocol not in (1, 58):
        open_fields.add("nfproto")
    if "at" not in said and packet.time is None:
        fixed["time"] = 0
    kept = {field: value for field, value in fixed.items() if field not in open_fields}
    kept |= {"fragment": 0, "snat": 0, "ctdir": 0}
    if packet.protocol == 6 and packet.state == "new":
        kept["tcpflags"] = SYN
    return Question(packet.hook, kept, And(tuple(_not_lo(packet, said))), packet.spent, packet)


def _not_lo(packet: Packet, said: frozenset[str]) -> list[Expr]:
    if packet.loopback:
        return []
    keys = {"input": ("iif",), "output": ("oif",), "forward": ("iif", "oif")}[packet.hook]
    words = {"iif": "in", "oif": "out"}
    return [Not(Literal(key, LO)) for key in keys if words[key] not in said]


def zoned(question: Question, names: Vocabulary) -> Question:
    """The question with a policy's zones, where it names them in the place of interfaces."""
    zones, fixed, parts = dict(names.zones), dict(question.fixed), [question.region]
    for field, name in (("iif", question.packet.incoming), ("oif", question.packet.outgoing)):
        if name in zones:
            del fixed[field]
            parts.append(Literal(field, merge(i for each in zones[name] for i in fields.interface(each))))
    return replace(question, fixed=fixed, region=And(tuple(parts)))


def of_limits(question: Question, program: Program) -> dict[str, int]:
    """question.fixed, and each limiter of `program` as the question has it."""
    used = (
        field
        for chain in program.chains.values()
        for rule in chain.rules
        for field in used_fields(rule.guard)
    )
    spent = dict.fromkeys(
        (field for field in used if field.startswith(fields.limiter(""))), int(not question.spent)
    )
    return {**question.fixed, **spent}
