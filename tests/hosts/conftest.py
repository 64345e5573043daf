"""Lines that a module wants to have said at the end of the run, whatever pytest captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TABLES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Callable[[Iterable[str]], None]:
    """Call it with lines for the summary."""
    return pytestconfig.stash.setdefault(TABLES, []).extend


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(TABLES, []):
        terminalreporter.write_line(line)
