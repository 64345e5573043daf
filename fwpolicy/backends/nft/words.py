"""Rules as nft text: each match and verdict as nft 1.0.6 lists it."""

from __future__ import annotations

from fwpolicy.addresses import BITS, format_address, prefix_length
from fwpolicy.addresslists import written
from fwpolicy.ir.maps import CounterMap, VerdictMap
from fwpolicy.ir.ruleset import (
    LOOPBACK,
    Accept,
    Address,
    AnyPort,
    Before,
    Circumstance,
    ClampMss,
    Continue,
    CtCount,
    CtState,
    CtStatus,
    DestinationNat,
    DestinationType,
    Drop,
    Header,
    IcmpType,
    Interface,
    Jump,
    L4Proto,
    LimitName,
    Log,
    Masquerade,
    Match,
    Nfproto,
    NtpMode,
    OriginalPort,
    PerSource,
    Port,
    Rate,
    Reject,
    Return,
    Rule,
    SourceNat,
    TcpSyn,
    Tracked,
    Translation,
    Verdict,
    WithMemory,
)
from fwpolicy.protocols import NAMES
from fwpolicy.record import assert_never

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import Interval, Intervals

_FAMILY_NAMES = {4: "ip", 6: "ip6"}


def rule_text(rule: Rule) -> str:
    """One rule as `nft list` writes it, with its step as the comment."""
    parts = [_match(match) for match in rule.matches]
    if rule.counter:
        parts.append(f"counter name {_counter(rule.counter)}")
    if rule.log:
        parts.append(_log(rule.log))
    if verdict := _verdict(rule.verdict):
        parts.append(verdict)
    comment = f"{rule.step}: {rule.comment}" if rule.comment else rule.step
    return " ".join([*parts, f'comment "{comment}"'])


def _counter(counter: str | CounterMap) -> str:
    if isinstance(counter, CounterMap):
        return f"{' . '.join(counter.fields)} map @{counter.map_name}"
    return f'"{counter}"'


def _match(match: Match) -> str:
    match match:
        case Interface() | DestinationType() | Before():
            return _circumstance(match)
        case CtState() | CtStatus() | OriginalPort():
            return _tracked(match)
        case Rate() | LimitName() | CtCount() | PerSource():
            return _memory(match)
        case _:
            return _header(match)


def _header(match: Header) -> str:
    match match:
        case Nfproto(family):
            return f"meta nfproto ipv{family}"
        case L4Proto(protocols):
            return f"meta l4proto {_braced([NAMES.get(p, str(p)) for p in protocols])}"
        case Port(protocol, side, ports):
            return f"{NAMES[protocol]} {side} {_braced(port_texts(ports))}"
        case AnyPort(protocols, side, ports):
            return f"{_header(L4Proto(protocols))} th {side} {_braced(port_texts(ports))}"
        case IcmpType(protocol, types):
            return f"{NAMES[protocol]} type {_braced([str(number) for number in types])}"
        case Address():
            return _address(match)
        case NtpMode(modes, negated):
            values = _braced([f"0x{mode:x}" for mode in modes])
            return f"@th,64,8 & 0x7 {'!=' if negated else '=='} {values}"
        case TcpSyn():
            return "tcp flags syn"
        case _:
            assert_never(match)


def _circumstance(match: Circumstance) -> str:
    match match:
        case Interface(key, names, negated):
            quoted = [f'"{name}"' for name in names]
            return f"{_by_number(key) if names == LOOPBACK else key} {_operator(negated)}{_braced(quoted)}"
        case DestinationType(types, here, negated):
            return f"fib daddr{' . iif' if here else ''} type {_operator(negated)}{_braced(list(types))}"
        case Before(time):
            return f"meta time < {time}"
        case _:
            assert_never(match)


def _by_number(key: str) -> str:
    """`iif` of `iifname`. To compare the name costs a packet 90 ns more; and loopback has the same number in
    every namespace (LOOPBACK_IFINDEX in net/flow.h)."""
    return key.removesuffix("name")


def _tracked(match: Tracked) -> str:
    match match:
        case CtState(states):
            return f"ct state {','.join(states)}"
        case CtStatus(bit):
            return f"ct status {bit}"
        case OriginalPort(first, last):
            return f"ct original proto-dst {port_text((first, last))}"
        case _:
            assert_never(match)


def _memory(match: WithMemory) -> str:
    match match:
        case Rate():
            return f"limit {rate_text(match)}"
        case LimitName(name):
            return f'limit name "{name}"'
        case CtCount(maximum):
            return f"ct count {maximum}"
        case PerSource(family, set_name, bound):
            # The least that one subscriber has (RFC 6177): an address each would cost him nothing.
            source = "ip saddr" if family == 4 else "ip6 saddr & ffff:ffff:ffff:ffff::"
            # Only a limit needs its element young: without a timeout `update` has nothing to renew.
            operation = "update" if isinstance(bound, Rate) else "add"
            return f"{operation} @{set_name} {{ {source} {_memory(bound)} }}"
        case _:
            assert_never(match)


def rate_text(rate: Rate) -> str:
    """`rate 5/minute burst 10 packets`, what follows `limit`."""
    return f"rate {rate.rate}/{rate.unit} burst {rate.burst} packets"


def _address(match: Address) -> str:
    key = f"{'ct original ' if match.original else ''}{_FAMILY_NAMES[match.family]} {match.side}"
    if match.prefix is not None:
        bits = BITS[match.family]
        mask = format_address(match.family, (1 << bits) - (1 << bits - match.prefix))
        return f"{key} & {mask} {'!=' if match.negated else '=='} @{match.set_name}"
    if match.set_name:
        return f"{key} {_operator(match.negated)}@{match.set_name}"
    members = [interval_text(match.family, interval) for interval in match.intervals]
    return f"{key} {_operator(match.negated)}{_braced(members)}"


def interval_text(family: int, interval: Interval) -> str:
    """An address, a prefix or a range."""
    first, last = interval
    if first == last:
        return format_address(family, first)
    length = prefix_length(family, interval)
    if length is not None:
        return f"{format_address(family, first)}/{length}"
    return f"{format_address(family, first)}-{format_address(family, last)}"


def interval_texts(family: int, intervals: Intervals) -> list[str]:
    """Each an address, a prefix or a range."""
    if family == 4:
        return written(intervals, "\n").split("\n") if intervals else []
    suffixes = {1 << host: f"/{BITS[6] - host}" for host in range(1, BITS[6] + 1)} | {1: ""}
    texts = []
    for first, last in intervals:
        size = last - first + 1
        whole = size in suffixes and not first & size - 1
        texts.append(format_address(6, first) + (suffixes[size] if whole else f"-{format_address(6, last)}"))
    return texts


def joined_intervals(family: int, intervals: Intervals, separator: str) -> str:
    """The same with `separator` between them."""
    return written(intervals, separator) if family == 4 else separator.join(interval_texts(family, intervals))


def port_text(interval: Interval) -> str:
    """A port, or a range of ports."""
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"


def port_texts(ports: Intervals) -> list[str]:
    return [port_text(interval) for interval in ports]


def _braced(members: list[str]) -> str:
    return members[0] if len(members) == 1 else f"{{ {', '.join(members)} }}"


def _operator(negated: bool) -> str:
    return "!= " if negated else ""


def _log(log: Log) -> str:
    return f'log prefix "{log.prefix}"' + ("" if log.group is None else f" group {log.group}")


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Accept():
            return "accept"
        case Drop():
            return "drop"
        case Reject(kind):
            return f"reject with {'tcp reset' if kind == 'tcp-reset' else 'icmpx type port-unreachable'}"
        case Jump(chain):
            return f"jump {chain}"
        case Return():
            return "return"
        case Continue():
            return ""
        case ClampMss():
            return "tcp option maxseg size set rt mtu"
        case Masquerade() | SourceNat() | DestinationNat():
            return _translation(verdict)
        case VerdictMap(fields, map_name):
            return f"{' . '.join(fields)} vmap @{map_name}"
        case _:
            assert_never(verdict)


def _translation(verdict: Translation) -> str:
    match verdict:
        case Masquerade():
            return "masquerade"
        case SourceNat(family, address):
            return f"snat {_FAMILY_NAMES[family]} to {format_address(family, address)}"
        case DestinationNat(family, address, port):
            return f"dnat {_FAMILY_NAMES[family]} to {_endpoint(family, address, port)}"
        case _:
            assert_never(verdict)


def _endpoint(family: int, address: int, port: int | None) -> str:
    text = format_address(family, address)
    if port is None:
        return text
    return f"{text}:{port}" if family == 4 else f"[{text}]:{port}"
