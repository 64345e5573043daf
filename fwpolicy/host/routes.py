"""Where packets for an address leave, as the kernel's own tables say (rtnetlink(7))."""

from __future__ import annotations

import struct

from fwpolicy.errors import HostError
from fwpolicy.host.netlink import ROUTE, Netlink, attribute, attributes
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Address = tuple[int, int]

_GET_LINK, _GET_ROUTE = 18, 26
_FAMILIES, _BITS = {4: 2, 6: 10}, {4: 32, 6: 128}
# The table's entry and not what came of it: of several ways at once the kernel would pick one.
_FIB_MATCH = 0x2000
_DESTINATION, _OUT = 1, 4  # RTA_*
_UNICAST = 1  # RTN_*
_NAME, _INFO, _KIND = 3, 18, 1  # IFLA_*


@record
class Link:
    """An interface: its name, and of a virtual one what it is ("bridge")."""

    name: str
    kind: str


class Routes:
    """This network namespace's way to each address. Raises HostError where it cannot be asked."""

    def __init__(self) -> None:
        self._links = _links()
        self._known: dict[Address, Link | None] = {}

    def to(self, wanted: Iterable[Address]) -> dict[Address, Link | None]:
        """The interface to each address; None where there is no way, or several, or a link-local address
        that is on every link."""
        missing = [each for each in dict.fromkeys(wanted) if each not in self._known]
        for address, found in zip(missing, _asked(missing), strict=True):
            link = self._links.get(found)
            self._known[address] = None if _is_link_local(address) else link
        return self._known

    def has_bridge(self) -> bool:
        return any(link.kind == "bridge" for link in self._links.values())


def interface_to(family: int, address: int) -> str | None:
    """The one interface to this address; None where there is none, or several, or nobody can be asked."""
    try:
        link = Routes().to([(family, address)])[family, address]
    except HostError:
        return None
    return link.name if link else None


def _is_link_local(address: Address) -> bool:
    family, value = address
    return family == 6 and value >> 118 == 0xFE80 >> 6


def _asked(wanted: list[Address]) -> list[int]:
    """The number of each one's interface; 0 for none."""
    try:
        with Netlink(ROUTE) as kernel:
            answers = kernel.ask(_GET_ROUTE, map(_question, wanted))
    except OSError as error:
        raise HostError(f"cannot ask for routes: {error.strerror}") from None
    return [0 if isinstance(answer, OSError) else _interface(answer) for answer in answers]


def _question(address: Address) -> bytes:
    family, value = address
    bits = _BITS[family]
    header = struct.pack("=BBBBBBBBI", _FAMILIES[family], bits, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
    return header + attribute(_DESTINATION, value.to_bytes(bits // 8, "big"))


def _interface(answer: bytes) -> int:
    if answer[7] != _UNICAST:
        return 0
    return int(struct.unpack("=I", attributes(answer[12:]).get(_OUT, bytes(4)))[0])


def _links() -> dict[int, Link]:
    try:
        with Netlink(ROUTE) as kernel:
            found = [data[start:end] for data, start, end in kernel.dump(_GET_LINK, bytes(16))]
    except OSError as error:
        raise HostError(f"cannot list the interfaces: {error.strerror}") from None
    return {struct.unpack_from("=i", body, 4)[0]: _link(attributes(body[16:])) for body in found}


def _link(said: dict[int, bytes]) -> Link:
    kind = attributes(said.get(_INFO, b"")).get(_KIND, b"")
    return Link(*(text.rstrip(b"\0").decode("utf-8", "surrogateescape") for text in (said[_NAME], kind)))
