"""Which time daemon runs on this host, or is installed, and the configuration that it reads.

By process first, since its `-c FILE` is what counts; then by program. What each kind looks like is
passed in (`Look`), so this file knows none of them.

A process is a witness, not an authority: one of a daemon's own account can say anything. The program
that we start is always one of `Look.programs`, and no file is believed to be a configuration, and
then written by root, where others than root could have chosen it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from fwpolicy.errors import HostError
from fwpolicy.host import processes
from fwpolicy.host.files import printable
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
    installed and does not run. `units`: the names its service may have; `group`: the service whose
    control group it runs in, which may be its own by another name, or just where it was started.
    `check`: the command that checks `config`'s syntax, () if there is none. `trouble`: why its
    configuration is not for us to read and write, a sentence; `config` is then without files.
    """

    config: DaemonConfig
    copy: DaemonConfig | None
    program: str
    pid: int | None
    units: tuple[str, ...]
    group: str = ""
    check: tuple[str, ...] = ()
    trouble: str = ""


# chronyd stops at 10 nested files, ntp.org and ntpsec at 5 (chrony.conf(5), ntp.conf(5)).
_DEEPEST = 10
_VERSION_TIMEOUT = 10


def discover(
    files: Files, looks: tuple[Look, ...], kind: str = "auto", proc: str | None = "/proc"
) -> tuple[Found, ...]:
    """The time daemons (of `kind`), those that run first, then those that are only installed.

    Below an image's root nothing runs and no program is started; pass `proc` None for the same here.
    What is wrong with one daemon is its `trouble`, and the others are found all the same.
    """
    if kind == "none":
        return ()
    wanted = tuple(look for look in looks if kind in {"auto", look.kind})
    live = proc is not None and str(files.root) == "/"
    versions = _Versions(files, live)
    found = list(_running(files, wanted, versions, proc)) if live and proc else []
    # A program elsewhere that only bears such a name does not stand for the one that is installed.
    known = {look.kind for look in wanted for one in found if one.program in look.programs}
    known &= {one.config.kind for one in found}
    for look in wanted:
        one = None if look.kind in known else _installed(files, look, versions)
        found += [one] if one else []
    return tuple(found)


def read(
    files: Files, look: Look, version: tuple[int, ...], main: str, known: tuple[ConfigFile, ...] = ()
) -> DaemonConfig:
    """`main` and everything that it includes, in the daemon's order; each file once, whatever its names.

    Raises HostError, which names the file, if one cannot be read, or is none that we may then write: behind
    a link that others than root can change, or included by a file that they can change (but in `known`).
    """
    reader = _Reader(files, look, known)
    reader.collect((main,), 0, "")
    return DaemonConfig(look.kind, version, main, tuple(reader.found))


class _Reader:
    def __init__(self, files: Files, look: Look, known: tuple[ConfigFile, ...]) -> None:
        self.found: list[ConfigFile] = []
        self._files = files
        self._look = look
        self._known = {files.locate(file.path) for file in known}
        self._seen: set[Path] = set()

    def collect(self, paths: tuple[str, ...], depth: int, doubtful: str) -> None:
        """`doubtful`: the file that includes the paths, if others than root can change it."""
        for path in paths:
            place = self._files.locate(path)
            text = None if place in self._seen else self._files.read_guarded(path)
            if text is None:
                continue
            exposed = self._files.exposed(path)
            if doubtful and not exposed and place not in self._known:
                raise HostError(
                    f"{printable(doubtful)}, which others than root can change, includes {printable(path)}"
                )
            self._seen.add(place)
            self.found.append(ConfigFile(path, text))
            if depth < _DEEPEST:
                for group in self._look.includes(path, text, depth == 0):
                    self.collect(_expand(self._files, group), depth + 1, path if exposed else "")


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
    services = {unit for look in looks for unit in look.units}
    seen = set()
    # Where two name the same file, the service is the daemon, not what somebody started beside it.
    for process in sorted(
        everybody.values(), key=lambda each: each.unit.removesuffix(".service") not in services
    ):
        parent = everybody.get(process.parent)
        # Helpers that the daemon forks (openntpd's engines, chronyd's) run the same program.
        if parent and parent.exe == process.exe and process.exe:
            continue
        # Anybody can start a `chronyd -f /etc/shadow`.
        user = users.get(process.uid)
        trusted = tuple(look for look in looks if process.uid == 0 or user in look.accounts)
        one = _identified(files, trusted, versions, process)
        key = (one.config.kind, one.config.main, one.trouble) if one else None
        if one and key not in seen:
            seen.add(key)
            yield one


def _users(files: Files) -> dict[int, str]:
    fields = (line.split(":") for line in (files.read("/etc/passwd") or "").splitlines())
    return {int(field[2]): field[0] for field in fields if len(field) > 2 and field[2].isdigit()}


def _identified(files: Files, looks: tuple[Look, ...], versions: _Versions, process: Process) -> Found | None:
    """The daemon that the process is, None if it is none of these kinds."""
    claims = [(look, program) for look in looks if (program := _program_of(files, look, process))]
    for look, program in claims:
        trouble = _program_trouble(files, program, process)
        version = () if trouble else versions.of(look, program)
        if version is not None:
            trouble = trouble or _main_trouble(files, look, process)
            return _found(files, look, version, program, _main_of(files, look, process), process, trouble)
    for look in () if claims else looks:
        if any(_name(program) == _name(process.exe) for program in look.programs):
            trouble = (
                f"process {process.pid} runs {printable(process.exe)}, which is not where "
                f"{look.kind} is installed ({', '.join(look.programs)}): not ours to configure"
            )
            return _found(files, look, (), process.exe, _usual_main(files, look), process, trouble)
    return None


def _program_of(files: Files, look: Look, process: Process) -> str:
    """The one of the kind's programs that the process runs, "" for none of them.

    Links of the system's on the way to a program (/lib -> usr/lib) are followed, and its path counts
    when the file was replaced since by an upgrade. One that we may not know is believed by its name.
    """
    if process.exe:
        runs = [program for program in look.programs if _real(files, program) == process.exe]
    else:
        runs = [p for p in look.programs if _name(p) == _name(process.arguments[0]) and _there(files, p)]
    return runs[0] if runs else ""


def _real(files: Files, path: str) -> str:
    try:
        return str(files.locate(path))
    except HostError:
        return path


def _there(files: Files, path: str, unknown: bool = False) -> bool:
    try:
        return files.exists(path)
    except (HostError, OSError):
        return unknown


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _program_trouble(files: Files, program: str, process: Process) -> str:
    try:
        exposed = files.exposed(program)
    except HostError as error:
        return str(error)
    if exposed:
        return f"{program} is not started: others than root can change {printable(exposed)}"
    if not _there(files, program):
        return f"process {process.pid} runs {program}, which is no longer there to be asked what it is"
    return ""


def _main_trouble(files: Files, look: Look, process: Process) -> str:
    """Why the file that the process names as its configuration can't be believed to be one, "" if it can."""
    main = _main_of(files, look, process)
    if main in look.mains or main in dict(look.copies):
        return ""
    says = f"process {process.pid} says that its configuration is {printable(main)}"
    try:
        exposed = files.exposed(main)
    except HostError as error:
        return f"{says}: {error}"
    if exposed:
        return f"{says}, and others than root can change {printable(exposed)}: not ours to configure"
    # A daemon without root's rights can still change its own arguments, and point us at any file of root's.
    names = tuple(dict.fromkeys(_like(usual) for usual in look.mains))
    if process.uid != 0 and not any(fnmatchcase(_name(main), name) for name in names):
        return f"{says}, a file that is not named like one ({', '.join(names)}): not ours to configure"
    if process.uid != 0 and not files.exists(main):
        return f"{says}, a file that is not there: not ours to configure"
    return ""


def _like(main: str) -> str:
    """A pattern for its siblings: ntp*.conf for /etc/ntp.conf."""
    stem, dot, suffix = _name(main).rpartition(".")
    return f"{stem}*{dot}{suffix}"


def _main_of(files: Files, look: Look, process: Process) -> str:
    if look.option:
        letter, with_argument, long = look.option
        given = processes.option(process.arguments, letter, with_argument, long)
        if given:
            return given if given.startswith("/") else f"/{given}"
    return _usual_main(files, look)


def _usual_main(files: Files, look: Look) -> str:
    return next((main for main in look.mains if _there(files, main, True)), look.mains[0])


def _installed(files: Files, look: Look, versions: _Versions) -> Found | None:
    for program in look.programs:
        if _there(files, program):
            version = versions.of(look, program)
            if version is not None:
                return _found(files, look, version, program, _usual_main(files, look), None)
    return None


def _found(
    files: Files,
    look: Look,
    version: tuple[int, ...],
    program: str,
    main: str,
    process: Process | None,
    trouble: str = "",
) -> Found:
    if trouble:
        main = printable(main)  # no more than something to show
    copies = dict(look.copies)
    original = copies.get(main, main)
    copy = main if main in copies else None
    if process is None:
        # The service's start script prefers the copy, if there is one.
        copy = next((one for one, of in look.copies if of == main and _there(files, one, True)), None)
    config, read_copy = DaemonConfig(look.kind, version, original, ()), None
    check: tuple[str, ...] = ()
    if not trouble:
        try:
            found = read(files, look, version, original)
            read_copy = read(files, look, version, copy, found.files) if copy else None
            config = found
            check = (program, *look.check, original) if look.check and not files.exposed(program) else ()
        except HostError as error:
            trouble, read_copy = f"its configuration was not read: {error}", None
    return Found(
        config,
        read_copy,
        program,
        process.pid if process else None,
        look.units,
        process.unit if process else "",
        check,
        trouble,
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
            # Nobody but root and we ourselves can have written what we start.
            started = self._live and not self._files.exposed(program)
            said = _run_for_version(program) if started else ""
            # A program that can't be started here still holds what it would print.
            return said or (self._files.read_bytes(program) or b"").decode("latin-1")
        except HostError:
            return ""


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
