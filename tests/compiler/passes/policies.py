"""Random policies of many lines that meet each other often, and packets for them."""

from __future__ import annotations

from hypothesis import strategies as st

from fwpolicy.addresses import parse
from fwpolicy.model.packet import STATES, Packet
from fwpolicy.policy import model
from fwpolicy.record import replace
from tests.compiler.build import HERE, allow, block, match, policy, section

SERVICES = (
    *("tcp/22", "tcp/23", "tcp/80", "udp/53", "udp/80", "tcp/20-80", "udp/50-60", "sctp/7", "icmp/8", "gre"),
    *("dns", "ping", "tcp/80 tcp/443", "tcp/443 udp/443", "tcp/1000-2000", "ip/112 gre"),
)
SOURCES = (
    *("10.0.0.1", "10.0.0.2", "10.0.0.3 10.0.0.9", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.2-10.0.0.5"),
    *("2001:db8::1", "2001:db8::2", "2001:db8::/32", "10.0.0.1 2001:db8::1", "10.0.0.0/24 2001:db8::/64"),
)
ADDRESSES = {
    4: [parse(text)[1] for text in ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.5", "10.0.0.9", "10.0.1.0")],
    6: [parse(text)[1] for text in ("2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8:1::", "fe80::1")],
}
PORTS = (7, 20, 22, 23, 53, 55, 80, 81, 443, 1500)


@st.composite
def lines(draw, number: int):
    which = draw(st.integers(1, 3))
    what = draw(st.sampled_from(SERVICES)) if which & 1 else None
    more: dict[str, object] = {"source": draw(st.sampled_from(SOURCES))} if which & 2 else {}
    if more and draw(st.integers(0, 4)) == 0:
        more["source_group"] = f"group{SOURCES.index(more['source'])}"
    if draw(st.integers(0, 7)) == 0:
        more["incoming"] = draw(st.sampled_from((("eth0",), ("eth1", "wg*"))))
    holes = [match(source=draw(st.sampled_from(SOURCES)))] if draw(st.integers(0, 7)) == 0 else []
    kind = draw(st.integers(0, 9))
    if kind == 0:
        more["log"] = "noted"
    if kind == 1:
        more["comment"] = "operators"
    if kind == 2:
        more["limit"] = draw(
            st.sampled_from((model.Limit(5, "second", 5), model.Limit(5, "minute", 5, True)))
        )
    if kind in (3, 4, 5) and "limit" not in more:
        made = block(what, *holes, action=("drop", "drop", "reject")[kind - 3], **more)
    else:
        made = allow(what, *holes, **more)
    # Each line is a place of its own in the text.
    return replace(made, origin=replace(HERE, line=number))


@st.composite
def policies(draw, most: int = 24) -> model.Policy:
    count = draw(st.integers(1, most))
    made = [draw(lines(number)) for number in range(1, count + 1)]
    made = [line for line in made if line.families]
    default = draw(st.sampled_from(("drop", "reject", "accept")))
    log = model.Log(True, 5, "minute", "fwp") if draw(st.booleans()) else None
    return policy(section("input", default, *made), log=log)


@st.composite
def packets(draw) -> Packet:
    family = draw(st.sampled_from((4, 6)))
    protocol = draw(st.sampled_from((6, 6, 6, 17, 17, 132, 1 if family == 4 else 58, 47)))
    ported = protocol in (6, 17, 132)
    source, here = draw(st.sampled_from(ADDRESSES[family])), draw(st.sampled_from(ADDRESSES[family]))
    port = draw(st.sampled_from(PORTS)) if ported else None
    kind = {1: 8, 58: 128}.get(protocol)
    state = draw(st.sampled_from(("new", "new", "new", *STATES)))
    return Packet("input", family, protocol, source, here, 40000 if ported else None, port, kind, state)
