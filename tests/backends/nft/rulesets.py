"""Random rulesets of everything the IR can say, as hypothesis strategies."""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st

from fwpolicy import addresses
from fwpolicy.addresses import merge
from fwpolicy.ir import ruleset as ir
from fwpolicy.ir.maps import CounterMap, Element, Map, VerdictMap, type_of
from fwpolicy.record import replace

COUNTERS = ("allow_input_tcp_22", "id-1.x", "default_input")
LIMITS = (
    ir.LimitObject("slow", ir.Rate(3, "day", 5)),
    ir.LimitObject("fast", ir.Rate(100, "second", 200)),
    ir.LimitObject("medium-1", ir.Rate(7, "minute", 1)),
)
SETS = (
    ir.Set("hosts_v4", 4, ((1, 1), (5, 5))),
    ir.Set("nets_v4", 4, addresses.of("10.0.0.0/8", "192.0.2.7-192.0.2.20").v4),
    ir.Set("empty_v6", 6, ()),
    ir.Set("nets_v6", 6, addresses.of("2001:db8::/32", "fd00::1").v6),
    ir.DynamicSet("banned_v4", 4, 3600),
    ir.DynamicSet("banned_v6", 6, 0),
    ir.DynamicSet("rate_v4", 4, 90),
    ir.DynamicSet("rate_v6", 6, 86400, 1000),
    ir.DynamicSet("slow_v4", 4, 172_800_007),
    ir.DynamicSet("conn_v4", 4, None),
    ir.DynamicSet("conn_v6", 6, None),
)
NETWORKS = {
    4: ir.Set("networks_v4", 4, ((10 << 24, 10 << 24), (10 << 24 | 256,) * 2)),
    6: ir.Set("networks_v6", 6, ()),
}
MEMBERS = {
    "ip": (((1, 1),), ((0x0A000000, 0x0AFFFFFF),), ((0x0B000001, 0x0B000006),)),
    "ip6": (((1, 1),), ((1 << 64, (2 << 64) - 1),), ((7, 9),)),
    "port": (((22, 22),), ((80, 90),), ((1024, 65535),)),
}
LOOKUPS = {
    4: (("ip saddr",), ("ip saddr", "tcp dport"), ("ip saddr", "ip daddr", "udp dport"), ("tcp dport",)),
    6: (("ip6 saddr",), ("ip6 daddr", "tcp dport"), ("udp sport", "udp dport"), ("sctp dport",)),
}
STATIC = tuple(each for each in SETS if isinstance(each, ir.Set) or each.name.startswith("banned"))
NAMES = ("lo", "eth0", "wg0", "br-lan")
PORTS = ((22, 22), (80, 80), (1000, 2000), (1, 65535), (443, 444))


def some(pool, least: int = 1, most: int = 3):
    return st.lists(st.sampled_from(pool), min_size=least, max_size=most, unique=True)


rates = st.builds(
    ir.Rate,
    st.sampled_from((1, 5, 1000)),
    st.sampled_from(("second", "minute", "hour", "day")),
    st.integers(1, 100),
)
interfaces = st.one_of(
    st.builds(lambda names, n: ("names", tuple(names), n), some(NAMES), st.booleans()),
    st.builds(lambda n: ("names", ("wg*",), n), st.booleans()),
)


@st.composite
def address(draw, family: int):
    side = draw(st.sampled_from(("saddr", "daddr")))
    negated, original = draw(st.booleans()), draw(st.booleans())
    named = draw(st.sampled_from((None, *(each.name for each in STATIC if each.family == family))))
    texts = {
        4: ("10.0.0.0/8", "10.1.2.3", "192.0.2.9-192.0.2.11"),
        6: ("2001:db8::/32", "::1", "fd00::-fd00::5"),
    }
    inner = addresses.of(*draw(some(texts[family]))).of(family)
    if draw(st.integers(0, 3)) == 0:
        prefix = draw(st.sampled_from((8, 24, 31)))
        return ir.Address(family, side, (), f"networks_v{family}", negated, prefix=prefix)
    return ir.Address(family, side, () if named else inner, named, negated, original)


@st.composite
def protocol(draw, family: int) -> tuple[ir.Match, ...]:
    """Matches of the transport header, or none: never two that contradict each other."""
    number = draw(st.sampled_from((6, 17, 33, 132)))
    ports = merge(draw(some(PORTS)))
    last = draw(st.sampled_from(PORTS))
    kinds = [
        (),
        (ir.L4Proto((number,)),),
        (ir.L4Proto((6, 17)),),
        (ir.L4Proto((47, 50)),),
        (ir.AnyPort((6, 17), "dport", ports),),
        (ir.AnyPort((6, 17, 132), "sport", ports),),
        (ir.Port(number, "dport", ports),),
        (ir.Port(number, "sport", ports), ir.Port(number, "dport", ports)),
        (ir.Port(number, "sport", ports), ir.OriginalPort(*last)),
        (ir.L4Proto((number,)), ir.OriginalPort(*last)),
        (ir.IcmpType(1, (3, 8)),) if family == 4 else (ir.IcmpType(58, (128,)),),
        (
            ir.Port(17, "dport", ((123, 123),)),
            ir.NtpMode((3,)),
            *draw(st.sampled_from(((), (ir.NtpMode((4, 5), True),)))),
        ),
        (ir.TcpSyn(),),
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def memory(draw, family: int) -> tuple[ir.Match, ...]:
    rate = draw(rates)
    kinds = [
        (),
        (rate,),
        (ir.LimitName(draw(st.sampled_from(LIMITS)).name),),
        (ir.CtCount(7), ir.LimitName("slow")),
        (ir.PerSource(family, f"rate_v{family}", rate),),
        (
            ir.PerSource(family, f"conn_v{family}", ir.CtCount(3)),
            ir.PerSource(family, f"rate_v{family}", rate),
        ),
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def matches(draw, hook: str, family: int) -> tuple[ir.Match, ...]:
    found: list[ir.Match] = []
    keys = {"prerouting": ("iifname",), "postrouting": ("oifname",)}.get(hook, ("iifname", "oifname"))
    for key in keys:
        if draw(st.booleans()):
            _, names, negated = draw(interfaces)
            found.append(ir.Interface(key, names, negated))
    if draw(st.integers(0, 3)) == 0:
        here = hook == "prerouting" and draw(st.booleans())
        types = draw(st.sampled_from((("local",), ir.LOCAL, ("broadcast", "multicast"))))
        found.append(ir.DestinationType(types, here, draw(st.booleans())))
    found.append(ir.Nfproto(family))
    found += draw(st.lists(address(family), max_size=2))
    if draw(st.booleans()):
        found.append(
            draw(
                st.sampled_from(
                    (ir.CtStatus("dnat"), ir.CtState(("established", "related")), ir.CtState(("untracked",)))
                )
            )
        )
    if draw(st.booleans()):
        found.append(ir.Before(draw(st.sampled_from((1801440000, 1792886400, 1785542400)))))
    return (*found, *draw(protocol(family)), *draw(memory(family)))


@st.composite
def rules(draw, hook: str, kind: str, family: int, targets: tuple[str, ...]) -> ir.Rule:
    pool: list[ir.Verdict] = [ir.Accept(), ir.Drop(), ir.Return(), ir.Continue(), *map(ir.Jump, targets)]
    inner = draw(matches(hook, family))
    is_tcp = any(getattr(match, "protocol", None) == 6 or match == ir.L4Proto((6,)) for match in inner)
    if kind == "filter":
        pool += [ir.Reject("port-unreachable")] * 2
        pool += [ir.Reject("tcp-reset")] * 3 if is_tcp else []
    if hook == "forward" and ir.TcpSyn() in inner:
        pool = [ir.ClampMss()]
    here, there = (0xC0000201, 0x0A000001) if family == 4 else (addresses.parse("2001:db8::9")[1], 1)
    if kind == "nat":
        pool = [ir.Return(), ir.Accept()]
        ported = any(isinstance(match, ir.Port) for match in inner)
        if hook == "prerouting":
            pool += [ir.DestinationNat(family, here)] + [ir.DestinationNat(family, there, 8080)] * ported
        else:
            pool += [ir.Masquerade(), ir.SourceNat(family, here)]
    log = st.sampled_from((None, None, ir.Log("fwp denied: "), ir.Log("x ", 7)))
    verdict = draw(st.sampled_from(pool))
    comment = draw(st.sampled_from((None, "operators", "a: b")))
    counter = draw(st.sampled_from((None, *COUNTERS)))
    looked_up = draw(st.sampled_from(("", "", "", "counter", "verdict" if targets else "")))
    if looked_up:
        words = {6: "tcp", 17: "udp", 132: "sctp"}
        said = {words.get(getattr(match, "protocol", 0), "") for match in inner} - {""}
        fit = [
            fields
            for fields in LOOKUPS[family]
            if not any(not isinstance(m, ir.Address | ir.Nfproto | ir.Interface) for m in inner)
            or not any(field.endswith("port") and field.split()[0] not in said for field in fields)
        ]
        fields = draw(st.sampled_from(fit))
        name = map_name(looked_up, fields)
        counter = CounterMap(fields, name) if looked_up == "counter" else counter
        verdict = VerdictMap(fields, name) if looked_up == "verdict" else verdict
    return ir.Rule(
        inner, verdict, draw(st.sampled_from(("allow", "role:ntp"))), None, counter, comment, draw(log)
    )


BASES = (
    ("prefilter", ir.Base("prerouting", ir.RAW, "accept")),
    ("input", ir.Base("input", ir.OURS, "drop")),
    ("output", ir.Base("output", ir.FILTER, "accept")),
    ("forward", ir.Base("forward", ir.FILTER + 7, "drop")),
    ("clamp_mss", ir.Base("forward", ir.MANGLE, "accept")),
    ("dstnat", ir.Base("prerouting", ir.DSTNAT, "accept", "nat")),
    ("srcnat", ir.Base("postrouting", ir.SRCNAT, "accept", "nat")),
)


def map_name(holds: str, fields: tuple[str, ...]) -> str:
    return f"{holds}_{'_'.join(fields).replace(' ', '_')}"


@st.composite
def maps(draw, holds: str, fields: tuple[str, ...]) -> Map:
    """Hash and interval maps, none with overlapping keys."""
    pools = [MEMBERS["port" if field.endswith("port") else field.split()[0]] for field in fields]
    keys = draw(some(tuple(product(*(tuple(each[0] for each in pool) for pool in pools))), 0, 5))
    if draw(st.booleans()):
        keys = [key for key in keys if all(first == last for first, last in key)]
    targets = COUNTERS if holds == "counter" else ("log_drop",)
    elements = [
        Element(key, draw(st.sampled_from(targets)), draw(st.sampled_from((None, "a: b")))) for key in keys
    ]
    return Map(map_name(holds, fields), tuple(map(type_of, fields)), holds, tuple(elements))


@st.composite
def tables(draw) -> ir.Table:
    chains = [ir.Chain("log_drop", (ir.Rule((), ir.Drop(), "log"),))]
    for name, base in BASES:
        targets = ("log_drop",) if base.type == "filter" else ()
        family = draw(st.sampled_from((4, 6)))
        inner = draw(st.lists(rules(base.hook, base.type, family, targets), max_size=4))
        chains.append(ir.Chain(name, tuple(inner), base))
    varied = tuple(draw(_variant(each)) for each in SETS)
    limits = tuple(
        replace(each, rate=draw(st.sampled_from((each.rate, ir.Rate(9, "hour", 9))))) for each in LIMITS
    )
    kinds = [(holds, each) for holds in ("counter", "verdict") for each in (*LOOKUPS[4], *LOOKUPS[6])]
    found = tuple(draw(maps(*kind)) for kind in kinds)
    sets = (*varied, *NETWORKS.values())
    return ir.Table(ir.FAMILY, ir.TABLE, sets, tuple(chains), COUNTERS, limits, found)


def _variant(each: ir.Set | ir.DynamicSet):
    """The set, or one of the same name that is another."""
    if isinstance(each, ir.DynamicSet):
        return st.sampled_from((each, each, replace(each, size=500)))
    return st.sampled_from((each, each, replace(each, intervals=((7, 7),))))
