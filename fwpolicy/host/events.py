"""Changes of this network namespace's nftables, as the kernel tells of them (linux/netfilter/nfnetlink.h)."""

from __future__ import annotations

import select
from errno import ENOBUFS

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import NETFILTER, Netlink, attributes, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

_GROUP = 1 << 7 - 1  # NFNLGRP_NFTABLES
_NEW_GENERATION = 10 << 8 | 15  # NFT_MSG_NEWGEN, the last message of every transaction
_PID, _NAME = 2, 3  # NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
# A program that changes rules one by one is let finish.
_QUIET = 0.1


class RulesetEvents:
    """Raises HostError where nobody may listen."""

    def __init__(self) -> None:
        try:
            self._netlink = Netlink(NETFILTER, _GROUP)
        except OSError as error:
            raise HostError(f"cannot listen to changes of the ruleset: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *rest: object) -> None:
        self._netlink.__exit__(*rest)

    def wait(self, seconds: float) -> tuple[str, ...]:
        """Who changed something, each as "NAME (PID)", as soon as it is quiet again; () after `seconds`."""
        found: dict[str, None] = {}
        while select.select([self._netlink], [], [], _QUIET if found else seconds)[0]:
            found |= dict.fromkeys(self._next())
        return tuple(found)

    def _next(self) -> Iterable[str]:
        try:
            data = self._netlink.heard()
        except OSError as error:
            if error.errno != ENOBUFS:
                raise
            return ("somebody",)  # more than there was room for
        return [_who(body) for kind, _, _, body in messages(data) if kind == _NEW_GENERATION]


def _who(body: bytes) -> str:
    said = attributes(body[4:])
    name = said.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    pid = int.from_bytes(said.get(_PID, b""), "big")
    return f"{name} ({pid})" if name else "somebody"
