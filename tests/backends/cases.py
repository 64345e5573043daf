"""What the daemons' tests share: services, fixtures, and the laws that every backend keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwpolicy import addresses, markedtext
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig, TimeService

FIXTURES = Path(__file__).parent / "fixtures"

CLIENT = TimeService("client-only")
MONITORED = TimeService("client-only", monitors=True)
SERVER = TimeService("server", serve=addresses.of("192.0.2.0/24", "198.51.100.7", "2001:db8:1::/48"))
NTS_SERVER = TimeService("server", serve=SERVER.serve, nts=True)
EVERYBODY = TimeService("server", serve=addresses.EVERYWHERE)
CLOSED = TimeService("closed")
EVERY_SERVICE = (CLIENT, MONITORED, SERVER, NTS_SERVER, EVERYBODY, CLOSED)


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def config(kind: str, text: str, version: tuple[int, ...] = (), **others: str) -> DaemonConfig:
    files = (ConfigFile("/main", text), *(ConfigFile(f"/{name}", more) for name, more in others.items()))
    return DaemonConfig(kind, version, "/main", files)


def after(found: DaemonConfig, backend: Any, service: TimeService) -> DaemonConfig:
    """The configuration as it is once the change is written."""
    texts = {file.path: file.text for file in found.files}
    texts |= {file.path: file.text for file in backend.change(service, found).files}
    files = tuple(ConfigFile(path, text) for path, text in texts.items())
    return DaemonConfig(found.kind, found.version, found.main, files)


def active(found: DaemonConfig) -> list[str]:
    """The lines that the daemon heeds, of all files in their order."""
    lines = [line.strip() for file in found.files for line in file.text.splitlines()]
    return [line for line in lines if line and line[0] not in "#!;%"]


def keeps_the_laws(found: DaemonConfig, backend: Any) -> None:
    """Idempotent, reversible, deterministic, and silent about files that don't change."""
    before = {file.path: file.text for file in found.files}
    for service in EVERY_SERVICE:
        changed = after(found, backend, service)
        assert backend.change(service, changed).files == ()
        assert backend.sources(changed) == backend.sources(found)
        assert backend.block(service, changed) == backend.block(service, found)
        for file in changed.files:
            assert markedtext.strip(file.text) == before.get(file.path, "")
        for file in backend.change(service, found).files:
            assert before.get(file.path) != file.text
        for other in EVERY_SERVICE:
            if other.mode != "closed":
                assert after(changed, backend, other) == after(found, backend, other)
