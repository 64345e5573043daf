"""Ruleset -> nft text, one rule a line, as nft 1.0.6 lists it."""

from __future__ import annotations

from fwpolicy.addresses import format_address, prefixes
from fwpolicy.artifact import Artifact
from fwpolicy.ir.ruleset import (
    RAW,
    Accept,
    Address,
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
from fwpolicy.record import assert_never

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Interval, Intervals
    from fwpolicy.errors import Span

FILE_NAME = "ruleset.nft"
_PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp"}
_HEADER = """\
#!/usr/sbin/nft -f
# Compiled by fwpolicy from {source}. Do not edit: change the policy and apply it again.
# Loading it replaces table inet fwpolicy in one transaction, and touches nothing else.
"""


def render(ruleset: Ruleset, source: str) -> Artifact:
    """The ruleset as a file that `nft -f` loads in one transaction, any number of times.

    `source` names the policy in the header. Lines that stem from the policy carry their span.
    """
    lines: list[tuple[str, Span | None]] = [
        (line, None) for line in _HEADER.format(source=" ".join(source.split())).splitlines()
    ]
    for table in ruleset.tables:
        # Declare, delete, declare: the delete needs a table, the first load has none. nft(8) "TABLES".
        lines.append((f"table {table.family} {table.name}", None))
        lines.append((f"delete table {table.family} {table.name}", None))
        lines += _table(table)
    text = "".join(f"{line}\n" for line, _ in lines)
    origins = tuple((number, span) for number, (_, span) in enumerate(lines, 1) if span is not None)
    return Artifact(FILE_NAME, text, 0o600, origins)


def _table(table: Table) -> Iterable[tuple[str, Span | None]]:
    yield f"table {table.family} {table.name} {{", None
    first = True
    for block in (*map(_set, table.sets), *map(_chain, _callees_first(table.chains))):
        if not first:
            yield "", None
        yield from block
        first = False
    yield "}", None


def _callees_first(chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
    """A jump's target must exist when the jump is added: nft resolves names in file order."""
    regular = tuple(chain for chain in chains if chain.base is None)
    return (*regular, *(chain for chain in chains if chain.base is not None))


def _set(set_: Set) -> Iterable[tuple[str, Span | None]]:
    yield f"\tset {set_.name} {{", None
    yield f"\t\ttype ipv{set_.family}_addr", None
    if any(first != last for first, last in set_.intervals):
        yield "\t\tflags interval", None
    elements = ",\n\t\t\t     ".join(_interval(set_.family, interval) for interval in set_.intervals)
    if elements:
        for line in f"\t\telements = {{ {elements} }}".split("\n"):
            yield line, None
    yield "\t}", None


def _interval(family: int, interval: Interval) -> str:
    first, last = interval
    parts = prefixes(family, interval)
    if first == last:
        return format_address(family, first)
    if len(parts) == 1:
        return f"{format_address(family, first)}/{parts[0][1]}"
    return f"{format_address(family, first)}-{format_address(family, last)}"


def _chain(chain: Chain) -> Iterable[tuple[str, Span | None]]:
    yield f"\tchain {chain.name} {{", None
    if chain.base:
        base = chain.base
        hook = f"type {base.type} hook {base.hook} priority {_priority(base.priority)}"
        yield f"\t\t{hook}; policy {base.policy};", None
    for rule in chain.rules:
        yield f"\t\t{rule_text(rule)}", rule.origin
    yield "\t}", None


def _priority(priority: int) -> str:
    """As nft lists it: nft(8) "Standard priority names"."""
    if priority == RAW:
        return "raw"
    offset = f" {'-' if priority < 0 else '+'} {abs(priority)}" if priority else ""
    return f"filter{offset}"


def rule_text(rule: Rule) -> str:
    """One rule as `nft list` writes it, with its step as the comment."""
    parts = [_match(match) for match in rule.matches]
    if rule.counter:
        parts.append("counter")
    comment = f"{rule.step}: {rule.comment}" if rule.comment else rule.step
    return " ".join([*parts, _verdict(rule.verdict), f'comment "{comment}"'])


def _match(match: Match) -> str:
    match match:
        case Interface(key, names):
            return f"{key} {_braced([_quoted_interface(name) for name in names])}"
        case Nfproto(family):
            return f"meta nfproto ipv{family}"
        case L4Proto(protocols):
            return f"meta l4proto {_braced([_PROTOCOL_NAMES.get(p, str(p)) for p in protocols])}"
        case Port(protocol, side, ports):
            return f"{_PROTOCOL_NAMES[protocol]} {side} {_braced(_ports(ports))}"
        case IcmpType(protocol, types):
            return f"{_PROTOCOL_NAMES[protocol]} type {_braced([str(number) for number in types])}"
        case Address():
            return _address(match)
        case CtState(states):
            return f"ct state {_comma(states)}"
        case NtpMode(modes, negated):
            values = _braced([f"0x{mode:x}" for mode in modes])
            return f"@th,64,8 & 0x7 {'!=' if negated else '=='} {values}"
        case LocalDestination():
            return "fib daddr type { local, broadcast, multicast }"
        case _:
            assert_never(match)


def _address(match: Address) -> str:
    keyword = "ip" if match.family == 4 else "ip6"
    operator = "!= " if match.negated else ""
    if match.set_name:
        return f"{keyword} {match.side} {operator}@{match.set_name}"
    members = [_interval(match.family, interval) for interval in match.intervals]
    return f"{keyword} {match.side} {operator}{_braced(members)}"


def _ports(ports: Intervals) -> list[str]:
    return [str(first) if first == last else f"{first}-{last}" for first, last in ports]


def _quoted_interface(name: str) -> str:
    return f'"{name}"'


def _braced(members: list[str]) -> str:
    return members[0] if len(members) == 1 else f"{{ {', '.join(members)} }}"


def _comma(members: tuple[str, ...]) -> str:
    return ",".join(members)


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Accept():
            return "accept"
        case Drop():
            return "drop"
        case Reject("tcp-reset"):
            return "reject with tcp reset"
        case Reject():
            return "reject with icmpx type port-unreachable"
        case Jump(chain):
            return f"jump {chain}"
        case Return():
            return "return"
        case _:
            assert_never(verdict)
