"""Every backend with every daemon in every mode of the NTP role; `make test` has a diagonal of it.

The hosts of a backend are booted once, side by side, and take the modes one after the other.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..lab.daemons import DAEMONS
from ..lab.hosts import CHECKOUT, Lab
from . import cells, table
from .table import BACKENDS, MODES, NOT_RUN, Cell, Matrix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from ..lab.roots import Roots
    from .cells import Lives

    Which = tuple[str, str]

# What no other module of this folder has a cell of.
DIAGONAL = {
    ("iptables-legacy", "ntp"): ("server",),
    ("iptables-nft", "ntpsec"): ("closed",),
}
EVERY = {backend: {(backend, kind): MODES for kind in DAEMONS} for backend in BACKENDS}
CASES = [(*which, mode) for which, modes in DIAGONAL.items() for mode in modes]


def live_all(
    roots: Roots, modes: dict[Which, tuple[str, ...]], matrix: Matrix
) -> Iterator[dict[Which, Future[Lives]]]:
    """Every host at once; a step that fails is raised by the tests of its host."""
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        places = {}
        for number, (backend, kind) in enumerate(modes, start=10):
            root = kind if backend == "nft" else f"iptables-{kind}"
            places[backend, kind] = cells.install(lab, clock, number, backend, kind, root)
        lab.boot(*(place.host for place in places.values()))
        with ThreadPoolExecutor(len(places)) as executor:
            lives = {which: executor.submit(cells.live, places[which], modes[which]) for which in modes}
    for which, lived in lives.items():
        for column in (table.BEFORE, *modes[which]):
            matrix.note(*which, column, cells.cell(lived, column))
    yield lives


@pytest.fixture(scope="module")
def diagonal(roots: Roots, matrix: Matrix) -> Iterator[dict[Which, Future[Lives]]]:
    yield from live_all(roots, DIAGONAL, matrix)


@pytest.fixture(scope="module", params=BACKENDS)
def column(
    request: pytest.FixtureRequest, roots: Roots, matrix: Matrix
) -> Iterator[dict[Which, Future[Lives]]]:
    yield from live_all(roots, EVERY[request.param], matrix)


@pytest.mark.hosts
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_cell_of_the_diagonal(diagonal: dict[Which, Future[Lives]], case: tuple[str, str, str]) -> None:
    backend, kind, mode = case
    cells.check(diagonal[backend, kind].result(), kind, mode)


@pytest.mark.hosts
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", DAEMONS)
def test_a_cell(column: dict[Which, Future[Lives]], kind: str, mode: str) -> None:
    (lives,) = (lives for (_, which), lives in column.items() if which == kind)
    cells.check(lives.result(), kind, mode)


# The table itself


def test_no_cell_is_empty() -> None:
    matrix = Matrix()
    assert matrix.lines() == []
    matrix.note("nft", "ntp", "server", Cell("0 of 9", "yes", NOT_RUN))
    lines = matrix.lines()
    assert len(lines) == 3 + len(BACKENDS) * len(DAEMONS)
    rows = [re.split(r"  +", line) for line in lines[3:]]
    assert {len(row) for row in rows} == {len(table.COLUMNS) + 2}
    assert sum(row.count(NOT_RUN) for row in rows) == len(rows) * len(table.COLUMNS) - 1


def test_a_failure_stays_and_the_whole_stays() -> None:
    part, whole = Cell("0 of 9", "yes", NOT_RUN), Cell("0 of 9", "yes", "yes")
    for first, second, told in (
        (part, whole, whole),
        (whole, part, whole),
        (table.FAILED, whole, table.FAILED),
        (whole, table.FAILED, table.FAILED),
    ):
        matrix = Matrix()
        for cell in (first, second):
            matrix.note("nft", "ntp", "server", cell)
        assert str(told) in matrix.lines()[4]


def test_the_last_whole_run_stands_in_the_documentation() -> None:
    told = (CHECKOUT / "docs/hosts.md").read_text().partition(table.HEAD)[2].partition("```")[0]
    _, head, *rows = [re.split(r"  +", line) for line in told.splitlines()]
    assert head == ["backend", "daemon", *table.COLUMNS]
    found = {(row[0], row[1]): row[2:] for row in rows}
    assert set(found) == {(backend, kind) for backend in BACKENDS for kind in DAEMONS}
    for cells_ in found.values():
        assert len(cells_) == len(table.COLUMNS)
        assert not any(NOT_RUN in cell or str(table.FAILED) in cell for cell in cells_)
