"""Which time daemon runs on this host, or is installed, and the configuration that it reads.

By process first, since its `-c FILE` is what counts; then by program. What each kind looks like is
passed in (`Look`), so this file knows none of them.
"""

from __future__ import annotations

import os
import re

from fwpolicy.errors import HostError
from fwpolicy.host import processes
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwpolicy.host.files import Files
    from fwpolicy.host.processes import Process

    # (path, text, is it the main file) -> groups of glob patterns; see includes() of any backend.
    Includes = Callable[[str, str, bool], tuple[tuple[str, ...], ...]]


@record
class Look:
    """How to know a kind of time daemon, and where it keeps its things.

    `programs`: paths of its program. `mains`: where its main file may be, the likeliest first.
    `units`: names of its service. `version`: a regular expression for what `PROGRAM --version`
    prints; what it doesn't match is another kind; its groups are the version's numbers. "" needs no
    look, and the program is not started. `option`: the letter, all letters that take an argument, and
    the long name of the option that names the main file. `check`: the arguments that, with the file
    after them, make the program check its syntax. `accounts`: users other than root that it runs as.
    `copies`: (copy, original) of a main file that a
    hook makes anew from the original whenever DHCP names servers.
    """

    kind: str
    programs: tuple[str, ...]
    mains: tuple[str, ...]
    units: tuple[str, ...]
    includes: Includes
    version: str = ""
    option: tuple[str, str, str] | None = None
    check: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()


@record
class Found:
    """A time daemon of this host.

    `config` is what persists, and what must be edited. `copy` is what the daemon reads now where that
    is a copy made from it: until DHCP makes it anew, it needs the same edits. `pid` is None when it is
    installed and does not run. `units`: the names its service may have, the certain one first.
    `check`: the command that checks `config`'s syntax, () if there is none.
    """

    config: DaemonConfig
    copy: DaemonConfig | None
    program: str
    pid: int | None
    units: tuple[str, ...]
    check: tuple[str, ...]


# chronyd stops at 10 nested files, ntp.org and ntpsec at 5 (chrony.conf(5), ntp.conf(5)).
_DEEPEST = 10
_VERSION_TIMEOUT = 10


def discover(
    files: Files, looks: tuple[Look, ...], kind: str = "auto", proc: str | None = "/proc"
) -> tuple[Found, ...]:
    """The time daemons (of `kind`), those that run first, then those that are only installed.

    Below an image's root nothing runs and no program is started; pass `proc` None for the same here.
    """
    if kind == "none":
        return ()
    wanted = tuple(look for look in looks if kind in {"auto", look.kind})
    live = proc is not None and str(files.root) == "/"
    versions = _Versions(files, live)
    found = list(_running(files, wanted, versions, proc)) if live and proc else []
    known = {one.config.kind for one in found}
    found += [one for look in wanted if look.kind not in known and (one := _installed(files, look, versions))]
    return tuple(found)


def read(files: Files, look: Look, version: tuple[int, ...], main: str) -> DaemonConfig:
    """`main` and everything that it includes, in the daemon's order; each file once, whatever its names."""
    found: list[ConfigFile] = []
    _collect(files, look, (main,), found, set(), 0)
    return DaemonConfig(look.kind, version, main, tuple(found))


def _collect(
    files: Files, look: Look, paths: tuple[str, ...], found: list[ConfigFile], seen: set[object], depth: int
) -> None:
    for path in paths:
        place = files.locate(path)
        text = None if place in seen else files.read(path)
        if text is None:
            continue
        seen.add(place)
        found.append(ConfigFile(path, text))
        if depth < _DEEPEST:
            for group in look.includes(path, text, depth == 0):
                _collect(files, look, _expand(files, group), found, seen, depth + 1)


def _expand(files: Files, group: tuple[str, ...]) -> tuple[str, ...]:
    """One pattern: its matches by path. Several: by file name, each where it is found first."""
    if len(group) == 1:
        return files.glob(group[0])
    by_name: dict[str, str] = {}
    for pattern in group:
        for path in files.glob(pattern):
            by_name.setdefault(path.rpartition("/")[2], path)
    return tuple(path for _, path in sorted(by_name.items()))


def _running(files: Files, looks: tuple[Look, ...], versions: _Versions, proc: str) -> Iterator[Found]:
    everybody = {process.pid: process for process in processes.processes(proc)}
    users = _users(files)
    seen = set()
    for process in everybody.values():
        for look in looks:
            # Anybody can start a `chronyd -f /etc/shadow`, and we write what such a line names.
            trusted = process.uid == 0 or users.get(process.uid) in look.accounts
            program = _program_of(files, look, process) if trusted else ""
            version = versions.of(look, program) if program else None
            if version is None:
                continue
            parent = everybody.get(process.parent)
            # Helpers that the daemon forks (openntpd's engines, chronyd's) run the same program.
            if parent and parent.exe == process.exe and process.exe:
                continue
            main = _main_of(files, look, process)
            if (look.kind, main) not in seen:
                seen.add((look.kind, main))
                yield _found(files, look, version, program, main, process)


def _users(files: Files) -> dict[int, str]:
    fields = (line.split(":") for line in (files.read("/etc/passwd") or "").splitlines())
    return {int(field[2]): field[0] for field in fields if len(field) > 2 and field[2].isdigit()}


def _program_of(files: Files, look: Look, process: Process) -> str:
    """The program's path if the process may be of this kind, else ""."""
    path = process.exe or process.arguments[0]
    name = path.rpartition("/")[2]
    named = [program for program in look.programs if program.rpartition("/")[2] == name]
    if named and not process.exe:
        return next((program for program in named if files.exists(program)), "")
    return path if named else ""


def _main_of(files: Files, look: Look, process: Process) -> str:
    if look.option:
        letter, with_argument, long = look.option
        given = processes.option(process.arguments, letter, with_argument, long)
        if given:
            return given if given.startswith("/") else f"/{given}"
    return _usual_main(files, look)


def _usual_main(files: Files, look: Look) -> str:
    return next((main for main in look.mains if files.exists(main)), look.mains[0])


def _installed(files: Files, look: Look, versions: _Versions) -> Found | None:
    for program in look.programs:
        if files.exists(program):
            version = versions.of(look, program)
            if version is not None:
                return _found(files, look, version, program, _usual_main(files, look), None)
    return None


def _found(
    files: Files, look: Look, version: tuple[int, ...], program: str, main: str, process: Process | None
) -> Found:
    copies = dict(look.copies)
    original = copies.get(main, main)
    copy = main if main in copies else None
    if process is None:
        # The service's start script prefers the copy, if there is one.
        copy = next((one for one, of in look.copies if of == main and files.exists(one)), None)
    units = (process.unit, *look.units) if process and process.unit else look.units
    return Found(
        read(files, look, version, original),
        read(files, look, version, copy) if copy else None,
        program,
        process.pid if process else None,
        tuple(dict.fromkeys(units)),
        (program, *look.check, original) if look.check else (),
    )


class _Versions:
    """What each program says of itself, asked once."""

    def __init__(self, files: Files, live: bool) -> None:
        self._files = files
        self._live = live
        self._said: dict[str, str] = {}

    def of(self, look: Look, program: str) -> tuple[int, ...] | None:
        """The version's numbers, () if unknown, None if the program is of another kind."""
        if not look.version:
            return ()
        if program not in self._said:
            self._said[program] = self._ask(program)
        match = re.search(look.version, self._said[program])
        return tuple(int(number) for number in match.groups() if number) if match else None

    def _ask(self, program: str) -> str:
        try:
            said = _run_for_version(program) if self._live and self._may_start(program) else ""
            # A program that can't be started here still holds what it would print.
            return said or (self._files.read_bytes(program) or b"").decode("latin-1")
        except HostError:
            return ""

    def _may_start(self, program: str) -> bool:
        """Nobody but root and we ourselves can have written it."""
        status = self._files.status(program)
        return status is not None and status.st_uid in {0, os.geteuid()} and not status.st_mode & 0o022


def _run_for_version(program: str) -> str:
    """What `PROGRAM --version` prints. (Never -v: to openntpd that means verbose, and it starts.)"""
    import subprocess  # noqa: PLC0415 (not needed for an image)

    try:
        done = subprocess.run(
            (program, "--version"),
            capture_output=True,
            check=False,
            errors="replace",
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_VERSION_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
