"""Random policies as records and packets that meet them: the whole language, without its parser."""

from __future__ import annotations

from hypothesis import strategies as st

from fwpolicy.addresses import parse
from fwpolicy.model.packet import STATES, Packet
from fwpolicy.policy import model
from tests.compiler.build import HERE, line, match, policy, section, service, some

ADDRESSES = ("10.0.0.0/8 2001:db8::/32", "10.1.2.3", "192.0.2.7-192.0.2.20", "2001:db8::7", "0.0.0.0/0 ::/0")
POINTS = {
    4: ("10.1.2.3", "10.1.2.4", "192.0.2.7", "192.0.2.21"),
    6: ("2001:db8::7", "2001:db8::8", "fd00::1"),
}
SERVICES = (
    "tcp/22",
    "tcp/22",
    "tcp/80 udp/80",
    "tcp/80 udp/80",
    "udp/100-200 tcp/100",
    "udp/100-200 tcp/100",
    "icmp/8 icmpv6/128",
    "icmp/8",
    "ip/47",
    "udp/123",
    "sctp/7 ip/6",
)
PORTS = (22, 80, 81, 100, 200, 201, 8080)
PATTERNS = ("eth0", "lan*", "lan1", "wan0", "wg*")
NAMES = (None, "eth0", "eth1", "lan", "lan1", "wan0", "wg7")
GROUPS = ("banned", "friends")
DYNAMIC = tuple(model.DynamicGroup(name, 60, HERE) for name in GROUPS)
DATE = 1801440000


@st.composite
def matches(draw, hook: str, least: bool = True) -> model.Match:
    more: dict[str, object] = {}
    for side, hooks in (("source", ("input", "forward")), ("destination", ("output", "forward", "input"))):
        if hook in hooks and draw(st.integers(0, 3)) == 3:
            kind = draw(st.integers(1, 3))
            if kind & 1:
                more[side] = draw(st.sampled_from(ADDRESSES))
            if kind & 2:
                more[f"{side}_dynamic"] = tuple(
                    draw(st.lists(st.sampled_from(GROUPS), min_size=1, unique=True))
                )
    for key, hooks in (("incoming", ("input", "forward")), ("outgoing", ("output", "forward"))):
        if hook in hooks and draw(st.integers(0, 3)) == 3:
            more[key] = tuple(draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True)))
    what = draw(st.sampled_from(SERVICES)) if not more or draw(st.booleans()) else None
    if what and draw(st.integers(0, 3)) == 3:
        more["sports"] = draw(st.sampled_from(((22, 100), (200, 200))))
    if hook == "input" and what and draw(st.booleans()):
        more["published"] = True
        # `local` of a redirected connection is not what the packet says now.
        more.pop("destination", None), more.pop("destination_dynamic", None)
    return match(what, **more)


@st.composite
def lines(draw, hook: str) -> model.Rule:
    verdict = draw(st.sampled_from(("accept", "accept", "drop", "reject")))
    holes = draw(st.lists(matches(hook), max_size=2))
    more: dict[str, object] = {}
    if draw(st.integers(0, 3)) == 3:
        more["expires"] = DATE
    if draw(st.integers(0, 3)) == 3:
        more["log"] = draw(st.sampled_from(("", "x")))
    if verdict == "accept" and draw(st.integers(0, 2)) == 2:
        rate, maximum = draw(st.sampled_from(((3, 0), (0, 7), (5, 9))))
        more["limit"] = model.Limit(rate, "minute", 5 if rate else 0, draw(st.booleans()), maximum)
    if draw(st.integers(0, 4)) == 4:
        more["families"] = draw(st.sampled_from(((4,), (6,))))
    return line(verdict, draw(matches(hook)), *holes, **more)


@st.composite
def sections(draw, hook: str) -> model.Section:
    default = draw(st.sampled_from(("drop", "reject", "accept")))
    return section(hook, default, *draw(st.lists(lines(hook), min_size=1, max_size=4)))


@st.composite
def forwards(draw) -> model.PortForward:
    family = draw(st.sampled_from((4, 6)))
    (what,) = service(draw(st.sampled_from(("tcp/80", "udp/100-200", "tcp/22"))))
    one = what.ports[0][0] == what.ports[0][1]
    port = draw(st.sampled_from((None, 8080))) if one else None
    source = some(draw(st.sampled_from((None, None, "10.0.0.0/8 2001:db8::/32"))))
    to = (family, parse(POINTS[family][0])[1])
    incoming = (draw(st.sampled_from(("wan0", "lan*"))),)
    return model.PortForward(incoming, what, to, port, draw(st.booleans()), source, HERE)


@st.composite
def policies(draw) -> model.Policy:
    found = [draw(sections(hook)) for hook in ("input", "output", "forward") if draw(st.integers(0, 7)) != 7]
    nat = model.Nat(forward=tuple(draw(st.lists(forwards(), max_size=2)))) if draw(st.booleans()) else None
    log = draw(
        st.sampled_from((None, model.Log(True, 5, "minute", "fwp"), model.Log(False, 5, "day", "f", 7)))
    )
    ntp = draw(st.sampled_from((None, "client-only", "closed")))
    return policy(*found, nat=nat, log=log, ntp=ntp, dynamic=DYNAMIC)


@st.composite
def packets(draw) -> Packet:
    hook = draw(st.sampled_from(("input", "input", "output", "forward", "forward")))
    family = draw(st.sampled_from((4, 6)))
    protocol = draw(st.sampled_from((6, 6, 6, 17, 17, 17, 132, 47, 1 if family == 4 else 58)))
    ported = protocol in (6, 17, 132)
    address = st.sampled_from(POINTS[family]).map(lambda text: parse(text)[1])
    groups = st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(tuple)
    port = st.sampled_from(PORTS) if ported else st.none()
    return Packet(
        hook,
        family,
        protocol,
        draw(address),
        draw(address),
        draw(port),
        draw(port),
        draw(st.sampled_from((0, 1, 3, 8, 128, 135))) if protocol in (1, 58) else None,
        draw(st.sampled_from((*["new"] * 8, *STATES))),
        draw(st.sampled_from((None, 3, 4))),
        hook != "forward" and draw(st.integers(0, 9)) == 9,
        incoming=draw(st.sampled_from(NAMES)) if hook != "output" else None,
        outgoing=draw(st.sampled_from(NAMES)) if hook != "input" else None,
        published=draw(st.sampled_from((None, None, *PORTS))) if ported and hook != "output" else None,
        time=draw(st.sampled_from((None, DATE - 1, DATE))),
        source_in=draw(groups),
        destination_in=draw(groups),
        spent=draw(st.booleans()),
    )
