"""chrony.conf(5): a client by default, with a command port (udp/323) of its own on loopback.

Of most directives the last one read counts, and Debian reads its `confdir` first: so what must go is
commented out in whichever file it stands, and our lines come last in the main file.
"""

from __future__ import annotations

from fwpolicy import markedtext
from fwpolicy.artifact import Artifact
from fwpolicy.ir.daemonconfig import rewritten, statements
from fwpolicy.ir.timeservice import DaemonChange, DaemonConfig, Source, TimeService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = tuple[str, ...]

_COMMENTS = ("!", ";", "#", "%")
# The command port answers strangers in no mode: chronyc comes over a Unix socket.
_COMMANDS = frozenset({"cmdallow", "cmdport"})
_NTS_SERVER = frozenset({"ntsservercert", "ntsserverkey"})


def block(service: TimeService, found: DaemonConfig) -> Words:  # noqa: ARG001 (one signature for all)
    """The lines that make chronyd what `service` says; none for "closed", which stops it."""
    if service.mode == "closed":
        return ()
    if service.mode == "client-only":
        return ("port 0", *_command_lines(service))
    return ("port 123", *(f"allow {prefix}" for prefix in service.serve.prefixes()), *_command_lines(service))


def change(service: TimeService, found: DaemonConfig) -> DaemonChange:
    """Every file that must differ, whole: what must go commented out, our block at the main file's end."""

    def goes(line: str) -> bool:
        return _goes(_words(line), service)

    return rewritten(service, found, goes, block(service, found), _notes(service, found))


def sources(found: DaemonConfig) -> tuple[Source, ...]:
    """The servers, pools and peers of the configuration and its *.sources files, without repetition."""
    named = [
        Source(words[1], words[0] == "pool")
        for words in _statements(found)
        if words[0] in {"server", "pool", "peer"} and len(words) > 1
    ]
    return tuple(dict.fromkeys(named))


def snippet(service: TimeService) -> Artifact:
    """The block alone, for a chrony.conf nobody has seen."""
    lines = block(service, DaemonConfig("chrony", (), "", ()))
    what = "stop and disable the daemon" if service.mode == "closed" else "last in chrony.conf"
    header = f"# chrony, {service.mode}: {what}"
    origins = tuple((at + 2, service.origin) for at in range(len(lines)) if service.origin)
    return Artifact("chrony.conf", "".join(line + "\n" for line in (header, *lines)), 0o644, origins)


def includes(path: str, text: str, main: bool) -> tuple[Words, ...]:  # noqa: ARG001 (one signature for all)
    """Groups of glob patterns of the files that `path` makes chronyd read, in order.

    In a group of several patterns (`confdir A B`) a file name counts where it is found first.
    A sourcedir's files end in .sources, and hold nothing but sources.
    """
    groups: list[Words] = []
    for words in map(_words, markedtext.statements(text)):
        match words:
            case ("include", pattern, *_):
                groups.append((pattern,))
            case ("confdir", *folders):
                groups.append(tuple(f"{folder.rstrip('/')}/*.conf" for folder in folders))
            case ("sourcedir", *folders):
                groups.append(tuple(f"{folder.rstrip('/')}/*.sources" for folder in folders))
            case _:
                pass
    return tuple(group for group in groups if group)


def _words(line: str) -> Words:
    words = line.split()
    if not words or words[0].startswith(_COMMENTS):
        return ()
    return (words[0].lower(), *words[1:])


def _statements(found: DaemonConfig) -> Iterator[Words]:
    return statements(found, _words)


def _command_lines(service: TimeService) -> Words:
    if not service.monitors:
        return ("cmdport 0",)
    # 323 and loopback are the defaults (chrony.conf(5)); written out, they hold whatever stood before.
    return ("cmdport 323", "bindcmdaddress 127.0.0.1", "bindcmdaddress ::1")


def _goes(words: Words, service: TimeService) -> bool:
    match words:
        case ("allow" | "port" | "broadcast", *_):
            return True
        case ("bindcmdaddress", *address):
            # A path is the Unix socket of chronyc, and stays.
            return not address or not address[0].startswith("/")
        case ("local" | "acquisitionport", *rest):
            # Without one of its own for the client, port 123 is where a server answers.
            return service.mode == "client-only" and (words[0] == "local" or rest[:1] == ["123"])
        case (first, *_) if first in _NTS_SERVER:
            return not (service.nts and service.mode == "server")
        case (first, *_):
            return first in _COMMANDS
        case _:
            return False


def _notes(service: TimeService, found: DaemonConfig) -> Iterator[str]:
    used = dict.fromkeys(words[0] for words in _statements(found))
    if service.mode == "client-only" and not {"allow", "broadcast"} & used.keys():
        yield "chrony: already client-only (no allow); explicit lines written all the same"
    if "broadcast" in used:
        yield f"broadcast stops under {service.mode}"
    for words in _statements(found):
        if words[0] == "peer" and len(words) > 1:
            yield f"peer {words[1]} is not heard any more: for its time write 'server {words[1]}'"
    if service.mode == "server":
        yield (
            "chrony: Windows clients that ask in mode 1 get no answer; there, give the server the flag 0x8"
            " (w32tm /config /manualpeerlist:HOST,0x8)"
        )
