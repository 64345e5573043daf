"""Carrying out the matrix: addresses, routes, the control first, then the probes, then the control."""

from __future__ import annotations

from functools import partial

from fwpolicy.deploy.probe import matrix, packets
from fwpolicy.deploy.probe.matrix import Probe
from fwpolicy.deploy.probe.report import Control, Result, Target
from fwpolicy.errors import HostError
from fwpolicy.host import wire
from fwpolicy.host.flight import ANSWERED, SILENT, UNREACHABLE, Echo, Shot, Timing
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fwpolicy.host.capture import Path

# `discard minimum 2` of ntp.conf(5): a server with `limited` drops what comes within two seconds.
_CONTROL_WAIT = 2.1
_ATTEMPTS = 3


@record
class Options:
    """How to probe. `family` 4, 6 or None for both; times in seconds; addresses as text.

    `controls`: known to answer, the first of each family counts. `forge`: time servers' addresses
    to send as; `sources`: own addresses to send from in turn.
    """

    family: int | None = None
    controls: tuple[str, ...] = ()
    forge: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    spacing: float = 0.03
    wait: float = 1.0
    quick: bool = False
    broadcast: str | None = None
    interface: str | None = None


OPTIONS = ("family", "controls", "forge", "sources", "spacing", "wait", "quick", "broadcast", "interface")


def probe(
    hosts: tuple[str, ...], options: Options, progress: Callable[[str], None] | None = None
) -> tuple[Target, ...]:
    """Probes every address of `hosts`, one after the other; HostError when a name has no address.

    `progress`, if given, gets a line before each address.
    """
    controls = _controls(options)
    wanted = [(host, address) for host in hosts for address in wire.resolve(host, options.family)]
    return tuple(_target(host, address, controls, options, progress) for host, address in wanted)


def _controls(options: Options) -> dict[int, str]:
    """The first address of the controls in each family."""
    found = [address for control in options.controls for address in wire.resolve(control, None)]
    return {_family(address): address for address in reversed(found)}


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _of_family(addresses: tuple[str, ...], family: int) -> tuple[str, ...]:
    return tuple(address for address in addresses if _family(address) == family)


def _target(
    host: str,
    address: str,
    controls: dict[int, str],
    options: Options,
    progress: Callable[[str], None] | None,
) -> Target:
    family = _family(address)
    path = wire.route(address, options.interface)
    make = partial(Target, host, address, family)
    if path is None:
        return make(None, (), f"this host has no route to {address}")
    if path.local:
        return make(None, (), f"{address} is this host's own: loopback is exempt, so probe from another host")
    control = None
    if family in controls:
        control = _ask_control(options, controls[family], matrix.CONTROL_PROBE)
        if control.before != ANSWERED:
            return make(control, ())
    pairs = _planned(address, path, options)
    if progress:
        seconds = len(pairs) * options.spacing + options.wait
        progress(f"probing {address}: {len(pairs)} probes, {seconds:.1f} s")
    results = _asked(pairs, address, path, options)
    return make(_again(control, results, options), results)


def _asked(pairs: list[tuple[Probe, Shot]], address: str, path: Path, options: Options) -> tuple[Result, ...]:
    timing = Timing(options.spacing, options.wait)
    echoes = wire.exchange(tuple(shot for _, shot in pairs), address, path, timing, packets.answers)
    return tuple(_result(asked, shot, echo) for (asked, shot), echo in zip(pairs, echoes, strict=True))


def _result(asked: Probe, shot: Shot, echo: Echo) -> Result:
    return Result(
        asked,
        echo.outcome,
        echo.reason,
        echo.bytes_out,
        echo.bytes_in,
        echo.packets_in,
        (shot.source or "") if shot.forged else "",
        asked.kind == matrix.CONTROL and packets.is_control_error(echo.reply),
        echo.sender,
    )


# The control


def _again(control: Control | None, results: tuple[Result, ...], options: Options) -> Control | None:
    """Asked once more, from port 123 if probes went from there: the path carried those, too."""
    if control is None or any(result.outcome == ANSWERED for result in results):
        return control
    from_123 = any(result.sent and result.probe.source_port and not result.probe.forged for result in results)
    asked = matrix.CONTROL_PROBE_123 if from_123 else matrix.CONTROL_PROBE
    after = _ask_control(options, control.address, asked)
    return Control(control.host, control.address, control.before, after.before, after.reason)


def _ask_control(options: Options, address: str, asked: Probe) -> Control:
    host = address if len(options.controls) != 1 else options.controls[0]
    path = wire.route(address, options.interface)
    if path is None:
        return Control(host, address, UNREACHABLE, reason="this host has no route to it")
    echo = Echo(SILENT)
    for _ in range(_ATTEMPTS):
        token = wire.random_token()
        sources = _of_family(options.sources, _family(address)) or (None,)
        shot = Shot(
            asked.name,
            address,
            asked.port,
            matrix.payload(asked, token),
            source=sources[0],
            source_port=asked.source_port,
        )
        timing = Timing(0, _CONTROL_WAIT, eager=True)
        echo = wire.exchange((shot,), address, path, timing, packets.answers)[0]
        if echo.outcome == ANSWERED:
            break
    return Control(host, address, echo.outcome, reason=echo.reason)


# The shots


def _planned(address: str, path: Path, options: Options) -> list[tuple[Probe, Shot]]:
    family = _family(address)
    forge, sources = _of_family(options.forge, family), _of_family(options.sources, family)
    if options.sources and not sources:
        raise HostError(f"--source gives no IPv{family} address to probe {address} from (or choose -4 or -6)")
    pairs: list[tuple[Probe, Shot]] = []
    for asked in matrix.of_family(family, quick=options.quick):
        for source in forge if asked.forged and forge else (None,):
            own = sources[len(pairs) % len(sources)] if sources else None
            pairs.append((asked, _shot(asked, address, source or own, path, options)))
    return pairs


def _shot(asked: Probe, address: str, source: str | None, path: Path, options: Options) -> Shot:
    token = wire.random_token()
    to, withheld = _destination(asked, address, path, options)
    if asked.forged and not _of_family(options.forge, _family(address)):
        withheld = "no address of a time server to forge was given (--forge ADDR)"
    return Shot(
        asked.name,
        to,
        asked.port,
        matrix.payload(asked, token),
        transport="tcp" if asked.kind == matrix.CONNECT else "udp",
        source=source,
        source_port=asked.source_port,
        forged=asked.forged,
        group=asked.to != "host",
        build=partial(_frames, asked, to.partition("%")[0], token) if asked.raw else None,
        withheld=withheld,
    )


def _frames(asked: Probe, to: str, token: int, source: str, source_port: int) -> tuple[bytes, ...]:
    return matrix.frames(asked, (source, to), source_port, token)


def _destination(asked: Probe, address: str, path: Path, options: Options) -> tuple[str, str]:
    """Where the probe goes, and why it stays here if it does."""
    family = _family(address)
    if asked.to == "host":
        return address, ""
    if asked.to == "broadcast" and family == 4:
        missing = "no broadcast address was given (--broadcast ADDR)"
        return options.broadcast or address, "" if options.broadcast else missing
    group = matrix.ALL_NODES if asked.to == "broadcast" else matrix.MULTICAST[family]
    reach = path.on_link or options.interface
    return group, "" if reach else "the host is behind a router, which passes no link's groups on"
