"""The probe matrix: what a host is asked, in which order, and how each question looks on the wire.

Mode 3 comes first: `restrict ... limited` (and chrony's `ratelimit`) answers the first packets of a
source and then falls silent, so whatever is asked first has the best chance of an answer.
"""

from __future__ import annotations

from fwpolicy.deploy.probe import packets
from fwpolicy.record import record, replace

# What a probe asks for; `code` is the operation, request or command of the protocol.
TIME, CONTROL, PRIVATE, CMDMON, CONNECT = "time", "control", "private", "cmdmon", "connect"
HIGH = 0

# RFC 5905 section 7.2 and the IANA registries: the NTP groups, and IPv6's "all nodes".
MULTICAST = {4: "224.0.1.1", 6: "ff02::101"}
ALL_NODES = "ff02::1"


@record
class Probe:
    """One question.

    `name`: stable, part of the JSON output. `kind`: TIME, CONTROL, PRIVATE, CMDMON or CONNECT (TCP).
    `source_port`: 123, or HIGH for a fresh one. `to`: "host", "broadcast" or "multicast". `shape`:
    "plain", or how the IP packet is made by hand: "fragments", "reversed", "first" (the first
    fragment alone), "atomic", "options". `forged`: the source address is a time server's.
    `quick`: part of the minimum.
    """

    name: str
    kind: str
    mode: int = 0
    version: int = 4
    code: int = 0
    source_port: int = HIGH
    port: int = packets.NTP_PORT
    to: str = "host"
    shape: str = "plain"
    forged: bool = False
    quick: bool = False
    families: tuple[int, ...] = (4, 6)

    @property
    def raw(self) -> bool:
        """Whether its IP header is ours to write, which takes a raw socket."""
        return self.forged or self.shape != "plain"


_PORTS = ((HIGH, "high"), (packets.NTP_PORT, "123"))
_KIND = {6: CONTROL, 7: PRIVATE}
_CODE = {6: packets.READVAR, 7: packets.MON_GETLIST_1}
_WORD = {6: "readvar", 7: "monlist"}
# ntpq speaks version 2 and ntpdc too; the minimum asks modes 6 and 7 as they do.
_QUICK = ((3, 4), (1, 4), (6, 2), (7, 2))


def _asked(mode: int) -> str:
    return _WORD.get(mode, f"mode{mode}")


def _of_mode(mode: int, version: int, prefix: str = "", **how: object) -> Probe:
    name = f"{prefix}{_asked(mode)}-v{version}"
    return Probe(name, _KIND.get(mode, TIME), mode, version, _CODE.get(mode, 0), **how)  # type: ignore[arg-type]


def _modes() -> tuple[Probe, ...]:
    """Every mode in every version from both ports, mode 3 first, then the minimum's others."""
    pairs = [(mode, version) for mode in (3, 1, 6, 7, 0, 2, 4, 5) for version in (4, 3, 2, 1)]
    pairs.sort(key=lambda pair: (pair[0] != 3, pair not in _QUICK))
    found = []
    for mode, version in pairs:
        for port, word in _PORTS:
            probe = _of_mode(mode, version, source_port=port, quick=(mode, version) in _QUICK)
            found.append(_named(probe, word))
    return tuple(found)


def _named(probe: Probe, suffix: str) -> Probe:
    return replace(probe, name=f"{probe.name}-{suffix}")


def _queries() -> tuple[Probe, ...]:
    """Modes 6 and 7 have more to ask than readvar and monlist."""
    readstat = [
        Probe(
            f"readstat-v2-{word}",
            CONTROL,
            6,
            2,
            packets.READSTAT,
            port,
            quick=True,
        )
        for port, word in _PORTS
    ]
    peers = [Probe(f"peerlist-v2-{word}", PRIVATE, 7, 2, packets.PEER_LIST, port) for port, word in _PORTS]
    return (
        *readstat,
        Probe("readclock-v2-high", CONTROL, 6, 2, packets.READCLOCK),
        Probe("ordlist-v2-high", CONTROL, 6, 2, packets.READ_ORDERED_LIST),
        Probe("nonce-v2-high", CONTROL, 6, 2, packets.REQUEST_NONCE),
        *peers,
        Probe("sysinfo-v2-high", PRIVATE, 7, 2, packets.SYS_INFO),
        Probe("monlist0-v2-high", PRIVATE, 7, 2, packets.MON_GETLIST),
    )


def _shapes() -> tuple[Probe, ...]:
    return (
        *(_named(_of_mode(mode, 2, shape="fragments"), "fragments") for mode in (3, 6, 7)),
        _named(_of_mode(6, 2, shape="fragments", source_port=packets.NTP_PORT), "123-fragments"),
        _named(_of_mode(6, 2, shape="reversed"), "reversed"),
        _named(_of_mode(3, 4, shape="first"), "first"),
        _named(_of_mode(6, 2, shape="options"), "options"),
        _named(_of_mode(6, 2, shape="atomic", families=(6,)), "atomic"),
    )


def _groups() -> tuple[Probe, ...]:
    return (
        *(
            _of_mode(mode, version, "broadcast-", to="broadcast")
            for mode, version in ((3, 4), (6, 2), (7, 2))
        ),
        *(
            _of_mode(mode, version, "multicast-", to="multicast")
            for mode, version in ((3, 4), (6, 2), (5, 4))
        ),
    )


def _forged() -> tuple[Probe, ...]:
    """As the configured time server, from port 123: what "established" rules let in.

    The server gets the answers. Between two ntpd older than 4.2.4p8 a forged mode 7 packet starts an
    exchange that does not end (CVE-2009-3563), which is why forging is asked for by address.
    """
    own = packets.NTP_PORT
    readstat = Probe("forged-readstat-v2", CONTROL, 6, 2, packets.READSTAT, own, forged=True)
    return (
        *(_of_mode(mode, 2 if mode > 5 else 4, "forged-", source_port=own, forged=True) for mode in range(8)),
        readstat,
        _named(_of_mode(6, 2, "forged-", source_port=own, forged=True, shape="fragments"), "fragments"),
    )


def _beside() -> tuple[Probe, ...]:
    """Not NTP itself: chrony's cmdmon, and TCP connections to 123 and to NTS-KE (RFC 8915 section 4)."""
    cmdmon = packets.CMDMON_PORT
    return (
        Probe("cmdmon-tracking", CMDMON, code=packets.CMDMON_TRACKING, port=cmdmon, quick=True),
        Probe("cmdmon-null", CMDMON, code=packets.CMDMON_NULL, port=cmdmon),
        Probe("nts-ke", CONNECT, port=packets.NTS_KE_PORT, quick=True),
        Probe("tcp-123", CONNECT),
    )


def _ordered() -> tuple[Probe, ...]:
    every = (*_modes(), *_queries(), *_beside(), *_shapes(), *_groups(), *_forged())
    return tuple(sorted(every, key=lambda probe: (probe.mode != 3 or probe.raw, not probe.quick)))


MATRIX: tuple[Probe, ...] = _ordered()
CONTROL_PROBE = MATRIX[0]
CONTROL_PROBE_123 = MATRIX[1]


def of_family(family: int, *, quick: bool = False) -> tuple[Probe, ...]:
    """The probes for `family` 4 or 6, in the order of sending; `quick` gives the minimum only."""
    return tuple(probe for probe in MATRIX if family in probe.families and (probe.quick or not quick))


def payload(probe: Probe, token: int) -> bytes:
    """The UDP payload; `token` (64 bits) is unique to this sending. A TCP probe has none."""
    if probe.kind == CONTROL:
        return packets.control(probe.code, probe.version, token & 0xFFFF)
    if probe.kind == PRIVATE:
        return packets.private(probe.code, probe.version)
    if probe.kind == CMDMON:
        return packets.cmdmon(probe.code, token & 0xFFFFFFFF)
    return packets.time_packet(probe.mode, probe.version, token) if probe.kind == TIME else b""


def frames(probe: Probe, ends: tuple[str, str], source_port: int, token: int) -> tuple[bytes, ...]:
    """The IP packets of a probe made by hand, in the order of sending; `ends` are (source, destination)."""
    datagram = packets.udp(*ends, (source_port, probe.port), payload(probe, token))
    ident = (token & 0xFFFF) or 1
    six = ":" in ends[0]
    match probe.shape:
        case "fragments":
            return packets.fragments(ends, datagram, ident)
        case "reversed":
            return packets.fragments(ends, datagram, ident)[::-1]
        case "first":
            return packets.fragments(ends, datagram, ident)[:1]
        case "atomic":
            return (packets.ipv6_fragment(ends, datagram, ident),)
        case "options":
            make = packets.ipv6_with_options
            return (make(ends, datagram) if six else packets.ipv4_with_options(ends, datagram, ident),)
    return (packets.ipv6(ends, datagram) if six else packets.ipv4(ends, datagram, ident),)
