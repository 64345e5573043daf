"""What lowering must know of the host, gathered at plan time."""

from __future__ import annotations

from fwpolicy.addresses import AddressSet
from fwpolicy.record import record


@record
class Facts:
    """`nat`: some chain on the host translates addresses, so nothing is dropped before NAT has run.

    `servers`: the addresses of the daemon's own time sources, for `servers: from-daemon`.
    """

    nat: bool = False
    servers: AddressSet | None = None
