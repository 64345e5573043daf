"""What is on the host now: the live ruleset, other tools' chains, NAT, connections."""

from __future__ import annotations

from fwpolicy.backends.nft.read import UnknownExpressionError, read
from fwpolicy.deploy import foreign
from fwpolicy.errors import HostError
from fwpolicy.ir.ruleset import FAMILY, TABLE, Table
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.deploy.elements import Known
    from fwpolicy.deploy.foreign import ForeignChain
    from fwpolicy.deploy.machine import Machine


@record
class Survey:
    """`ours`: our table as the kernel lists it, None where it is absent; `listing` its JSON,
    of `moment` (elements.py).

    `unreadable`: why the kernel could not be asked, None when it could. `strange`: what our table is or
    holds that we never write, a sentence.
    """

    ours: Table | None = None
    listing: str = ""
    moment: str = ""
    foreign: tuple[ForeignChain, ...] = ()
    nat: bool = False
    notrack: bool = False
    legacy: tuple[str, ...] = ()
    strange: str | None = None
    unreadable: str | None = None


def survey(machine: Machine, known: Known | None = None) -> Survey:
    """Look at the kernel's nftables and legacy tables; an image has neither.

    `known`: what our sets held when they were looked at last.
    """
    if not machine.live:
        return Survey(unreadable="an image has no kernel of its own")
    from fwpolicy.deploy.elements import listing as listed  # noqa: PLC0415
    from fwpolicy.host.libnftables import Nftables  # noqa: PLC0415
    from fwpolicy.host.xtables import legacy_tables  # noqa: PLC0415

    try:
        listing, moment = listed(Nftables(), known)
    except HostError as error:
        return Survey(unreadable=str(error))
    legacy = legacy_tables()
    ours, strange = _ours(listing)
    return Survey(
        ours=ours,
        listing=own_listing(listing),
        moment=moment,
        foreign=foreign.of_listing(listing),
        nat=_has_nat(listing) or "nat" in legacy,
        notrack=any(
            "notrack" in each for e in listing["nftables"] for each in e.get("rule", {}).get("expr", ())
        ),
        legacy=legacy,
        strange=strange,
    )


def _ours(listing: dict[str, Any]) -> tuple[Table | None, str | None]:
    ours = f"table {FAMILY} {TABLE}"
    if _is_dormant(listing):
        return None, f"{ours} is dormant: nothing is filtered"
    try:
        return read(listing, FAMILY, TABLE), None
    except UnknownExpressionError as error:
        return None, f"{ours} holds what fwpolicy never writes: {error}"
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # Somebody else's rule, in a shape that none of ours has.
        return None, f"{ours} holds what fwpolicy never writes: what cannot be read: {error!r}"


def _is_dormant(listing: dict[str, Any]) -> bool:
    tables = (entry["table"] for entry in listing["nftables"] if "table" in entry)
    ours = (each for each in tables if (each["family"], each["name"]) == (FAMILY, TABLE))
    return any("dormant" in each.get("flags", ()) for each in ours)


def own_listing(listing: dict[str, Any]) -> str:
    """Our table's part of a listing as JSON text: without handles and counters, which are no content."""
    import json  # noqa: PLC0415

    mine = []
    for entry in listing["nftables"]:
        ((kind, body),) = entry.items()
        name = body["name"] if kind == "table" else body.get("table")
        if (body.get("family"), name) == (FAMILY, TABLE):
            mine.append({kind: _without_handle(kind, body)})
    return json.dumps({"nftables": mine}, separators=(",", ":"))


def _without_handle(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Nor what a counter counted, nor what was put into a set at run time (it alone has a size)."""
    passing = ("handle", "index", *{"counter": ("packets", "bytes"), "set": ("elem",)}.get(kind, ()))
    if kind == "set" and "size" not in body:
        passing = ("handle",)
    return {key: value for key, value in body.items() if key not in passing}


def _has_nat(listing: dict[str, Any]) -> bool:
    """Somebody else's: what our own policy translates, the compiler knows."""
    chains = (entry["chain"] for entry in listing["nftables"] if "chain" in entry)
    return any(
        chain.get("type") == "nat" and (chain["family"], chain["table"]) != (FAMILY, TABLE)
        for chain in chains
    )
