"""iptables text on a real kernel: what it saves means the same as what it was given, and what packets say."""

from __future__ import annotations

import random
import shutil
from itertools import product
from typing import TYPE_CHECKING

import pytest

from fwpolicy import addresses
from fwpolicy.model import fields
from fwpolicy.model.hooks import decide
from fwpolicy.model.iptables import merged, of_text
from fwpolicy.model.iptables.names import ICMP_TYPES
from fwpolicy.model.program import And, Lit, Not, NotModelledError, Or, Program
from fwpolicy.record import replace

from ..lab import netns
from ..lab.frames import Packet
from ..lab.holder import run
from ..lab.oracle import verdicts
from ..model.iptables.said import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwpolicy.model.program import Expr

pytestmark = pytest.mark.kernel

VARIANTS = [name for name in ("legacy", "nft") if shutil.which(f"iptables-{name}-restore")]
BOTH = [
    "-p tcp -m tcp --dport 22 -j ACCEPT",
    "-p tcp --dport :1024 ! --sport 1000: -j a",
    "-p udp ! --dport 100:200 -j ACCEPT",
    "-p udp ! --sport 5 -j DROP",
    "-p tcp -m multiport ! --ports 22,80,1000:2000 -j b",
    "-p udp -m multiport --ports 53,123,1000:2000 -j REJECT",
    "-p tcp -m multiport --dport 80,443 -m multiport ! --sports 9 -j ACCEPT",
    "-p tcp --syn -j c",
    "-p tcp ! --syn -m state --state NEW -j DROP",
    "-p tcp --tcp-flags ALL NONE -j DROP",
    "-p tcp ! --tcp-flags SYN,ACK SYN -j RETURN",
    "-i eth+ -j a",
    "! -i eth0 -j b",
    "! -p tcp -j c",
    "-p 50 -j DROP",
    "-g a",
    "-p tcp -g b",
    "-m state ! --state ESTABLISHED,RELATED -j b",
    "-m conntrack --ctstate INVALID,UNTRACKED -j DROP",
    "-m conntrack ! --ctstate NEW,DNAT -j RETURN",
    "-m conntrack --ctstate INVALID,NEW --ctproto udp -j DROP",
    "-m conntrack ! --ctproto udp -j DROP",
    "-m conntrack --ctstatus NONE -j DROP",
    "-m conntrack --ctdir REPLY -j c",
    "-m conntrack --ctorigdstport 100:200 -j c",
    "-m length --length 60:100 -j ACCEPT",
    "-m mark ! --mark 0x1 -j c",
    "-m pkttype --pkt-type multicast -j DROP",
    "-m connmark ! --mark 0x7 -j RETURN",
    "-m addrtype --dst-type LOCAL -j c",
    '-m comment --comment "it\'s \\"so\\", \\\\ -j" -p udp -j LOG --log-prefix "a b: "',
    "-m time --datestart 2020-02-03T04:05:06 --datestop 2037 -j c",
    "-p tcp -j REJECT --reject-with tcp-reset",
    "-m limit --limit 5/min -j LOG",
    "-m hashlimit --hashlimit-above 9/sec --hashlimit-mode srcip --hashlimit-name a -j DROP",
    "-p tcp -m connlimit --connlimit-above 5 -j DROP",
    "-m statistic --mode random --probability 0.5 -j a",
    "-m recent --name seen --rcheck --seconds 60 -j DROP",
    "-p tcp",
    "-j RETURN",
]
ONLY = {
    4: [
        "-s 10.0.0.0/8 -j a",
        "! -s 198.51.100.0/24 -j b",
        "-s 198.51.100.7,10.0.0.1 -d 192.0.2.0/24,10.1.1.1 -j c",
        "-s 198.0.100.0/255.0.255.0 -j DROP",
        "-m iprange --src-range 198.51.100.1-198.51.100.99 ! --dst-range 192.0.2.5-192.0.2.9 -j c",
        "-p icmp --icmp-type echo-request -j ACCEPT",
        "-p icmp ! --icmp-type 3/4 -j DROP",
        "-p icmp --icmp-type any -j DROP",
        "-p icmp --icmp-type host-unreachable -j REJECT --reject-with icmp-admin-prohibited",
        "-m addrtype ! --src-type UNICAST --dst-type LOCAL,MULTICAST --limit-iface-in -j DROP",
        "-m ttl --ttl-lt 65 -j b",
        "-f -j DROP",
        "! -f -p icmp -j b",
    ],
    6: [
        "-s 2001:db8::/32 -j a",
        "! -s 2001:db8::7 -j b",
        "-m iprange --src-range 2001:db8::1-2001:db8::99 -j c",
        "-p icmpv6 --icmpv6-type echo-request -j ACCEPT",
        "-p ipv6-icmp ! --icmpv6-type neighbour-solicitation -j DROP",
        "-m addrtype --dst-type UNICAST,LOCAL -j c",
        "-m addrtype ! --dst-type MULTICAST -j b",
        "-m addrtype --dst-type MULTICAST,UNICAST -j DROP",
        "-m hl --hl-gt 254 -j b",
        "-j REJECT --reject-with icmp6-adm-prohibited",
    ],
}
CHAINS = ("a", "b", "c")
ENDS = {"a": "ACCEPT", "b": "DROP", "c": "RETURN"}


def some_rules(family: int, seed: int) -> str:
    """A filter table of random rules; chains a, b and c hold some more, and only lead downwards."""
    source = random.Random(seed)
    pool = [*BOTH, *ONLY[family]]
    lines = [f"-A INPUT {rule}" for rule in source.sample(pool, 14)]
    for index, name in enumerate(CHAINS):
        below = {f"-{how} {other}" for how in "jg" for other in CHAINS[: index + 1]}
        fitting = [rule for rule in pool if not any(rule.endswith(jump) for jump in below)]
        lines += [f"-A {name} {rule}" for rule in source.sample(fitting, 4)]
        lines.append(f"-A {name} -p udp -j {ENDS[name]}")
    source.shuffle(lines)
    return save(*lines, chains="a b c", policy=source.choice(("ACCEPT", "DROP")))


def saved(variant: str, family: int, text: str, before: Callable[[], None] = lambda: None) -> str:
    """What the kernel, given `text`, says that it has; `before` is done first, in the same namespace."""
    command = f"{'iptables' if family == 4 else 'ip6tables'}-{variant}"

    def inside() -> str:
        before()
        run(f"{command}-restore", input=text)
        return run(f"{command}-save").stdout

    return netns.call(inside)


def literals(expr: Expr) -> Iterator[Lit]:
    match expr:
        case Lit():
            yield expr
        case And(parts) | Or(parts):
            for part in parts:
                yield from literals(part)
        case Not(part):
            yield from literals(part)


def boundary_packets(family: int, programs: list[Program], seed: int, count: int) -> Iterator[dict[str, int]]:
    """Each field at, before or after an end of one of the intervals that some rule has, or anywhere."""
    source = random.Random(seed)
    ends: dict[str, set[int]] = {"ctstate": set(range(5)), "l4proto": {1, 6, 17, 50, 58}, "th": {0, 1}}
    for program in programs:
        for chain in program.chains.values():
            for rule in chain.rules:
                for literal in literals(rule.guard):
                    low, high = fields.universe(literal.field)[0][0], fields.universe(literal.field)[-1][1]
                    near = {
                        end + step for pair in literal.intervals[:9] for end in pair for step in (-1, 0, 1)
                    }
                    ends.setdefault(literal.field, {low, high}).update(v for v in near if low <= v <= high)
    for _ in range(count):
        yield {name: source.choice(sorted(found)) for name, found in ends.items()} | {"nfproto": family}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_saved_means_what_was_restored(variant: str, family: int, seed: int) -> None:
    given = some_rules(family, seed)
    said = saved(variant, family, given)
    ours, theirs = of_text(given, "given", family), of_text(said, "saved")
    for packet in boundary_packets(family, [ours, theirs], seed, 400):
        assert decide(ours, "input", packet)[0] == decide(theirs, "input", packet)[0], (packet, given, said)


# Against real packets: whatever the model says is what the kernel does.

WITHOUT_DICE = ("limit", "statistic", "recent", "connlimit", "ctstatus EXPECTED")
PEERS = {
    4: ("198.51.100.7", "198.51.100.100", "10.0.0.1"),
    6: ("2001:db8::7", "2001:db8::100", "2001:db9::1"),
}
HOSTS = {4: ("192.0.2.1", "192.0.2.5"), 6: ("2001:db8::1", "fd00::5")}


def some_packets(family: int, seed: int, count: int) -> list[Packet]:
    source = random.Random(seed)
    icmp = "icmp" if family == 4 else "icmpv6"
    packets = []
    for _ in range(count):
        proto = source.choice(("tcp", "udp", "udp", icmp, 50))
        state = source.choice(("new", "established", "invalid", "untracked"))
        # Nothing is invalid in ESP, and the oracle's invalid ICMP is a header cut short (`hotdrop`).
        if proto in (50, icmp) and state == "invalid":
            state = "new"
        packet = Packet(
            saddr=source.choice(PEERS[family]),
            daddr=source.choice(HOSTS[family]),
            proto=proto,
            sport=source.choice((5, 9, 999, 1000, 1500, 2001, 40000)),
            dport=source.choice((22, 53, 80, 99, 100, 200, 201, 443, 1024, 1025, 2000)),
            state=state,
            interface=source.choice(("eth0", "wan0")),
        )
        if proto == "tcp" and state in ("new", "untracked"):
            flags = (0x02, 0x10) if state == "new" else (0, 0x02, 0x03, 0x10, 0x12)
            packet = replace(packet, tcp_flags=source.choice(flags))
        packets.append(packet)
    return packets


def modelled(packet: Packet) -> dict[str, int]:
    """The packet's fields. A conntrack entry that a packet has made is one in the original direction."""
    family = 6 if packet.ipv6 else 4
    tracked = packet.state in ("new", "established")
    reply = packet.state == "established" and packet.proto not in ("icmp", "icmpv6")
    values = {
        "nfproto": family,
        "iif": fields.interface(packet.interface)[0][0],
        "ctstate": fields.STATES.index(packet.state),
        "ctdir": int(reply),
        "daddrtype": fields.ADDRESS_TYPES.index("local"),
        "daddrtype_iif": fields.ADDRESS_TYPES.index("unicast"),
        "saddrtype": fields.ADDRESS_TYPES.index("unicast"),
        "l4proto": packet.number,
        "th": 1,
        "dport": packet.dport,
        "sport": packet.sport,
        "tcpflags": packet.flags,
        "ttl": 255 if packet.ipv6 else 64,
        "length": length(packet),
        "time": 1_800_000_000,
        f"saddr{family}": addresses.parse(packet.saddr)[1],
        f"daddr{family}": addresses.parse(packet.daddr)[1],
    }
    if packet.proto in ("icmp", "icmpv6"):
        values |= {"icmptype": packet.type, "icmpcode": packet.icmp_code}
    if tracked and packet.proto in ("tcp", "udp"):
        values["origport"] = packet.sport if reply else packet.dport
    return values


def length(packet: Packet) -> int:
    header = 40 if packet.ipv6 else 20
    return header + {"tcp": 20, "udp": 56, "icmp": 56, "icmpv6": 56, 50: 56}[packet.proto]


def comparable(rule: str) -> bool:
    # The oracle has no route but its own: what is local, and to which interface, is not the question there.
    return not any(word in rule for word in (*WITHOUT_DICE, "addrtype", "ctorigdstport"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(6))
def test_packets_get_what_the_model_says(variant: str, seed: int) -> None:
    texts = {}
    for family in (4, 6):
        lines = some_rules(family, 100 + seed).splitlines()
        texts[family] = "\n".join(line for line in lines if comparable(line)) + "\n"
    program = merged(of_text(text, f"rules.v{family}", family) for family, text in texts.items())
    packets = [*some_packets(4, seed, 150), *some_packets(6, seed, 150)]
    commands = ((f"iptables-{variant}-restore", texts[4]), (f"ip6tables-{variant}-restore", texts[6]))
    found = verdicts("", packets, restore=commands)
    for packet, seen in zip(packets, found, strict=True):
        kind = decide(program, "input", modelled(packet))[0].kind
        assert kind.partition(":")[0] == seen, (packet, kind, texts)


# What random packets do not reach: to the oracle every address is local. Each is asked by itself.
ADDRESSED = [
    ("-m addrtype --dst-type UNICAST", "192.0.2.1", False),
    ("-m addrtype --dst-type UNICAST,LOCAL", "192.0.2.1", True),
    ("-m addrtype ! --dst-type LOCAL", "192.0.2.1", False),
    ("-m addrtype --dst-type MULTICAST,LOCAL", "224.0.0.251", True),
    ("-m addrtype --dst-type UNICAST", "2001:db8::1", True),
    ("-m addrtype --dst-type UNICAST,LOCAL", "2001:db8::1", True),
    ("-m addrtype --dst-type MULTICAST,LOCAL", "2001:db8::1", False),
    ("-m addrtype --dst-type MULTICAST,UNICAST", "2001:db8::1", False),
    ("-m addrtype --dst-type MULTICAST,UNICAST", "ff02::fb", False),
    ("-m addrtype --dst-type MULTICAST", "ff02::fb", True),
    ("-m addrtype ! --dst-type UNICAST", "ff02::fb", True),
]


@pytest.mark.parametrize(("rule", "daddr", "expected"), ADDRESSED)
def test_types_of_addresses(rule: str, daddr: str, expected: bool) -> None:
    family = 6 if ":" in daddr else 4
    text = save(f"-p udp {rule} -j DROP")
    packet = Packet(saddr=PEERS[family][0], daddr=daddr)
    kind = "multicast" if daddr[:2] in ("22", "ff") else "local"
    said = modelled(packet) | {"daddrtype": fields.ADDRESS_TYPES.index(kind)}
    verdict = "drop" if expected else "accept"
    assert decide(of_text(text, "f", family), "input", said)[0].kind == verdict
    assert verdicts(
        "", [packet], restore=[(f"{'iptables' if family == 4 else 'ip6tables'}-restore", text)]
    ) == [verdict]


@pytest.mark.parametrize(("rule", "expected"), [("--uid-owner 0", "drop"), ("! --uid-owner 0", "accept")])
def test_whose_socket_it_is(rule: str, expected: str) -> None:
    text = save(f"-A OUTPUT -p udp -m owner {rule} -j DROP")
    said = modelled(Packet("output")) | {"skuid": 0, "oif": fields.interface("eth0")[0][0]}
    assert decide(of_text(text, "f", 4), "output", said)[0].kind == expected
    assert verdicts("", [Packet("output")], restore=[("iptables-restore", text)]) == [expected]


@pytest.mark.parametrize(
    ("command", "protocol", "family"), [("iptables", "icmp", 4), ("ip6tables", "icmpv6", 6)]
)
def test_the_names_of_icmp_types_are_those_of_the_command(command: str, protocol: str, family: int) -> None:
    help_text = run(command, "-p", protocol, "-h").stdout
    listed = help_text[help_text.index("Valid ICMP") :].splitlines()[1:]
    names = [word.strip("()") for line in listed for word in line.split()]
    assert len(names) > 20
    assert [name for name in names if name.lower() not in ICMP_TYPES[family]] == []


@pytest.mark.parametrize(
    ("native", "complaint"),
    [
        ("add rule ip filter INPUT ct state new drop", "only nft can list"),
        ("add chain ip filter more { type filter hook input priority 5; }", "only nft can list"),
        ("add rule ip filter INPUT ip saddr vmap { 192.0.2.1 : drop }", ""),
    ],
)
def test_what_nft_added_to_a_table_of_iptables_is_not_taken_for_nothing(native: str, complaint: str) -> None:
    """iptables-nft-save prints the verdict map as a rule without anything, and the rest not at all."""

    def inside() -> str:
        run("iptables-nft", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
        run("nft", native)
        return run("iptables-nft-save").stdout

    said = netns.call(inside)
    if complaint:
        with pytest.raises(NotModelledError, match=complaint):
            of_text(said, "live", 4)
    else:
        assert [where.text for where in of_text(said, "live", 4).unmodelled] == ["-A INPUT"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_rates_are_saved_as_the_model_has_them(variant: str) -> None:
    """What save leaves out of a hashlimit depends on the unit that it prints the rate in."""
    rates = ("1/hour", "120/minute", "100/hour", "7/minute", "100/second", "9/day", "59/minute", "61/hour")
    lines = [
        f"-m hashlimit --hashlimit-upto {rate} --hashlimit-mode srcip --hashlimit-name a{number}{how}"
        for number, (rate, how) in enumerate(
            product(rates, ("", *(f" --hashlimit-htable-expire {ms}" for ms in (1000, 60000, 3600000))))
        )
    ]
    lines += [f"-m limit --limit {rate} --limit-burst 3" for rate in rates]
    given = save(*(f"{line} -j DROP" for line in lines))
    limiters = [fields_of(of_text(text, "text", 4)) for text in (given, saved(variant, 4, given))]
    assert limiters[0] == limiters[1] and len(limiters[0]) == len(lines)


def fields_of(program: Program) -> set[str]:
    """The limiters that its rules ask."""
    guards = (rule.guard for chain in program.chains.values() for rule in chain.rules)
    return {each.field for guard in guards for each in literals(guard) if each.field.startswith("limit:")}
