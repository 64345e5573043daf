"""iptables, ip6tables and ipset of this network namespace, by their own commands.

What iptables-legacy holds nft cannot see.
"""

from __future__ import annotations

import re
import time

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PROGRAMS = {4: "iptables", 6: "ip6tables"}
# Seconds that others may hold the lock; iptables-restore waits for it since 1.6.2, and took none before.
_PATIENCE = 20
_WAITS_SINCE = (1, 6, 2)
# nftables lets go of a rule's set a while after the rule: seconds that this may take.
_GRACE = 2.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_VERSION = re.compile(r"v(\d+)\.(\d+)(?:\.(\d+))?")

_NAMES = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")


def legacy_tables() -> tuple[str, ...]:
    """The legacy tables in use ("filter", "nat", ...) of both families; () where none can be read."""
    found: list[str] = []
    for path in _NAMES:
        try:
            with open(path, encoding="ascii") as stream:  # noqa: PTH123 (pathlib: 8 ms)
                found += stream.read().split()
        except OSError:
            continue
    return tuple(dict.fromkeys(found))


def saved() -> tuple[str, ...]:
    """What iptables-legacy-save and ip6tables-legacy-save print, where legacy tables are in use.
    Raises HostError where they cannot be run."""
    if not legacy_tables():
        return ()
    try:
        return _printed("legacy")
    except HostError as error:
        raise HostError(f"iptables-legacy tables are in use: {error}") from None


def saved_nft() -> tuple[str, ...]:
    """What iptables-nft-save and ip6tables-nft-save print: the tables that iptables keeps in nftables, with
    the matches that nft only names. Raises HostError where they cannot be run."""
    return _printed("nft")


def _printed(variant: str) -> tuple[str, ...]:
    return tuple(_output(f"{program}-{variant}-save") for program in _PROGRAMS.values())


class XTables:
    """iptables of both families; `variant`: "legacy", "nft", or "" for what the host calls iptables."""

    def __init__(self, variant: str = "") -> None:
        self._variant = f"-{variant}" if variant else ""
        self._waits: tuple[str, ...] | None = None

    def saved(self, family: int, *, counted: bool = False) -> str:
        """What iptables-save or ip6tables-save prints, `counted`: with counters. Raises HostError."""
        return _output(self._program(family, "save"), *(("-c",) if counted else ()))

    def restore(self, family: int, text: str) -> None:
        """Load `text` beside what is there (--noflush); a table in it is changed whole or not at all, the
        tables before one that is refused stay changed. Raises HostError."""
        program = self._program(family, "restore")
        _output(program, "--noflush", *self._wait(), given=text)

    def version(self) -> str:
        """What iptables says of itself. iptables-restore did not always say so. Raises HostError."""
        return _output(f"{_PROGRAMS[4]}{self._variant}", "--version")

    @property
    def is_nft(self) -> bool:
        """Does it keep its tables in nftables? Raises HostError."""
        return "nf_tables" in self.version()

    def _program(self, family: int, what: str) -> str:
        return f"{_PROGRAMS[family]}{self._variant}-{what}"

    def _wait(self) -> tuple[str, ...]:
        """What makes iptables-restore wait for the lock, where it can."""
        if self._waits is None:
            found = _VERSION.search(self.version())
            version = tuple(int(part or 0) for part in found.groups()) if found else (0,)
            self._waits = ("-w", str(_PATIENCE)) if version >= _WAITS_SINCE else ()
        return self._waits


def ipsets() -> tuple[str, ...]:
    """The names of all ipsets; () where there is no ipset. Raises HostError."""
    try:
        return tuple(_output("ipset", "list", "-name").split())
    except MissingError:
        return ()


def saved_ipsets(names: Iterable[str]) -> str:
    """What `ipset save` prints of these sets. Raises HostError."""
    return "".join(_output("ipset", "save", name) for name in names)


def restore_ipsets(text: str) -> None:
    """Create and fill sets (`ipset restore`). Raises HostError."""
    _output("ipset", "restore", given=text)


def destroy_ipset(name: str) -> bool:
    """Whether the set is gone: no rule may know it any more."""
    deadline = time.monotonic() + _GRACE
    while True:
        try:
            _output("ipset", "destroy", name)
            return True
        except HostError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.01)


def run_script(script: str, *arguments: str) -> None:
    """Run a shell script of ours. Raises HostError with what it said."""
    _output("/bin/sh", script, *arguments)


class MissingError(HostError):
    """The host has no such program."""


def _with_us() -> Callable[[], None]:
    """What a child does first, to die with this process: a change that still waited for the lock would come
    after what it belongs to was taken back."""
    import ctypes  # noqa: PLC0415
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    libc, parent = ctypes.CDLL(None), os.getpid()

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)

    return bind


def _output(*command: str, given: str | None = None) -> str:
    import subprocess  # noqa: PLC0415 (15 ms, and few have such tables)

    name = command[0]
    try:
        done = subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE * 6,
            preexec_fn=None if given is None else _with_us(),
        )
    except FileNotFoundError:
        raise MissingError(f"there is no {name} on this host") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{name} cannot be run: {error}") from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
    if "xtables lock" in said:
        said = f"another program holds the xtables lock, and did not let go of it in {_PATIENCE} seconds"
    raise HostError(f"{name}: {said}")
