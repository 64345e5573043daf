"""What test modules share: a place with a time server and an attacker, and lines for the run's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..lab.hosts import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..lab.peers import Namespace, TimeServer
    from ..lab.roots import Roots

TABLES = pytest.StashKey[list[str]]()


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


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Callable[[Iterable[str]], None]:
    """Call it with lines for the summary."""
    return pytestconfig.stash.setdefault(TABLES, []).extend


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(TABLES, []):
        terminalreporter.write_line(line)
