"""timesyncd.conf(5): systemd-timesyncd is an SNTP client and nothing else; it has no port to close."""

from __future__ import annotations

from fwpolicy import markedtext
from fwpolicy.artifact import Artifact
from fwpolicy.errors import PolicyError, Problem
from fwpolicy.ir.timeservice import DaemonChange, DaemonConfig, Source, TimeService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = tuple[str, ...]

# Where drop-ins stand; the first folder that has a file name wins, and they are read by name.
_DROP_INS = (
    "/etc/systemd/timesyncd.conf.d",
    "/run/systemd/timesyncd.conf.d",
    "/usr/local/lib/systemd/timesyncd.conf.d",
    "/usr/lib/systemd/timesyncd.conf.d",
    "/lib/systemd/timesyncd.conf.d",
)


def block(service: TimeService, found: DaemonConfig) -> Words:  # noqa: ARG001 (one signature for all)
    """Nothing. PolicyError for "server"."""
    _refuse_server(service)
    return ()


def change(service: TimeService, found: DaemonConfig) -> DaemonChange:  # noqa: ARG001 (one signature for all)
    """No file, and a note that says why. PolicyError for "server"."""
    _refuse_server(service)
    if service.mode == "closed":
        return DaemonChange(())
    return DaemonChange((), ("already client-only: systemd-timesyncd cannot serve",))


def sources(found: DaemonConfig) -> tuple[Source, ...]:
    """NTP=, or where that is empty FallbackNTP=, without repetition.

    Both gather over the files, and an empty assignment starts anew. Where neither is set, the
    servers compiled in count: the main file shows those as comments (its own words).
    """
    lists: dict[str, list[str]] = {"NTP": [], "FallbackNTP": []}
    fallback_set = False
    for name, value in _assignments(found):
        fallback_set = fallback_set or name == "FallbackNTP"
        lists[name] = [*lists[name], *value.split()] if value else []
    hosts = lists["NTP"] or lists["FallbackNTP"] or ([] if fallback_set else _compiled_in(found))
    return tuple(Source(host) for host in dict.fromkeys(hosts))


def snippet(service: TimeService) -> Artifact:
    """One comment: there is nothing to write. PolicyError for "server"."""
    _refuse_server(service)
    what = "stop and disable the daemon" if service.mode == "closed" else "it cannot serve, nothing to write"
    return Artifact("timesyncd.conf", f"# systemd-timesyncd, {service.mode}: {what}\n", 0o644)


def includes(path: str, text: str, main: bool) -> tuple[Words, ...]:  # noqa: ARG001 (one signature for all)
    """The drop-ins, read after the main file."""
    return (tuple(f"{folder}/*.conf" for folder in _DROP_INS),) if main else ()


def _refuse_server(service: TimeService) -> None:
    if service.mode == "server":
        message = "systemd-timesyncd cannot serve time: mode 'server' needs another daemon"
        hint = "install chrony, ntpsec or openntpd, or use mode: client-only"
        raise PolicyError((Problem(message, service.origin, hint=hint),))


def _assignments(found: DaemonConfig) -> Iterator[tuple[str, str]]:
    for file in found.files:
        section = ""
        for line in markedtext.statements(file.text, "\\"):
            text = line.strip()
            if text.startswith("["):
                section = text
            elif section == "[Time]" and not text.startswith(("#", ";")):
                name, _, value = text.partition("=")
                if name.strip() in {"NTP", "FallbackNTP"}:
                    yield name.strip(), value.strip()


def _compiled_in(found: DaemonConfig) -> list[str]:
    for file in found.files:
        if file.path == found.main:
            for line in markedtext.statements(file.text):
                if line.startswith("#FallbackNTP="):
                    return line.partition("=")[2].split()
    return []
