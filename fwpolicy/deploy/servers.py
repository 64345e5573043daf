"""A daemon's own time sources against the policy: will it still synchronise?"""

from __future__ import annotations

from fwpolicy.addresses import AddressError, AddressSet, collect, parse
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.deploy.timeservice import DaemonPlan
    from fwpolicy.host.files import Files
    from fwpolicy.model.packet import Packet
    from fwpolicy.policy.model import Policy

UDP = 17
# Any resolver will do where /etc/resolv.conf names none but a stub on loopback: RFC 5737, RFC 3849.
_SOME_RESOLVER = ("203.0.113.53", "2001:db8::53")


@record
class Sources:
    """What the daemons in use ask: addresses, and names that only DNS can tell."""

    addresses: AddressSet
    names: tuple[str, ...]


def sources_of(daemons: Iterable[DaemonPlan]) -> Sources:
    """The sources of all the daemons of a plan."""
    items, names = [], []
    for daemon in daemons:
        for source in daemon.sources:
            try:
                items.append(parse(source.host))
            except AddressError:
                names.append(source.host)
    return Sources(collect(items), tuple(dict.fromkeys(names)))


def known_servers(policy: Policy, sources: Sources) -> tuple[AddressSet | None, tuple[str, ...]]:
    """(the servers for `servers: from-daemon`, notes); None: any, where names leave no choice."""
    if policy.ntp is None or not policy.ntp.from_daemon:
        return None, ()
    if sources.addresses and not sources.names:
        return sources.addresses, ()
    asked = (
        f"the daemon asks {', '.join(sources.names)}, by name"
        if sources.names
        else "the daemon names no server"
    )
    return None, (f"servers: from-daemon: {asked}; any server may answer, in mode 4 only",)


def unreachable(policy: Policy, sources: Sources) -> tuple[str, ...]:
    """A sentence for each source by address that the policy keeps the daemon from asking."""
    if policy.ntp is None or policy.ntp.mode == "closed" or policy.ntp.from_daemon:
        return ()
    lost = [text for text in sources.addresses.prefixes() if _denied(policy, _asks(text, 123))]
    return tuple(
        f"the daemon asks {text}, which `servers` does not include: it gets no answer" for text in lost
    )


def without_dns(policy: Policy, sources: Sources, files: Files) -> tuple[str, ...]:
    """Server names need an allowed DNS: a refusal where the policy's output denies every resolver."""
    if policy.ntp is None or policy.ntp.mode == "closed" or policy.output is None or not sources.names:
        return ()
    resolvers = _resolvers(files)
    if not all(_denied(policy, _asks(resolver, 53)) for resolver in resolvers):
        return ()
    names = ", ".join(sources.names)
    return (f"the time daemon asks {names} by name, and `output` allows no DNS: add `dns` to its allow",)


def _asks(destination: str, port: int) -> Packet:
    from fwpolicy.model.packet import Packet  # noqa: PLC0415

    family, address, _ = parse(destination)
    return Packet("output", family, UDP, 0, address, 40000, port)


def _denied(policy: Policy, packet: Packet) -> bool:
    from fwpolicy.model.decide import decide  # noqa: PLC0415

    return decide(policy, packet).verdict in ("drop", "reject")


def _resolvers(files: Files) -> tuple[str, ...]:
    """The name servers of resolv.conf(5) beyond loopback."""
    found = []
    for line in (files.read("/etc/resolv.conf") or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]:
            found.append(words[1])
    beyond = [text for text in found if not text.startswith("127.") and text != "::1" and _is_address(text)]
    return tuple(beyond) or _SOME_RESOLVER


def _is_address(text: str) -> bool:
    try:
        parse(text)
    except AddressError:
        return False
    return True
