"""ntp.conf(5) of ntp.org's ntpd (4.2.6, and 4.2.7p22 or later) and of ntpsec.

Neither has a switch for "client only": it is made of access control. Both *merge* the flags of
repeated `restrict` lines for one address (ntpsec's ntp.conf(5): "does not replace the first one"),
so the lines that stand there must go before ours are added: a distribution's `restrict default kod
...` plus our `ignore` would otherwise be both, and `restrict 10.0.0.0 mask ...` would stay open.
"""

from __future__ import annotations

from fwpolicy import addresses, markedtext
from fwpolicy.artifact import Artifact
from fwpolicy.ir.daemonconfig import rewritten, statements
from fwpolicy.ir.timeservice import ConfigFile, DaemonChange, DaemonConfig, Source, TimeService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Words = tuple[str, ...]

# The first version with `restrict source`; 4.2.6 accepts the line and never synchronises (measured).
_RESTRICT_SOURCE = (4, 2, 7, 22)
_LOOPBACK = ("restrict 127.0.0.1", "restrict ::1")
# Symmetric, broadcast, multicast and manycast associations answer, or listen to, strangers.
_LISTENERS = ("broadcastclient", "multicastclient", "manycastclient")
_SENDERS = ("broadcast", "manycastserver")
# `enable mode7` brings monlist back (CVE-2013-5211), bclient is broadcastclient by another name, and
# `monitor` keeps the list that monlist and mrulist print.
_ENABLES = frozenset({"mode7", "bclient", "monitor"})
# ntpsec's `nts` options that make a server of it, with the number of their arguments.
_NTS_SERVER = {"enable": 0, "cert": 1, "key": 1}
_NTS_FLAGS = frozenset({"enable", "disable"})


def block(service: TimeService, found: DaemonConfig) -> Words:
    """The lines that make the found daemon what `service` says; none for "closed", which stops it."""
    if service.mode == "closed":
        return ()
    lines: list[str] = []
    if _closable(found):
        lines += [*_defaults(service, found), *_own_sources(found), *_LOOPBACK]
        lines += _served(service, found)
    else:
        lines += ["restrict default kod " + _flags(found), "restrict -6 default kod " + _flags(found)]
        lines += _LOOPBACK
    lines.append("disable monitor")
    return (*lines, *_remainders(service, found))


def change(service: TimeService, found: DaemonConfig) -> DaemonChange:
    """Every file that must differ, whole: what must go commented out, our block at the main file's end."""

    def goes(line: str) -> bool:
        return _goes(_words(line), service, found.kind)

    return rewritten(service, found, goes, block(service, found), _notes(service, found))


def sources(found: DaemonConfig) -> tuple[Source, ...]:
    """The servers, pools and peers that the configuration names, in its order, without repetition."""
    named = []
    for words in _statements(found):
        host = _host(words)
        # 127.127.T.U is a reference clock's driver, not an address on the network (ntp.org, refclock.html).
        if host and words[0] in {"server", "pool", "peer"} and not host.startswith("127.127."):
            named.append(Source(host, words[0] == "pool"))
    return tuple(dict.fromkeys(named))


def snippet(service: TimeService) -> Artifact:
    """The block alone, for an ntp.conf nobody has seen; `service.daemon` chooses ntpd or ntpsec.

    It names no `nopeer` for ntp.org: a configuration with a `pool` line would lose its servers.
    """
    kind = "ntpsec" if service.daemon == "ntpsec" else "ntpd"
    pools = ConfigFile("", "pool unseen\n" if kind == "ntpd" else "")
    lines = block(service, DaemonConfig(kind, (), "", (pools,)))
    what = "stop and disable the daemon" if service.mode == "closed" else "replaces all restrict lines"
    header = f"# {'ntpsec' if kind == 'ntpsec' else 'ntp.org ntpd 4.2.8'}, {service.mode}: {what}"
    origins = tuple((at + 2, service.origin) for at in range(len(lines)) if service.origin)
    name = "ntpsec.conf" if kind == "ntpsec" else "ntp.conf"
    return Artifact(name, "".join(line + "\n" for line in (header, *lines)), 0o644, origins)


def includes(path: str, text: str, main: bool) -> tuple[Words, ...]:  # noqa: ARG001 (one signature for all)
    """Groups of glob patterns of the files that ntp.org's ntpd reads within `path`, in order.

    A relative `includefile` is opened as it stands, in a daemon whose working directory is /.
    """
    return tuple((name if name.startswith("/") else f"/{name}",) for name in _included(text))


def ntpsec_includes(path: str, text: str, main: bool) -> tuple[Words, ...]:
    """The same for ntpsec: `includefile` may be a directory, and is relative to the file it stands in.

    Both by its ntp.conf(5). After the main file it reads ntp.d/*.conf beside it.
    """
    folder = path.rpartition("/")[0]
    groups: list[Words] = []
    for name in _included(text):
        whole = (name if name.startswith("/") else f"{folder}/{name}").rstrip("/")
        groups += [(whole,), (f"{whole}/*.conf",)]
    return (*groups, (f"{folder}/ntp.d/*.conf",)) if main else tuple(groups)


def _included(text: str) -> list[str]:
    lines = (_words(line) for line in markedtext.statements(text))
    return [words[1].strip('"') for words in lines if len(words) > 1 and words[0] == "includefile"]


def _words(line: str) -> Words:
    words = line.split()
    for at, word in enumerate(words):
        if word.startswith("#"):
            words = words[:at]
            break
    return (words[0].lower(), *words[1:]) if words else ()


def _statements(found: DaemonConfig) -> Iterator[Words]:
    return statements(found, _words)


def _host(words: Words) -> str:
    """The HOST of `server [-4|-6] HOST ...`, without the port that ntpsec allows after it."""
    for word in words[1:]:
        if word not in {"-4", "-6"}:
            host = word.strip('"')
            return host.partition(":")[0] if host.count(":") == 1 else host
    return ""


def _goes(words: Words, service: TimeService, kind: str) -> bool:
    match words:
        case ("restrict", *rest):
            return not _only_bans(rest)
        case ("unrestrict", *_):
            return True
        case ("peer", *_):
            # For ntpsec "peer is now just an alias for server" (ntp.conf(5)).
            return kind != "ntpsec"
        case ("crypto", *_):
            return service.mode == "client-only"
        case ("enable", *flags):
            return bool(_ENABLES & set(flags))
        case ("nts", *options):
            return not _serves_nts(service) and bool(_NTS_SERVER.keys() & set(options))
        case (first, *_):
            return first in _LISTENERS or first in _SENDERS
        case _:
            return False


def _only_bans(rest: list[str]) -> bool:
    """Is this `restrict` line somebody's ban of addresses elsewhere? It only closes, and stays."""
    words = [word for word in rest if word not in {"-4", "-6"}]
    if "ignore" not in words or not words or words[0] in {"default", "source", "ignore"}:
        return False
    try:
        family, first, last = addresses.parse(words[0])
    except addresses.AddressError:
        return False
    local = first >> 24 == 127 if family == 4 else first == last == 1
    # `0.0.0.0 mask 0.0.0.0` is the default entry by another name.
    return bool(first) and not local


def _serves_nts(service: TimeService) -> bool:
    return service.nts and service.mode == "server"


def _modern(found: DaemonConfig) -> bool:
    return found.kind == "ntpsec" or not found.version or found.version >= _RESTRICT_SOURCE


def _asked(found: DaemonConfig) -> tuple[Source, ...]:
    """The sources that stay under a role: a peer is none any more, but with ntpsec."""
    peers = set() if found.kind == "ntpsec" else {_host(w) for w in _statements(found) if w[0] == "peer"}
    return tuple(source for source in sources(found) if source.host not in peers)


def _closable(found: DaemonConfig) -> bool:
    """Can the default be `ignore`? 4.2.6 needs a line per server, and so servers given by address."""
    asked = _asked(found)
    return _modern(found) or (bool(asked) and all(_is_address(s.host) and not s.pool for s in asked))


def _is_address(host: str) -> bool:
    try:
        _, first, last = addresses.parse(host)
    except addresses.AddressError:
        return False
    return first == last and "/" not in host and "-" not in host


def _pools(found: DaemonConfig) -> bool:
    return any(source.pool for source in sources(found))


def _flags(found: DaemonConfig) -> str:
    # ntpsec has no mode-6 traps, and so no `notrap`.
    return "nomodify nopeer noquery" if found.kind == "ntpsec" else "nomodify notrap nopeer noquery"


def _defaults(service: TimeService, found: DaemonConfig) -> list[str]:
    """What strangers get: nothing, or with all of a family in `serve`, the time alone."""
    open_to = {family: _whole(service, family) for family in (4, 6)}
    if not any(open_to.values()):
        # 4.2.6's plain `default` is IPv4's alone; later ones take both, and the second line is harmless.
        both = ["restrict default ignore", "restrict -6 default ignore"]
        return both[:1] if found.kind == "ntpsec" else both
    given = {True: _flags(found), False: "ignore"}
    return [f"restrict -{family} default {given[whole]}" for family, whole in open_to.items()]


def _whole(service: TimeService, family: int) -> bool:
    return service.mode == "server" and service.serve.of(family) == ((0, (1 << addresses.BITS[family]) - 1),)


def _own_sources(found: DaemonConfig) -> list[str]:
    """What the daemon's own servers get: their answers are heard, and they may ask nothing but the time.

    Never `noserve` here: it drops the answers too (measured). With ntp.org `nopeer` refuses the
    answers of pool servers; ntpsec's "poke a hole in any restrictions" (ntp.conf(5), nopeer).
    """
    if not _modern(found):
        return [f"restrict {source.host} {_flags(found)}" for source in _asked(found)]
    if found.kind == "ntpd" and _pools(found):
        return ["restrict source nomodify notrap noquery"]
    return [f"restrict source {_flags(found)}"]


def _served(service: TimeService, found: DaemonConfig) -> list[str]:
    if service.mode != "server":
        return []
    lines = []
    for family in (4, 6):
        if _whole(service, family):
            continue
        bits = addresses.BITS[family]
        for interval in service.serve.of(family):
            for network, length in addresses.prefixes(family, interval):
                address = addresses.format_address(family, network)
                mask = addresses.format_address(family, (1 << bits) - (1 << (bits - length)))
                lines.append(f"restrict {address} mask {mask} {_flags(found)}")
    return lines


def _remainders(service: TimeService, found: DaemonConfig) -> list[str]:
    """What else stood on the `enable` and `nts` lines that go: it is kept, in lines of its own."""
    lines = []
    for words in _statements(found):
        if not _goes(words, service, found.kind):
            continue
        if words[0] == "enable":
            rest = [flag for flag in words[1:] if flag not in _ENABLES]
        elif words[0] == "nts":
            rest = _nts_remainder(words[1:])
        else:
            continue
        if rest:
            lines.append(" ".join((words[0], *rest)))
    return lines


def _nts_remainder(options: Words) -> list[str]:
    rest: list[str] = []
    at = 0
    while at < len(options):
        taken = 1 if options[at] in _NTS_FLAGS else 2
        if options[at] not in _NTS_SERVER:
            rest += options[at : at + taken]
        at += taken
    return rest


def _notes(service: TimeService, found: DaemonConfig) -> Iterator[str]:
    name = "ntpsec" if found.kind == "ntpsec" else "ntpd"
    if not found.version and found.kind == "ntpd":
        yield "ntpd: its version is unknown; it is taken for 4.2.7p22 or later (4.2.6 would not synchronise)"
    if not _closable(found):
        yield (
            "ntpd 4.2.6 with servers given by name can't be closed by its configuration:"
            " it answers time requests of anybody, and only the packet filter stops that"
        )
    elif _pools(found) and found.kind == "ntpd" and _modern(found):
        yield (
            "pool line: no nopeer in restrict source, or the pool's servers are refused; when the entry of"
            " one expires, a stranger's next packet may be answered, and only the packet filter stops that"
        )
    stopped = [words for words in _statements(found) if _goes(words, service, found.kind)]
    for directive in dict.fromkeys(words[0] for words in stopped):
        if directive in _LISTENERS or directive in _SENDERS:
            yield f"{directive} stops under {service.mode}"
    if any(words[0] == "enable" and "bclient" in words for words in stopped):
        yield f"broadcastclient stops under {service.mode}"
    yield from _peer_notes(found, [words for words in stopped if words[0] == "peer"])
    if service.mode == "server":
        yield (
            f"{name}: Windows clients that ask in mode 1 get no answer; there, give the server the flag 0x8"
            " (w32tm /config /manualpeerlist:HOST,0x8)"
        )


def _peer_notes(found: DaemonConfig, peers: list[Words]) -> Iterator[str]:
    for words in peers:
        yield f"peer {_host(words)} is not asked any more: for its time write 'server {_host(words)}'"
    if peers and not _asked(found):
        yield "no time source is left: every one was a peer"
