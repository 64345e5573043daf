"""What test modules share: a place with a time server and an attacker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..lab.hosts import Lab
from .table import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..lab.peers import Namespace, TimeServer
    from ..lab.roots import Roots


@pytest.fixture(scope="session")
def matrix(summary: Callable[[Iterable[str]], None]) -> Iterator[Matrix]:
    """Its table is printed at the end."""
    found = Matrix()
    yield found
    summary(found.lines())


@pytest.fixture(scope="module")
def place(roots: Roots) -> Iterator[Lab]:
    """A bridge that repeats every frame to all, so that an attacker hears answers to forged packets."""
    with Lab(roots, flood=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def clock(place: Lab) -> Iterator[TimeServer]:
    with place.time_server("clock", 251, 252) as clock:
        yield clock


@pytest.fixture(scope="module")
def attacker(place: Lab) -> Iterator[Namespace]:
    with place.namespace("attacker", 66) as attacker:
        yield attacker
