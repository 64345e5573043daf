"""Listings of tables that have a flag (dormant, owner), which libnftables before 1.0.8 cannot print as JSON.

Of a table's only flag it prints memory that is freed: some name, or half a document, and now and then the
process is aborted (1.0.6, seen). So it is never asked for such a table, only for what is in it.
"""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.host.nfnetlink import Netfilter
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Entries = list[dict[str, Any]]
    # `list WHAT`.
    Ask = Callable[[str], Entries]

# NFTA_TABLE_NAME, NFTA_TABLE_FLAGS; NFPROTO_*; NFT_TABLE_F_* (linux/netfilter/nf_tables.h).
_NAME, _FLAGS = 1, 2
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_WORDS = {1: "dormant", 2: "owner", 4: "persist"}
_INSIDE = ("counters", "quotas", "limits", "flowtables", "sets", "maps", "chains")
_ATTEMPTS = 3


@record
class FlaggedTable:
    """A table of the kernel's; `flags` as nft has them."""

    family: str
    name: str
    flags: tuple[str, ...]


def tables() -> tuple[FlaggedTable, ...]:
    """All tables, in order, if libnftables must not be asked for one of them; else (), as where nobody can
    look."""
    for _ in range(_ATTEMPTS):
        try:
            with Netfilter() as kernel:
                found = tuple(_table(*each) for each in kernel.tables())
        except InterruptedError:
            continue
        except HostError:
            return ()
        return found if any(len(each.flags) == 1 for each in found) else ()
    return ()


def _table(family: int, found: dict[int, bytes]) -> FlaggedTable:
    bits = int.from_bytes(found.get(_FLAGS, b""), "big")
    flags = tuple(_WORDS.get(bit, f"flag {bit}") for bit in (1 << n for n in range(32)) if bits & bit)
    name = found[_NAME].rstrip(b"\0").decode("utf-8", "replace")
    return FlaggedTable(_FAMILIES.get(family, str(family)), name, flags)


def listing(what: str, every: tuple[FlaggedTable, ...], ask: Ask) -> Entries:
    """`list WHAT`: a ruleset, tables, or a table."""
    kind, _, one = what.partition(" ")
    wanted = [each for each in every if kind != "table" or one == f"{each.family} {each.name}"]
    if kind == "ruleset" and one:
        wanted = [each for each in every if each.family == one]
    found = (entry for each in wanted for entry in _of_table(each, kind == "tables", ask))
    return [entry for entry in found if "metainfo" not in entry]


def _of_table(table: FlaggedTable, bare: bool, ask: Ask) -> Iterator[dict[str, Any]]:
    head: dict[str, Any] = {"family": table.family, "name": table.name}
    if bare or len(table.flags) == 1:
        yield {"table": head | ({"flags": list(table.flags)} if table.flags else {})}
    if bare:
        return
    if len(table.flags) != 1:
        yield from ask(f"table {table.family} {table.name}")
        return
    for kind in _INSIDE:
        for entry in ask(f"{kind} {table.family}"):
            ((_, body),) = entry.items()
            if body.get("table") != table.name:
                continue
            inside = f"chain {table.family} {table.name} {body['name']}"
            yield from ask(inside) if kind == "chains" else (entry,)
