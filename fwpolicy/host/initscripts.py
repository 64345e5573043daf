"""Services that are scripts in /etc/init.d: what SysV init and OpenRC have in common.

Masked, there, is a script that nobody may execute: service(8), invoke-rc.d(8), rc-service(8) and the
maintainer scripts of packages all look for that first, and an upgrade keeps the mode of a file that is there.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from fwpolicy.errors import HostError
from fwpolicy.host.services import ASK_TIMEOUT, JOB_TIMEOUT, ServiceState, run_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.host.services import Commands, Run

FOLDER = "etc/init.d"
_EXECUTABLE = 0o111
_STOP_TIMEOUT = 10.0
_OURS = "fwpolicy"
_VARIABLE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=[\"']?([^\"'\s#]*)", re.MULTILINE)
_PID_FILE = re.compile(r"/(?:var/)?run/[\w./${}-]*\.pid\b")


class InitScripts:
    """Scripts below `root`; what one init system does otherwise than another is in the subclass.

    `kept` of a state is the script's mode, then what the subclass must know of its links.
    """

    init = ""

    def __init__(self, root: str = "/", run: Run | None = None) -> None:
        self.root = root
        self._run: Run = run or run_command

    # What a subclass says

    def _call(self, name: str, verb: str) -> tuple[str, ...]:
        """The command that runs the script `name` with `verb`."""
        raise NotImplementedError

    def _links(self, name: str) -> tuple[str, ...]:
        """Where the boot starts it and where it stops it, in the subclass's words; () for nowhere."""
        raise NotImplementedError

    def _is_enabled(self, links: tuple[str, ...]) -> bool:
        raise NotImplementedError

    def _enabling(self, name: str) -> Commands:
        raise NotImplementedError

    def _disabling(self, name: str) -> Commands:
        raise NotImplementedError

    def _linking(self, name: str, links: tuple[str, ...]) -> Commands:
        """The commands after which _links() is `links`, whatever it is now."""
        raise NotImplementedError

    def _settling(self) -> Commands:
        """After scripts have come or gone."""
        return ()

    # What `deploy` asks

    def status(self, units: tuple[str, ...]) -> ServiceState | None:
        for name in filter(None, map(_name, units)):
            if self._script(name).is_file():
                return self._state(self._real_name(name))
        return None

    def main_pid(self, unit: str) -> int | None:
        name = _name(unit)
        if self._offline or name is None:
            return None
        return next((pid for path in self._pid_files(name) if (pid := _running_pid(path))), None)

    def restart(self, unit: str) -> None:
        if not self._offline:
            name = _script_name(unit)
            before = self.main_pid(name)
            self._do(self._call(name, "restart"))
            self._surely_up(name, before)

    def reload_manager(self) -> None:
        self._do_all(self._settling())

    def stop_and_disable(self, unit: str) -> None:
        name = _script_name(unit)
        state = self._state(name)
        if not (self._offline or state.masked):
            self._stop(name)
        self._do_all(self._disabling(name))
        if self._is_enabled(self._links(name)):
            raise HostError(f"{name} is still started at boot, although its links were taken away")
        self._do(self._inside("chmod", "a-x", f"/{FOLDER}/{name}"))

    def enable(self, unit: str) -> None:
        name = _script_name(unit)
        if not self._mode(name) & _EXECUTABLE:
            self._do(self._inside("chmod", "a+x", f"/{FOLDER}/{name}"))
        self._do_all(self._enabling(name))

    def restore(self, state: ServiceState) -> None:
        """Nothing where the script has gone since, with its package."""
        name = _script_name(state.unit)
        if not self._script(name).exists():
            return
        before = self.main_pid(name)
        self._do_all(self._back(state, now=not self._offline))
        if state.active:
            self._surely_up(name, before)

    def forgetting(self, unit: str, *, at_boot: bool = False) -> Commands:
        name = _name(unit)
        if name is None:
            return ()
        stop = () if self._offline or at_boot else (self._call(name, "stop"),)
        return (*stop, *self._linking(name, ()))

    def returning(self, states: tuple[ServiceState, ...], restarts: tuple[str, ...]) -> Commands:
        done = [each for state in states for each in self._back(state, now=not self._offline)]
        return (*self._settling(), *done, *(self._call(_script_name(unit), "restart") for unit in restarts))

    def returning_at_boot(self, states: tuple[ServiceState, ...]) -> Commands:
        """Who runs in the first runlevel of a boot finds the links of the next ones read later."""
        done = (each for state in states for each in self._back(state, now=False))
        return (*self._settling(), *done)

    def later(self, name: str, seconds: float, command: tuple[str, ...]) -> bool:  # noqa: ARG002
        return False

    def never_mind(self, name: str) -> None:
        """Nothing was told."""

    # How

    @property
    def _offline(self) -> bool:
        return self.root != "/"

    def _script(self, name: str) -> Path:
        return Path(self.root) / FOLDER / name

    def _real_name(self, name: str) -> str:
        """An alias is a link to another script here; what is shared by many is elsewhere."""
        script = self._script(name)
        target = script.readlink() if script.is_symlink() else Path()
        return target.name if str(target.parent) in (".", f"/{FOLDER}") and target.name else name

    def _state(self, name: str) -> ServiceState:
        """One that nobody may execute starts at no boot, wherever it is linked."""
        links, mode = self._links(name), self._mode(name)
        masked = not mode & _EXECUTABLE
        active = not masked and self._active(name)
        enabled = not masked and self._is_enabled(links)
        return ServiceState(name, active, enabled, masked, (f"{mode:04o}", *links))

    def _mode(self, name: str) -> int:
        try:
            return self._script(name).stat().st_mode & 0o7777
        except OSError as error:
            raise HostError(f"/{FOLDER}/{name}: {error.strerror}") from None

    def _active(self, name: str) -> bool:
        """By its status, which is 0 only for one that runs (LSB 5.0, 22.2). An old script without one says
        how it is used, with whatever exit status; then its process tells."""
        if self._offline or not self._mode(name) & _EXECUTABLE:
            return False
        status, said, errors = self._run(self._call(name, "status"), ASK_TIMEOUT)
        if "usage:" in f"{said}{errors}".lower():
            return self.main_pid(name) is not None
        return status == 0

    def _stop(self, name: str) -> None:
        """Not every script waits for the end of its daemon."""
        self._do(self._call(name, "stop"))
        deadline = time.monotonic() + _STOP_TIMEOUT
        while self._active(name):
            if time.monotonic() > deadline:
                raise HostError(f"{name} still runs, although '/{FOLDER}/{name} stop' was successful")
            time.sleep(0.1)

    def _surely_up(self, name: str, before: int | None) -> None:
        """After a restart: a script that does not wait for the end of its daemon (Debian's of chrony) finds
        it there and starts none. `before`: its process until then, without which nothing is done."""
        if before is None:
            return
        deadline = time.monotonic() + _STOP_TIMEOUT
        while Path(f"/proc/{before}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self._active(name):
            self._do(self._call(name, "start"))

    def _back(self, state: ServiceState, *, now: bool) -> Iterator[tuple[str, ...]]:
        """Linked as it was, started or stopped as it was, and executable by whom it was."""
        script = f"/{FOLDER}/{state.unit}"
        if _name(state.unit) is None:
            return
        name = _script_name(state.unit)
        mode, links = state.kept[:1], state.kept[1:]
        if state.kept:
            yield self._inside("chmod", "u+x" if state.masked else mode[0], script)
        yield from self._linking(name, links)
        if now:
            yield self._call(name, self._verb(name, state.active))
        if state.masked and mode:
            yield self._inside("chmod", mode[0], script)

    @staticmethod
    def _verb(name: str, active: bool) -> str:
        """Debian's ntpsec, started where it runs, waits for minutes. Ours is not to run within itself."""
        if not active:
            return "stop"
        return "start" if name == _OURS else "restart"

    def _pid_files(self, name: str) -> Iterator[Path]:
        """Those that the script names, its variables put in as far as they are plain, and the usual ones."""
        try:
            text = self._script(name).read_text(errors="replace")
        except OSError:
            return
        values = dict(_VARIABLE.findall(text))
        for path in _PID_FILE.findall(text):
            yield Path(re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), path))
        yield from (Path(f"/run/{name}.pid"), Path(f"/run/{name}/{name}.pid"))

    def _inside(self, *command: str) -> tuple[str, ...]:
        return ("chroot", self.root, *command) if self._offline else command

    def _do_all(self, commands: Commands | Iterator[tuple[str, ...]]) -> None:
        for command in commands:
            self._do(command)

    def _do(self, command: tuple[str, ...]) -> None:
        status, shown, errors = self._run(command, JOB_TIMEOUT)
        if status:
            lines = [line.strip() for line in (errors or shown).splitlines() if line.strip()]
            why = " ".join(lines[-2:]) or f"exit status {status}"
            raise HostError(f"'{' '.join(command)}' failed: {why}")


def _name(unit: str) -> str | None:
    """The script's name; None for what only systemd has, and for what is no name of a script."""
    name = unit.removesuffix(".service")
    return name if re.fullmatch(r"[\w@+-][\w@+.-]*", name) and not name.endswith(".timer") else None


def _script_name(unit: str) -> str:
    return unit.removesuffix(".service")


def _running_pid(path: Path) -> int | None:
    """The process that the file names, if it is there."""
    try:
        word = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return int(word) if word.isdigit() and Path(f"/proc/{word}").exists() else None
