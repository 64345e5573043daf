"""A question in PACKET syntax (docs/cli.md): what it says of a packet, and what it leaves open."""

from __future__ import annotations

from fwpolicy.addresses import merge
from fwpolicy.model import fields
from fwpolicy.model.concrete import PORTED, to_fields
from fwpolicy.model.hooks import LO
from fwpolicy.model.packet import parse_parts
from fwpolicy.model.program import And, Not, used_fields
from fwpolicy.model.program import Lit as Literal
from fwpolicy.policy.vocabulary import Vocabulary
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.addresses import Intervals
    from fwpolicy.model.packet import Packet
    from fwpolicy.model.program import Expr, Program
    from fwpolicy.policy.services import Service

SYN = 2
SPORT = 40000
_ICMP = (1, 58)
_MEMBER = "member:"
_IN = {"source-in": "saddr", "destination-in": "daddr"}
_NO_NAMES = Vocabulary()


@record
class Question:
    """`fixed`: the fields that are said, or that PACKET gives a value when left out; `region`: what else
    is said; all other fields are open. `spent`: every limit is used up.

    `members`: by the side of an address ("saddr", "daddr") the groups filled at run time that it is in, and
    it is in no other; what is not said is open. `what`: the service, where it is more than a packet;
    `others`: the same question of its other parts.
    """

    hook: str
    fixed: dict[str, int]
    region: Expr
    spent: bool
    packet: Packet
    members: tuple[tuple[str, tuple[str, ...]], ...] = ()
    what: tuple[Literal, ...] = ()
    others: tuple[Question, ...] = ()


def parse(text: str, names: Vocabulary = _NO_NAMES) -> Question:
    """The question that the words ask; a service may be one of `names`. Raises PacketError.

    Left out: a new connection's first packet, source port 40000, not over `lo`, NTP mode 3, not redirected,
    before any line expires, limits unspent. Open: interfaces, addresses, groups filled at run time.
    """
    parts = parse_parts(text, names.services)
    said = _said(text)
    first, *others = (_question(packet, part, said, len(parts) > 1) for packet, part in parts)
    return replace(first, others=tuple(others))


def _said(text: str) -> frozenset[str]:
    """The clauses that are there."""
    words = text.split()
    return frozenset(words[2::2] if words[0] in ("input", "output", "forward") else words[1::2])


def _question(packet: Packet, part: Service, said: frozenset[str], one_of_many: bool) -> Question:
    fixed = to_fields(packet)
    open_fields = {"daddrtype", "daddrtype_iif", "tcpflags"}
    if not packet.loopback:
        open_fields |= {"iif"} if "in" not in said else set()
        open_fields |= {"oif"} if "out" not in said else set()
    for word, side in (("from", "saddr"), ("to", "daddr")):
        if word not in said:
            open_fields |= {f"{side}4", f"{side}6"}
    open_fields |= {f"origdaddr{v}" for v in (4, 6)}
    if "from" not in said and "to" not in said and packet.protocol not in _ICMP:
        open_fields.add("nfproto")
    if "at" not in said and packet.time is None:
        fixed["time"] = 0
    what: tuple[Literal, ...] = ()
    if one_of_many or not _is_single(part):
        open_fields |= {"l4proto", "dport", "icmptype"} | (
            {"origport"} if packet.published is None else set()
        )
        fixed["sport"] = packet.sport or SPORT
        what = tuple(_of_part(part))
    kept = {
        field: value
        for field, value in fixed.items()
        if field not in open_fields and not field.startswith(_MEMBER)
    }
    kept |= {"fragment": 0, "snat": 0, "ctdir": 0}
    if packet.protocol == 6 and packet.state == "new":
        kept["tcpflags"] = SYN
    region = And(tuple(_not_lo(packet, said)))
    return Question(packet.hook, kept, region, packet.spent, packet, tuple(_members(packet, said)), what)


def _is_single(part: Service) -> bool:
    """Whether it has one port or type, or its protocol has none."""
    values: Intervals = (*part.ports, *((number, number) for number in part.icmp_types))
    if not values:
        return part.protocol not in PORTED and part.protocol not in _ICMP
    return len(values) == 1 and values[0][0] == values[0][1]


def _of_part(part: Service) -> Iterator[Literal]:
    yield Literal("l4proto", fields.values(part.protocol))
    if part.ports:
        yield Literal("dport", merge(part.ports))
    if part.icmp_types:
        yield Literal("icmptype", fields.values(*part.icmp_types))


def _members(packet: Packet, said: frozenset[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for word, names in (("source-in", packet.source_in), ("destination-in", packet.destination_in)):
        if word in said:
            yield _IN[word], names


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
    others = tuple(zoned(other, names) for other in question.others)
    return replace(question, fixed=fixed, region=And(tuple(parts)), others=others)


def at(question: Question, time: int) -> Question:
    """The same of another time."""
    others = tuple(at(other, time) for other in question.others)
    return replace(question, fixed={**question.fixed, "time": time}, others=others)


def of_memory(question: Question, program: Program) -> dict[str, int]:
    """question.fixed, with each limiter of `program` and each membership as the question has it."""
    used = {
        field
        for chain in program.chains.values()
        for rule in chain.rules
        for field in used_fields(rule.guard)
    }
    spent = {field: int(not question.spent) for field in used if field.startswith(fields.limiter(""))}
    wanted = dict(question.members)
    members = {
        field: int(not group_names(field).isdisjoint(wanted[side]))
        for field in used
        if field.startswith(_MEMBER) and (side := side_of(field)) in wanted
    }
    return {**question.fixed, **spent, **members}


def side_of(member: str) -> str:
    """Whose membership it is: "saddr", or "daddr", wherever it was first sent to."""
    return member.rpartition(":")[2].replace("origdaddr", "daddr")


def group_names(member: str) -> frozenset[str]:
    """What its set may be called: by the whole name, without its table, without the family behind it."""
    name = member.removeprefix(_MEMBER).rpartition(":")[0]
    short = name.rpartition(" ")[2]
    return frozenset((name, short, short.removesuffix("_v4").removesuffix("_v6")))
