"""Random policies and packets, as hypothesis strategies: small pools, so that they meet often."""

from __future__ import annotations

from hypothesis import strategies as st

from fwpolicy import addresses
from fwpolicy.model.packet import STATES, Packet
from fwpolicy.policy.load import load

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
SERVICES = (
    *("ssh", "dns", "ntp", "ping", "https", "udp/100-200", "tcp/1-1023", "udp/123", "udp/323", "tcp/4460"),
    *("ip/112", "icmp/8", "icmpv6/128", "udp/68", "tcp/443", "esp", "vrrp", "sctp/7"),
)
PORTS = (22, 53, 67, 68, 80, 100, 122, 123, 124, 200, 323, 443, 546, 547, 1023, 4460, 40000)
PROTOCOLS = (1, 6, 17, 50, 58, 112, 132)


def _named(draw: st.DrawFn, pool: tuple[str, ...], most: int = 3) -> str:
    chosen = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=most, unique=True))
    return "[" + ", ".join(f'"{word}"' for word in chosen) + "]"


@st.composite
def _match(draw: st.DrawFn, key: str) -> str:
    parts = []
    which = draw(st.integers(1, 3))
    if which & 1:
        parts.append(f"service: {_named(draw, SERVICES)}")
    if which & 2:
        parts.append(f"{key}: {_named(draw, ADDRESSES + GROUPS)}")
    return ", ".join(parts)


@st.composite
def _rule(draw: st.DrawFn, hook: str, kind: str) -> str:
    key = "from" if hook == "input" else "to"
    parts = [draw(_match(key))]
    if draw(st.booleans()):
        holes = draw(st.lists(_match(key), min_size=1, max_size=2))
        parts.append("except: [" + ", ".join(f"{{{hole}}}" for hole in holes) + "]")
    if kind == "block":
        parts.append(f"action: {draw(st.sampled_from(('drop', 'reject')))}")
    return f"    - {{{', '.join(parts)}}}"


@st.composite
def _section(draw: st.DrawFn, hook: str) -> list[str]:
    lines = [f"{hook}:", f"  default: {draw(st.sampled_from(('drop', 'reject', 'accept')))}"]
    for kind in ("allow", "block"):
        rules = draw(st.lists(_rule(hook, kind), max_size=4))
        if rules:
            lines += [f"  {kind}:", *rules]
    return lines


@st.composite
def policy_texts(draw: st.DrawFn) -> str:
    """YAML of a policy; it may be refused (a contradiction with its role, a family lost)."""
    lines = ["version: 1", "groups:"]
    for name in ("alpha", "beta", "gamma"):
        lines.append(f"  {name}: {_named(draw, ADDRESSES)}")
    mode = draw(st.sampled_from(("none", "client-only", "server", "closed")))
    if mode != "none":
        keys = [f"mode: {mode}"]
        if mode == "server":
            keys.append(f"serve: {_named(draw, GROUPS)}")
        if mode != "closed":
            keys.append(f"servers: {draw(st.sampled_from(GROUPS))}")
            keys.append(f"nts: {draw(st.sampled_from(('true', 'false')))}")
        lines.append(f"roles: {{ntp: {{{', '.join(keys)}}}}}")
    for hook in ("input", "output"):
        if draw(st.booleans()):
            lines += draw(_section(hook))
    return "\n".join(lines) + "\n"


def loaded(text: str):
    """The policy of `text`; raises PolicyError where it is refused."""

    def no_files(path: str) -> bytes:
        raise FileNotFoundError(2, "no such file", path)

    return load((("random.yaml", text.encode()),), no_files)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from((4, 6)))
    bounds = [
        a
        for text in ADDRESSES
        for f, first, last in [addresses.parse(text)]
        if f == family
        for a in (first, last)
    ]
    around = sorted(
        {
            min(max(bound + step, 0), 2 ** addresses.BITS[family] - 1)
            for bound in bounds
            for step in (-1, 0, 1)
        }
    )
    protocol = draw(st.sampled_from(PROTOCOLS))
    ported = protocol in (6, 17, 132)
    return Packet(
        draw(st.sampled_from(("input", "output"))),
        family,
        protocol,
        draw(st.sampled_from(around)),
        draw(st.sampled_from(around)),
        draw(st.sampled_from(PORTS)) if ported else None,
        draw(st.sampled_from(PORTS)) if ported else None,
        draw(st.sampled_from((0, 3, 8, 128, 135, 143))) if protocol in (1, 58) else None,
        draw(st.sampled_from(STATES)),
        draw(st.sampled_from((None, 0, 1, 3, 4, 6, 7))),
        draw(st.booleans()) and draw(st.booleans()),
    )
