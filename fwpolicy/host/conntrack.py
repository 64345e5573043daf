"""Connection tracking entries over netlink, by pyroute2 (imported only here, and only when used:
it takes fifteen times as long to import as Python to start)."""

from __future__ import annotations

import errno

from fwpolicy.addresses import format_address, parse
from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

UDP, TCP = 17, 6
_AF = {4: 2, 6: 10}


@record
class Flow:
    """The original direction of an entry: who asked whom. Addresses as integers."""

    family: int
    protocol: int
    source: int
    destination: int
    sport: int
    dport: int


def purge(doomed: Callable[[Flow], bool]) -> tuple[Flow, ...]:
    """Delete the entries that `doomed` picks, both families; the flows that were deleted.

    An entry that ends by itself meanwhile is no error. Raises HostError without CAP_NET_ADMIN.
    """
    deleted: list[Flow] = []
    for family in (4, 6):
        with _socket(family) as conntrack:
            condemned = [flow for flow in _entries(conntrack, family) if doomed(flow)]
            deleted += [flow for flow in condemned if _delete(conntrack, flow)]
    return tuple(deleted)


def flows() -> tuple[Flow, ...]:
    """Every UDP and TCP entry, both families."""
    found: list[Flow] = []
    for family in (4, 6):
        with _socket(family) as conntrack:
            found += _entries(conntrack, family)
    return tuple(found)


def _socket(family: int) -> Any:
    try:
        from pyroute2 import NFCTSocket  # noqa: PLC0415
    except ImportError:
        raise HostError("no pyroute2: install it (python3-pyroute2)") from None
    return NFCTSocket(nfgen_family=_AF[family])


def _entries(conntrack: Any, family: int) -> list[Flow]:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        originals = [message.get_attr("CTA_TUPLE_ORIG") for message in conntrack.dump()]
    except (NetlinkError, PermissionError) as error:
        raise HostError(f"cannot read connection tracking: {error.args[-1]}") from None
    return [flow for original in originals if original and (flow := _flow(family, original))]


def _flow(family: int, original: Any) -> Flow | None:
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    addresses = original.get_attr("CTA_TUPLE_IP")
    number = protocol.get_attr("CTA_PROTO_NUM")
    source = addresses.get_attr(f"CTA_IP_V{family}_SRC")
    destination = addresses.get_attr(f"CTA_IP_V{family}_DST")
    if number not in (UDP, TCP) or source is None or destination is None:
        return None
    ports = (protocol.get_attr("CTA_PROTO_SRC_PORT"), protocol.get_attr("CTA_PROTO_DST_PORT"))
    return Flow(family, number, parse(source)[1], parse(destination)[1], *ports)


def _delete(conntrack: Any, flow: Flow) -> bool:
    """Delete one entry; False where it ended before we came (ENOENT)."""
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple  # noqa: PLC0415

    original = NFCTAttrTuple(
        family=_AF[flow.family],
        saddr=format_address(flow.family, flow.source),
        daddr=format_address(flow.family, flow.destination),
        proto=flow.protocol,
        sport=flow.sport,
        dport=flow.dport,
    )
    try:
        conntrack.entry("del", tuple_orig=original)
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return False
        raise HostError(f"cannot delete a connection tracking entry: {error.args[-1]}") from None
    return True
