"""Who may talk to whom over a whole fleet: what hosts have in common is one row."""

from __future__ import annotations

from itertools import compress

from fwpolicy.fleet.flows import ALL, NONE, PART, UNSAID, Cell
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.fleet.flows import Flow
    from fwpolicy.fleet.overview import Overview
    from fwpolicy.fleet.places import Place

_OPEN = {ALL: 0, PART: 1, NONE: 2, UNSAID: 2}


@record
class Row:
    """`services`: (name, ports) that the same is true of, on the same `hosts`. `start`, `cells`: as a Flow's;
    the cells are those of the matrix's columns."""

    start: str
    services: tuple[tuple[str, str], ...]
    cells: tuple[Cell, ...]
    hosts: tuple[str, ...]


@record
class Matrix:
    """`columns`: places that something passes from (or to); `shut`: those that nothing does."""

    columns: tuple[Place, ...]
    shut: tuple[Place, ...]
    rows: tuple[Row, ...]


def matrix(overview: Overview, hook: str) -> Matrix:
    """What passes at `hook`, what is open to the most on top."""
    hosts: dict[Flow, list[str]] = {}
    for unit in overview.units:
        for flow in unit.looked.flows if unit.looked else ():
            if flow.hook == hook and any(cell.extent in (ALL, PART) for cell in flow.cells):
                hosts.setdefault(flow, []).extend(unit.hosts)
    extents = [{flow.cells[number].extent for flow in hosts} for number in range(len(overview.places))]
    used = [not found.isdisjoint((ALL, PART)) for found in extents]
    shut = [NONE in found and not shown for found, shown in zip(extents, used, strict=True)]
    return Matrix(
        tuple(compress(overview.places, used)),
        tuple(compress(overview.places, shut)),
        tuple(sorted(_joined(hosts, used), key=_order)),
    )


def _joined(hosts: dict[Flow, list[str]], used: list[bool]) -> Iterator[Row]:
    """Services that differ in nothing but their names are one row."""
    found: dict[tuple[str, tuple[Cell, ...], tuple[str, ...]], dict[tuple[str, str], None]] = {}
    for flow, own in hosts.items():
        key = (flow.start, tuple(compress(flow.cells, used)), tuple(dict.fromkeys(own)))
        found.setdefault(key, {})[flow.service, flow.ports] = None
    for (start, cells, names), services in found.items():
        yield Row(start, tuple(services), cells, names)


def _order(row: Row) -> tuple[object, ...]:
    return row.start, [_OPEN[cell.extent] for cell in row.cells], -len(row.hosts), row.services
