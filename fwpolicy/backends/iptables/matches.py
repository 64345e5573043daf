"""Matches of the ruleset -> the words of iptables' rules (iptables-extensions(8)).

What nft says in one rule may take several here: a packet meets the match where it meets one of them.
"""

from __future__ import annotations

from itertools import product

from fwpolicy.backends.iptables.addresses import addresses, interfaces
from fwpolicy.backends.iptables.refusal import CannotSayError
from fwpolicy.ir.ruleset import (
    Address,
    AnyPort,
    Before,
    CtCount,
    CtState,
    CtStatus,
    DestinationType,
    IcmpType,
    Interface,
    L4Proto,
    LimitName,
    Match,
    Nfproto,
    NtpMode,
    OriginalPort,
    PerSource,
    Port,
    Rate,
    TcpSyn,
)
from fwpolicy.protocols import AH, EXTENSION_HEADERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwpolicy.addresses import Intervals
    from fwpolicy.backends.iptables.addresses import Alternatives, Part
    from fwpolicy.backends.iptables.memory import Memory
    from fwpolicy.backends.iptables.sets import IpSets

    Matches = tuple[Match, ...]

UDP, TCP = 17, 6
ICMP_FAMILY = {1: 4, 58: 6}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "ipv6-icmp", 132: "sctp"}
_MODULES = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmp6", 132: "sctp"}
# XT_MULTI_PORTS; a range takes two.
_MOST_PORTS = 15
# xt_time counts in 32 bits, and takes no later end.
_LAST_TIME = (1 << 31) - 1
# UDP's payload begins 8 bytes behind a header of the length that it says; IPv6's has 40 bytes, if no other
# header follows, and then the next one is UDP.
_NTP_MODE = {4: "0>>22&0x3C@8>>24&0x07={}", 6: "4>>8&0xFF=17&&48>>24&0x07={}"}


def concerns(matches: Matches, family: int) -> bool:
    """Whether a packet of `family` can meet them all."""
    return all(_family(match) in (None, family) for match in matches)


def _family(match: Match) -> int | None:
    match match:
        case Nfproto(family) | Address(family) | PerSource(family):
            return family
        case IcmpType(protocol):
            return ICMP_FAMILY[protocol]
        case _:
            return None


def protocols(matches: Matches) -> set[int] | None:
    """Those that a packet may have that meets them all; None for any."""
    found: set[int] | None = None
    for match in matches:
        own = _own_protocols(match)
        if own is not None:
            found = own if found is None else found & own
    return found


def _own_protocols(match: Match) -> set[int] | None:
    match match:
        case L4Proto(numbers) | AnyPort(numbers):
            return set(numbers)
        case Port(number) | IcmpType(number):
            return {number}
        case NtpMode():
            return {UDP}
        case TcpSyn():
            return {TCP}
        case _:
            return None


class Words:
    """Writes matches down for one family."""

    def __init__(self, family: int, sets: IpSets, memory: Memory) -> None:
        self._family = family
        self._sets = sets
        self._memory = memory

    def rules(self, matches: Matches, of_log: bool = False) -> Iterator[str]:
        """The text of each rule that `matches` take; none where no packet of the family can meet them.
        Raises CannotSayError."""
        if not concerns(matches, self._family):
            return
        found = protocols(matches)
        if found and self._family == 6:
            found = found.difference(EXTENSION_HEADERS)
        for number in (None,) if found is None else sorted(found):
            alternatives = [
                *self._headers(matches),
                *self._protocol(number, matches),
                *self._rest(matches, of_log),
            ]
            for parts in product(*alternatives):
                yield _joined([part for each in parts for part in each])

    def _headers(self, matches: Matches) -> Iterator[Alternatives]:
        taken: set[str] = set()
        for match in matches:
            if isinstance(match, Address):
                yield addresses(self._sets, match, match.side not in taken)
                taken.add(match.side)
        for key in ("iifname", "oifname"):
            yield interfaces(match for match in matches if isinstance(match, Interface) and match.key == key)

    def _protocol(self, number: int | None, matches: Matches) -> Iterator[Alternatives]:
        if number is None:
            return
        if number == 0:
            raise CannotSayError("protocol 0 is every protocol to iptables")
        if number == AH and self._family == 6:
            # `-p ah` never matches in the legacy variant: to it AH is one more extension header.
            yield [_only("-m ah")]
            return
        own = self._family == ICMP_FAMILY.get(number, self._family)
        yield [(("header", f"-p {_PROTOCOLS[number] if own and number in _PROTOCOLS else number}"),)]
        yield from _ports(number, [match for match in matches if isinstance(match, Port | AnyPort)])
        for match in matches:
            if isinstance(match, IcmpType):
                yield [_only(_icmp(match.protocol, each)) for each in match.types]
            if isinstance(match, TcpSyn):
                yield [_only("-m tcp --tcp-flags SYN SYN")]

    def _rest(self, matches: Matches, of_log: bool) -> Iterator[Alternatives]:
        for match in matches:
            match match:
                case CtState(states):
                    yield [_only(f"-m conntrack --ctstate {','.join(states).upper()}")]
                case CtStatus(bit):
                    yield [_only(f"-m conntrack --ctstate {bit.upper()}")]
                case OriginalPort(first, last):
                    yield [_only(f"-m conntrack --ctorigdstport {_range((first, last))}")]
                case NtpMode():
                    yield [_only(f'-m u32 --u32 "{_ntp_mode(match, self._family)}"')]
                case DestinationType():
                    yield self._destination_type(match)
                case Before(time):
                    yield [_only(_before(time))]
                case Rate() | LimitName() | CtCount() | PerSource():
                    yield [_only(self._memory.text(match, of_log))]
                case _:
                    continue

    def _destination_type(self, match: DestinationType) -> Alternatives:
        """No address of IPv6 is of the type broadcast, and its match takes one type a rule."""
        here = " --limit-iface-in" if match.here else ""
        bang = "! " if match.negated else ""
        if self._family == 4:
            return [_only(f"-m addrtype {bang}--dst-type {','.join(match.types).upper()}{here}")]
        types = [each.upper() for each in match.types if each != "broadcast"]
        texts = [f"-m addrtype {bang}--dst-type {each}{here}" for each in types]
        return [tuple(("match", text) for text in texts)] if match.negated else [_only(t) for t in texts]


def _only(text: str) -> tuple[Part, ...]:
    return (("match", text),)


def _joined(parts: list[Part]) -> str:
    """iptables' own options first, and what is limited last."""
    headers = [text for kind, text in parts if kind == "header"]
    return " ".join((*headers, *(text for kind, text in parts if kind == "match")))


def _ports(number: int, matches: Iterable[Port | AnyPort]) -> Iterator[Alternatives]:
    """A first single range of a side by the protocol's own match, all else by multiport."""
    plain: dict[str, str] = {}
    rest: list[tuple[str, Intervals]] = []
    for match in matches:
        if len(match.ports) == 1 and match.side not in plain:
            plain[match.side] = _range(match.ports[0])
        else:
            rest.append((match.side, match.ports))
    if plain:
        options = " ".join(f"--{side} {plain[side]}" for side in ("sport", "dport") if side in plain)
        yield [_only(f"-m {_MODULES[number]} {options}")]
    for side, ports in rest:
        yield [
            _only(f"-m multiport --{side}s {','.join(_range(each) for each in some)}")
            for some in _chunks(ports)
        ]


def _chunks(ports: Intervals) -> Iterator[list[tuple[int, int]]]:
    chunk: list[tuple[int, int]] = []
    size = 0
    for each in ports:
        own = 1 if each[0] == each[1] else 2
        if size + own > _MOST_PORTS:
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += own
    yield chunk


def _range(ports: tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}:{last}"


def _icmp(protocol: int, number: int) -> str:
    if protocol == 1 and number == 255:
        raise CannotSayError("ICMP type 255 is every type to iptables")
    option = "icmp-type" if protocol == 1 else "icmpv6-type"
    return f"-m {_MODULES[protocol]} --{option} {number}"


def _ntp_mode(match: NtpMode, family: int) -> str:
    """The modes that it is, even where the match says which it is not: a test that cannot be made fails, and
    its "!" would hold."""
    modes = [mode for mode in range(8) if (mode in match.modes) != match.negated]
    return _NTP_MODE[family].format(",".join(map(str, modes)))


def _before(time: int) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 (few rules expire)

    if not 0 < time <= _LAST_TIME:
        raise CannotSayError("'expires' ends in January 2038 here: the kernel's match counts in 32 bits")
    last = datetime.fromtimestamp(time - 1, UTC)
    return f"-m time --datestop {last:%Y-%m-%dT%H:%M:%S} --utc"
