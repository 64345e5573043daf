"""Fixtures of the laboratory, and when a test may be skipped.

Tests marked `kernel` or `hosts` need root and a few tools. Without them they are skipped on a
laptop; where the environment says CI, that is a failure: nobody looks at a skip there.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .lab.holder import run
from .lab.hosts import Lab
from .lab.roots import Roots, default_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# A tool, and the Debian package it comes in.
KERNEL_TOOLS = {
    "nft": "nftables",
    "ip": "iproute2",
    "iptables-restore": "iptables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    # What old hosts have (tests/kernel/test_script.py).
    "busybox": "busybox",
    "dash": "dash",
    "ipset": "ipset",
}
HOSTS_TOOLS = KERNEL_TOOLS | {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "mke2fs": "e2fsprogs",
}
BROWSER_TOOLS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
HERE = Path(__file__).parent
# What takes longest. While one worker makes the roots for the hosts, another has something to do.
FIRST = ("kernel/test_model.py", "hosts/", "kernel/", "property/")
# Of a failure, when it happens; all of it is in the summary.
LAST_LINES = 15
TABLES = pytest.StashKey[list[str]]()
NETNS_NAME = re.compile(r"fwtest-(\d+)-\d+")


def _missing(tools: dict[str, str], root: bool = True) -> str | None:
    if root and os.geteuid() != 0:
        return "needs root"
    packages = sorted({package for tool, package in tools.items() if not shutil.which(tool)})
    return f"needs {', '.join(packages)}" if packages else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side (`make test`), where a module is one worker's, what takes long begins first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(HERE).as_posix()
    return next((turn for turn, start in enumerate(FIRST) if path.startswith(start)), len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A module is one worker's, and all booted hosts are: each systemd takes of the machine's 128 inotify
    instances a user (inotify(7)), and more hosts at once than one module boots do not come up."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  (`make unit` may run without)

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "hosts" if nodeid.startswith("tests/hosts/") else nodeid.partition("::")[0]

    return ByModule(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here; in CI, fail instead."""
    reason = None
    if item.get_closest_marker("hosts"):
        reason = _missing(HOSTS_TOOLS)
    elif item.get_closest_marker("kernel"):
        reason = _missing(KERNEL_TOOLS)
    elif item.get_closest_marker("browser"):
        reason = _missing(BROWSER_TOOLS, root=False)
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI a skip is a failure", pytrace=False)
    if reason:
        pytest.skip(reason)


def _delete_stale_namespaces() -> None:
    for path in Path("/run/netns").glob("fwtest-*"):
        match = NETNS_NAME.fullmatch(path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            run("ip", "netns", "delete", path.name, check=False)


_numbers = itertools.count()


@pytest.fixture
def netns() -> Iterator[str]:
    """The name of a fresh network namespace, its `lo` up; for `ip netns exec NAME` and `ip -n NAME`."""
    if next(_numbers) == 0:
        _delete_stale_namespaces()
    name = f"fwtest-{os.getpid()}-{next(_numbers)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "delete", name)


@pytest.fixture(scope="session")
def roots() -> Iterator[Roots]:
    """The Debian roots; each is built when a test first asks for it."""
    found = Roots(default_directory())
    yield found
    found.close()


@pytest.fixture(scope="session")
def lab(roots: Roots) -> Iterator[Lab]:
    """A bridge for hosts; the names and numbers of a test's hosts are free again when it has closed them."""
    with Lab(roots) as bridge:
        yield bridge


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Callable[[Iterable[str]], None]:
    """Call it with lines for the summary."""
    return pytestconfig.stash.setdefault(TABLES, []).extend


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config))


class AtOnce:
    """A failure is said when it happens: what comes after it may never end, and then there is no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            last = "\n".join(report.longreprtext.splitlines()[-LAST_LINES:])
            terminal.write_line(f"\n{report.nodeid} failed ({report.when}):\n{last}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist has no terminal: its lines go to the process that has."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tables"] = session.config.stash.get(TABLES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(TABLES, []).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(TABLES, []):
        terminalreporter.write_line(line)
