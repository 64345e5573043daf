"""Random policies, and packets for them: small pools, so that they meet often."""

from __future__ import annotations

import re
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fwpolicy import addresses
from fwpolicy.errors import PolicyError
from fwpolicy.model.packet import STATES, Packet
from fwpolicy.policy.load import load
from fwpolicy.record import replace

from .choices import Drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.policy.model import Match, Policy, PortForward

    from .choices import Choices

HOOKS = ("input", "output", "forward")
ADDRESSES = (
    "10.0.0.0/8",
    "10.1.2.0/24",
    "10.1.2.3",
    "192.0.2.7-192.0.2.20",
    "203.0.113.9",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8::7",
    "2001:db8::10-2001:db8::20",
    "fe80::/10",
    "::/0",
)
GROUPS = ("alpha", "beta", "gamma", "private", "any")
# Filled at run time; `mixed` has fixed members, too.
DYNAMIC = ("banned", "friend")
MIXED = "mixed"
SERVICES = (
    *("ssh", "dns", "ntp", "ping", "https", "udp/100-200", "tcp/1-1023", "udp/123", "udp/323", "tcp/4460"),
    *("ip/112", "icmp/8", "icmpv6/128", "udp/68", "tcp/443", "esp", "vrrp", "sctp/7"),
)
WITH_PORTS = ("ssh", "dns", "https", "udp/100-200", "tcp/1-1023", "tcp/443", "udp/1-65535", "sctp/7")
PORTS = (22, 53, 67, 68, 80, 100, 122, 123, 124, 200, 323, 443, 546, 547, 1023, 4460, 40000)
SOURCE_PORTS = ("53", "123", "80-124", "40000", "[22, 443]")
PROTOCOLS = (1, 6, 17, 50, 58, 112, 132)
# Names that overlap: patterns within patterns, and names within them.
ZONES = {"wan": "eth0", "lan": '[eth1, "wg*"]', "ether": '"eth*"', "odd": '[wg0, "e*", wlan0]'}
INTERFACES = (None, "eth0", "eth1", "eth10", "eth", "wg", "wg0", "wg7", "wlan0", "e", "ppp0")
DATES = ("2027-01-31", "2028-02-29")
# The last second of a day and the first one after it, for each of DATES; before and long after.
TIMES = (None, 1_700_000_000, 1_801_439_999, 1_801_440_000, 1_835_481_599, 1_835_481_600, 4_000_000_000)
# Parts of a line about addresses and interfaces, by hook.
PEERS = {"input": ("from", "local"), "output": ("to",), "forward": ("from", "to")}
PASSAGES = {"input": ("in",), "output": ("out",), "forward": ("in", "out")}
RATES = ("6/minute", "1/second", "100/hour, burst: 20", "9/day, per: source", "1/second, max: 9")
PORT_FORWARDS = (
    "{in: wan, service: https, to: 10.1.2.3}",
    "{in: lan, service: tcp/80, to: 10.1.2.3, port: 443, hairpin: true}",
    "{in: [lan, wan], service: udp/122-124, to: 203.0.113.9, from: alpha}",
    '{in: odd, service: tcp/22, to: "2001:db8::7", from: beta, hairpin: true}',
)


def _named(draw: Choices, pool: tuple[str, ...], most: int = 3) -> str:
    return "[" + ", ".join(f'"{word}"' for word in draw.some(pool, 1, most)) + "]"


def _perhaps(draw: Choices, one_in: int) -> bool:
    return draw.number(1, one_in) == one_in


def _match(draw: Choices, hook: str) -> str:
    """What a line is about: a service, a peer or an interface at least, and perhaps more of them."""
    parts = []
    which = draw.number(1, 7)
    if which & 1:
        ported = _perhaps(draw, 2)
        parts.append(f"service: {_named(draw, WITH_PORTS if ported else SERVICES)}")
        if ported and draw.flip():
            parts.append(f"sport: {draw.one(SOURCE_PORTS)}")
        if ported and hook == "input" and not _perhaps(draw, 3):
            parts.append("published: true")
    if which & 2 or which == 4:
        pool = (*ADDRESSES, *GROUPS, *DYNAMIC, MIXED)
        parts += [f"{key}: {_named(draw, pool)}" for key in draw.some(PEERS[hook], 1)]
    if which & 4:
        keys = draw.some(PASSAGES[hook], 1)
        parts += [f"{key}: {_named(draw, tuple(ZONES), 2)}" for key in keys]
    if _perhaps(draw, 6):
        parts.append(f"family: {draw.one(('ipv4', 'ipv6'))}")
    return ", ".join(parts)


def _rule(draw: Choices, hook: str, kind: str) -> str:
    parts = [_match(draw, hook)]
    if draw.flip():
        holes = [_match(draw, hook) for _ in range(draw.number(1, 2))]
        parts.append("except: [" + ", ".join(f"{{{hole}}}" for hole in holes) + "]")
    if kind == "block":
        parts.append(f"action: {draw.one(('drop', 'reject'))}")
    if _perhaps(draw, 4):
        parts.append(f"expires: {draw.one(DATES)}")
    if _perhaps(draw, 4):
        parts.append(f"log: {draw.one(('true', 'a prefix'))}")
    if kind == "allow" and _perhaps(draw, 4):
        parts.append(f"limit: {draw.one(RATES)}")
    return f"    {{{', '.join(parts)}}},"


def _section(draw: Choices, hook: str) -> list[str]:
    """One line a rule, so that a rule that is refused can be taken out."""
    lines = [f"{hook}:", f"  default: {draw.one(('drop', 'reject', 'accept'))}"]
    for kind in ("allow", "block"):
        lines += [f"  {kind}: [", *(_rule(draw, hook, kind) for _ in range(draw.number(0, 4))), "  ]"]
    return lines


def _role(draw: Choices) -> list[str]:
    mode = draw.one(("none", "client-only", "server", "closed"))
    if mode == "none":
        return []
    keys = [f"mode: {mode}"]
    if mode == "server":
        keys.append(f"serve: {_named(draw, GROUPS)}")
    if mode != "closed":
        keys.append(f"servers: {draw.one(GROUPS)}")
        keys.append(f"nts: {draw.one(('true', 'false'))}")
    return [f"roles: {{ntp: {{{', '.join(keys)}}}}}"]


def _nat(draw: Choices) -> list[str]:
    if _perhaps(draw, 2):
        return []
    forwards = draw.some(PORT_FORWARDS, 0)
    lines = ["nat:", "  masquerade: [{out: wan}]", f"  clamp-mss: {draw.one(('true', 'false'))}"]
    return [*lines, "  forward: [", *(f"    {each}," for each in forwards), "  ]"]


@st.composite
def policy_texts(draw: st.DrawFn, both_families: bool = True) -> str:
    """Of `a_policy`, which hypothesis makes smaller where one fails."""
    return a_policy(Drawn(draw), both_families)


def a_policy(draw: Choices, both_families: bool = True) -> str:
    """YAML of a policy. Lines that are refused (a contradiction with its role, no family left) are taken
    out, so it hardly ever is. `both_families`: whether a limit may be one for both of them."""
    lines = ["version: 1", "groups:"]
    lines += [f"  {name}: {_named(draw, ADDRESSES)}" for name in ("alpha", "beta", "gamma")]
    lines += [f"  {name}: {{dynamic: 1h}}" for name in DYNAMIC]
    lines.append(f'  {MIXED}: [{draw.one(DYNAMIC)}, "{draw.one(ADDRESSES)}"]')
    lines.append(f"zones: {{{', '.join(f'{name}: {names}' for name, names in ZONES.items())}}}")
    lines += _role(draw)
    if draw.flip():
        lines.append("log: {denied: true}")
    for hook in HOOKS:
        if draw.flip():
            lines += _section(draw, hook)
    lines += _nat(draw)
    if not both_families:
        lines = [_of_one_family(line) for line in lines]
    return _without_refused("\n".join(lines) + "\n")


def _of_one_family(line: str) -> str:
    if "limit:" not in line or "per: source" in line:
        return line
    return re.sub(", family: ipv.}", "}", line[:-2] + "}").removesuffix("}") + ", family: ipv4},"


def _without_refused(text: str) -> str:
    for _ in range(4):
        try:
            loaded(text)
        except PolicyError as error:
            refused = {problem.span.line for problem in error.problems if problem.span}
            kept = [line for number, line in enumerate(text.splitlines(), 1) if number not in refused]
            text = "\n".join(kept) + "\n"
        else:
            break
    return text


@lru_cache(maxsize=4)
def loaded(text: str):
    """The policy of `text`; raises PolicyError where it is refused."""

    def no_files(path: str) -> bytes:
        raise FileNotFoundError(2, "no such file", path)

    return load((("random.yaml", text.encode()),), no_files)


def _around(family: int) -> tuple[int, ...]:
    """Each bound of ADDRESSES, and its neighbours."""
    bounds = [parsed[1:] for text in ADDRESSES if (parsed := addresses.parse(text))[0] == family]
    steps = {bound + step for pair in bounds for bound in pair for step in (-1, 0, 1)}
    return tuple(sorted(value for value in steps if 0 <= value < 2 ** addresses.BITS[family]))


AROUND = {family: _around(family) for family in (4, 6)}
# 224.0.0.0/4 and ff00::/8, and an address that is neither.
SHIFT, MULTICAST = {4: 28, 6: 120}, {4: 0xE, 6: 0xFF}
ELSEWHERE = {4: addresses.parse("10.1.2.4")[1], 6: addresses.parse("2001:db8::8")[1]}
MEMBERSHIPS = ((), (), ("banned",), ("friend",), ("banned", "friend"))


def sample(policy: Policy, seed: int, size: int) -> Iterator[Packet]:
    """Packets at random; half of them look like what some line of the policy is about."""
    random = Random(seed)
    lines = [
        (section.hook, part)
        for section in policy.sections
        for rule in (*section.allow, *section.block)
        for part in (rule.match, *rule.holes)
    ]
    for number in range(size):
        packet = _packet(random)
        if number % 2 and lines:
            packet = _like(*random.choice(lines), packet, random)
        elif number % 8 == 0 and policy.nat and policy.nat.forward:
            packet = _redirected(random.choice(policy.nat.forward), packet, random)
        yield packet


def _packet(random: Random) -> Packet:
    pick = random.choice
    hook, family, protocol = pick(HOOKS), pick((4, 6)), pick(PROTOCOLS)
    ported = protocol in (6, 17, 132)
    return _plausible(
        Packet(
            hook,
            family,
            protocol,
            pick(AROUND[family]),
            pick(AROUND[family]),
            pick(PORTS) if ported else None,
            pick(PORTS) if ported else None,
            pick((0, 3, 8, 128, 135, 143)) if protocol in (1, 58) else None,
            pick((*STATES, "new", "new", "new")),
            pick((None, 0, 1, 3, 4, 6, 7)),
            random.random() < 1 / 16,
            pick(INTERFACES),
            pick(INTERFACES),
            pick((None, None, *PORTS)),
            pick(TIMES),
            pick(MEMBERSHIPS),
            pick(MEMBERSHIPS),
            random.random() < 1 / 5,
        )
    )


def _plausible(packet: Packet) -> Packet:
    """Without what its hook and protocol cannot have.

    What a multicast router forwards is left out: where a role's drop is in prerouting, it is dropped
    there with what is for the host itself.
    """
    destination = packet.destination
    if packet.hook == "forward" and destination >> SHIFT[packet.family] == MULTICAST[packet.family]:
        destination = ELSEWHERE[packet.family]
    loopback = packet.loopback and packet.hook != "forward"
    redirectable = packet.dport is not None and packet.hook != "output"
    return replace(
        packet,
        destination=destination,
        loopback=loopback,
        incoming=None if loopback or packet.hook == "output" else packet.incoming,
        outgoing=None if loopback or packet.hook == "input" else packet.outgoing,
        published=packet.published if redirectable else None,
    )


def _like(hook: str, part: Match, packet: Packet, random: Random) -> Packet:
    """What `part` is about, as far as the packet's family allows."""
    if part.published and random.random() < 1 / 2:
        hook = "forward"
    found = replace(packet, hook=hook, loopback=False)
    services = [each for each in part.services or () if each.family in (None, packet.family)]
    if services:
        service = random.choice(services)
        port = random.choice(random.choice(service.ports)) if service.ports else None
        if port is None and service.protocol in (6, 17, 132):
            port = random.choice(PORTS)
        found = replace(
            found,
            protocol=service.protocol,
            sport=None if port is None else packet.sport or 40000,
            dport=port,
            icmp_type=random.choice(service.icmp_types) if service.icmp_types else None,
        )
        if part.published and random.random() < 3 / 4:
            found = replace(found, state="new", published=port, dport=random.choice(PORTS))
    if part.sports and found.sport is not None:
        found = replace(found, sport=random.choice(random.choice(part.sports)))
    for field, members in (("source", part.source), ("destination", part.destination)):
        if members and members.of(packet.family):
            found = replace(found, **{field: random.choice(random.choice(members.of(packet.family)))})
    for field, names in (("incoming", part.incoming), ("outgoing", part.outgoing)):
        if names:
            found = replace(found, **{field: random.choice(names).replace("*", random.choice(("", "0")))})
    return _plausible(found)


def _redirected(forward: PortForward, packet: Packet, random: Random) -> Packet:
    """What the port forward is about, or nearly."""
    asked = random.choice(random.choice(forward.service.ports))
    family, address = forward.to
    source = packet.source if family == packet.family else random.choice(AROUND[family])
    if forward.source and forward.source.of(family) and random.random() < 3 / 4:
        source = random.choice(random.choice(forward.source.of(family)))
    names = (*forward.incoming, *INTERFACES[1:3])
    return _plausible(
        replace(
            packet,
            hook="forward",
            family=family,
            protocol=forward.service.protocol,
            source=source,
            destination=address,
            sport=40000,
            dport=forward.port or random.choice((asked, asked, asked + 1)),
            icmp_type=None,
            incoming=random.choice(names).replace("*", "0"),
            published=random.choice((asked, asked, 80, None)),
        )
    )
