"""ntpd.conf(5) of OpenNTPD: it "does not listen on any address by default", and has no access control."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.ir.daemonconfig import rewritten, statements
from fwpolicy.ir.timeservice import DaemonChange, DaemonConfig, Source, TimeService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = tuple[str, ...]

_CONTINUATION = "\\"


def block(service: TimeService, found: DaemonConfig) -> Words:
    """`listen on *` for a server, unless the administrator chose addresses; a client needs no line."""
    if service.mode != "server" or any(_listens_outside(words) for words in _statements(found)):
        return ()
    return ("listen on *",)


def change(service: TimeService, found: DaemonConfig) -> DaemonChange:
    """Every file that must differ, whole: `listen on` commented out for a client, there for a server."""

    def goes(line: str) -> bool:
        return _goes(_words(line), service)

    return rewritten(service, found, goes, block(service, found), _notes(service, found), _CONTINUATION)


def sources(found: DaemonConfig) -> tuple[Source, ...]:
    """The `server` and `servers` (all addresses of a name) lines, without repetition."""
    named = [
        Source(words[1], words[0] == "servers")
        for words in _statements(found)
        if words[0] in {"server", "servers"} and len(words) > 1
    ]
    return tuple(dict.fromkeys(named))


def snippet(service: TimeService) -> Artifact:
    """The block alone, for an ntpd.conf nobody has seen."""
    lines = block(service, DaemonConfig("openntpd", (), "", ()))
    what = {
        "client-only": "no 'listen on' line",
        "closed": "stop and disable the daemon",
        "server": "whom it serves is up to the packet filter",
    }
    header = f"# openntpd, {service.mode}: {what[service.mode]}"
    origins = tuple((at + 2, service.origin) for at in range(len(lines)) if service.origin)
    return Artifact("openntpd.conf", "".join(line + "\n" for line in (header, *lines)), 0o644, origins)


def includes(path: str, text: str, main: bool) -> tuple[Words, ...]:  # noqa: ARG001 (one signature for all)
    """ntpd.conf(5) knows no inclusion."""
    return ()


def _words(line: str) -> Words:
    return tuple(word.strip('"') for word in line.partition("#")[0].split())


def _statements(found: DaemonConfig) -> Iterator[Words]:
    return statements(found, _words, _CONTINUATION)


def _listens_outside(words: Words) -> bool:
    return words[:2] == ("listen", "on") and not _is_loopback(words[2:])


def _is_loopback(rest: Words) -> bool:
    return bool(rest) and (rest[0] in {"::1", "localhost"} or rest[0].startswith("127."))


def _goes(words: Words, service: TimeService) -> bool:
    if words[:1] != ("listen",):
        return False
    # Under `listen on *` an address of its own is bound twice.
    return service.mode == "client-only" or not _listens_outside(words)


def _notes(service: TimeService, found: DaemonConfig) -> Iterator[str]:
    listens = [words for words in _statements(found) if words[0] == "listen"]
    if service.mode == "client-only" and not listens:
        yield "openntpd: already client-only (no listen on)"
    if service.mode == "server":
        yield "openntpd has no access control: that only 'serve' is answered is up to the packet filter"
        if not block(service, found):
            yield "openntpd: it listens where its configuration says"
        yield (
            "openntpd: Windows clients that ask in mode 1 get no answer; there, give the server the flag 0x8"
            " (w32tm /config /manualpeerlist:HOST,0x8)"
        )
