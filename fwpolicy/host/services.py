"""Services of this host, behind a protocol that systemd, SysV init and OpenRC can all keep.

Off means stopped *and* out of the boot *and* masked: hooks of other packages start a service that was
only stopped again (Debian's ntpsec and ntp do it on every DHCP lease).
"""

from __future__ import annotations

import os
from pathlib import Path

from fwpolicy.errors import HostError
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Protocol

    # Arguments and seconds in; exit status, standard output and standard error out.
    Run = Callable[[tuple[str, ...], float], tuple[int, str, str]]
    Commands = tuple[tuple[str, ...], ...]

    class Services(Protocol):
        """What `deploy` needs of a service manager. A unit is named with or without its .service.

        `init`: how a boot script of ours is started, one of deploy.starters.STARTERS; "" for not at all.
        """

        init: str

        def status(self, units: tuple[str, ...]) -> ServiceState | None:
            """The state of the first of the units that exists, under its real name; None if none does."""

        def main_pid(self, unit: str) -> int | None:
            """The unit's main process; None if it has none, or there is no such unit."""

        def restart(self, unit: str) -> None:
            """Stop the unit if it runs, and start it; returns when the manager calls it started."""

        def reload_manager(self) -> None:
            """Make the manager read its unit files again."""

        def stop_and_disable(self, unit: str) -> None:
            """Stop it now, keep it out of the boot, and refuse to start it whoever asks."""

        def enable(self, unit: str) -> None:
            """Start the unit at boot (not now)."""

        def restore(self, state: ServiceState) -> None:
            """Make the unit as active, enabled and masked as `state` says."""

        def forgetting(self, unit: str, *, at_boot: bool = False) -> Commands:
            """The commands that stop a unit and keep it out of the boot, if there is one by then; `at_boot`
            nothing stops: it may be the one that runs them."""

        def returning(self, states: tuple[ServiceState, ...], restarts: tuple[str, ...]) -> Commands:
            """The commands that read the unit files again, restore() each state, and restart."""

        def returning_at_boot(self, states: tuple[ServiceState, ...]) -> Commands:
            """The same for one who runs before the services: nothing is waited for."""

        def later(self, name: str, seconds: float, command: tuple[str, ...]) -> bool:
            """Run the command then, whoever of us lives; False where nothing here can do that."""

        def never_mind(self, name: str) -> None:
            """Forget what later() was told under this name."""


@record
class ServiceState:
    """A service as found: `unit` is its real name, never an alias. `kept`: what its manager must know
    besides to bring it back."""

    unit: str
    active: bool
    enabled: bool
    masked: bool
    kept: tuple[str, ...] = ()


# systemd's own default for a start job is 90 s (DefaultTimeoutStartSec); past that it answers by itself.
JOB_TIMEOUT = 120.0
ASK_TIMEOUT = 20.0
_UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_ENABLED = frozenset({"enabled", "enabled-runtime", "alias"})


def detect(root: str = "/") -> Services:
    """The manager of this host, or of the image below `root`."""
    kind = _running() if root == "/" else _installed(Path(root))
    if kind == "openrc":
        from fwpolicy.host.openrc import OpenRC  # noqa: PLC0415

        return OpenRC(root)
    if kind == "sysv":
        from fwpolicy.host.sysv import SysV  # noqa: PLC0415

        return SysV(root)
    return Systemd(root) if kind == "systemd" else NoServices()


def _running() -> str:
    """The init system that is PID 1, "" for none that is known."""
    # sd_booted(3): this folder is there if and only if systemd is PID 1.
    if Path("/run/systemd/system").is_dir():
        return "systemd"
    if Path("/run/openrc").is_dir():
        return "openrc"
    # init(8) is told what to do through a pipe; upstart runs the same scripts by a job of its own.
    pipes = (Path("/run/initctl"), Path("/dev/initctl"))
    return "sysv" if any(pipe.is_fifo() for pipe in pipes) or _is_upstart() else ""


def _is_upstart() -> bool:
    try:
        return Path("/etc/init/rc.conf").exists() and Path("/proc/1/comm").read_text() == "init\n"
    except OSError:
        return False


def _installed(image: Path) -> str:
    """The init system of an image, whose packages bring units and scripts for others, too."""
    init = image / "sbin/init"
    if init.is_symlink() and init.readlink().name == "systemd":
        return "systemd"
    if (image / "etc/runlevels").is_dir():
        return "openrc"
    if (image / "etc/inittab").exists() and (image / "etc/init.d").is_dir():
        return "sysv"
    return "systemd" if any((image / folder).is_dir() for folder in _UNIT_FOLDERS) else ""


class NoServices:
    """A host without an init, such as a network namespace: no unit exists there."""

    init = ""

    def status(self, units: tuple[str, ...]) -> ServiceState | None:  # noqa: ARG002
        return None

    def main_pid(self, unit: str) -> int | None:  # noqa: ARG002
        return None

    def restart(self, unit: str) -> None:
        raise _no_manager("restart", unit)

    def reload_manager(self) -> None:
        """Nothing to read again."""

    def stop_and_disable(self, unit: str) -> None:
        raise _no_manager("stop", unit)

    def enable(self, unit: str) -> None:
        raise _no_manager("enable", unit)

    def restore(self, state: ServiceState) -> None:
        raise _no_manager("restore", state.unit)

    def forgetting(self, unit: str, *, at_boot: bool = False) -> Commands:  # noqa: ARG002
        return ()

    def returning(self, states: tuple[ServiceState, ...], restarts: tuple[str, ...]) -> Commands:  # noqa: ARG002
        return ()

    def returning_at_boot(self, states: tuple[ServiceState, ...]) -> Commands:  # noqa: ARG002
        return ()

    def later(self, name: str, seconds: float, command: tuple[str, ...]) -> bool:  # noqa: ARG002
        return False

    def never_mind(self, name: str) -> None:
        """Nothing was told."""


class Systemd:
    """systemctl(1); with a root other than / it edits the image's units offline, and nothing runs there."""

    init = "systemd"

    def __init__(self, root: str = "/", run: Run | None = None) -> None:
        self.root = root
        self._run: Run = run or run_command

    @property
    def _offline(self) -> bool:
        return self.root != "/"

    def status(self, units: tuple[str, ...]) -> ServiceState | None:
        for unit in map(_full, units):
            state = self._offline_status(unit) if self._offline else self._live_status(unit)
            if state:
                return state
        return None

    def main_pid(self, unit: str) -> int | None:
        if self._offline:
            return None
        number = self._show(_full(unit), "MainPID").get("MainPID", "")
        return int(number) if number.isdigit() and number != "0" else None

    def restart(self, unit: str) -> None:
        if not self._offline:
            self._do("restart", _full(unit))

    def reload_manager(self) -> None:
        if not self._offline:
            self._do("daemon-reload")

    def stop_and_disable(self, unit: str) -> None:
        if self._offline:
            self._do("disable", _full(unit))
        else:
            self._do("disable", "--now", _full(unit))
        self._mask(_full(unit))

    def enable(self, unit: str) -> None:
        self._do("enable", _full(unit))

    def restore(self, state: ServiceState) -> None:
        self._do("unmask", state.unit)
        self._do("enable" if state.enabled else "disable", state.unit)
        if not self._offline:
            self._do("start" if state.active else "stop", state.unit)
        if state.masked:
            self._mask(state.unit)

    def forgetting(self, unit: str, *, at_boot: bool = False) -> Commands:
        stop = () if self._offline or at_boot else (("systemctl", "stop", "--", unit),)
        return (("systemctl", *self._where(), "disable", "--", unit), *stop)

    def returning(self, states: tuple[ServiceState, ...], restarts: tuple[str, ...]) -> Commands:
        if self._offline:
            return tuple(each for state in states for each in _filed(state, self._where()))
        done: list[tuple[str, ...]] = [("systemctl", "daemon-reload")]
        for state in states:
            verb = "start" if state.active else "stop"
            unmask, enable, *mask = _filed(state)
            done += [unmask, enable, ("systemctl", verb, "--", state.unit), *mask]
        return (*done, *(("systemctl", "restart", "--", unit) for unit in restarts))

    def returning_at_boot(self, states: tuple[ServiceState, ...]) -> Commands:
        done: list[tuple[str, ...]] = [("systemctl", "daemon-reload")]
        for state in states:
            done += _filed(state)
            if state.active:
                # Its own boot may have been planned without it.
                done.append(("systemctl", "--no-block", "start", "--", state.unit))
        return tuple(done)

    def later(self, name: str, seconds: float, command: tuple[str, ...]) -> bool:
        how = (f"--on-active={seconds:.3f}s", "--timer-property=AccuracySec=100ms", "--collect", "--quiet")
        if self._offline:
            return False
        again = ("--property=Restart=on-failure", "--property=RestartSec=10s")
        status, _, _ = self._run(("systemd-run", f"--unit={name}", *how, *again, "--", *command), ASK_TIMEOUT)
        return status == 0

    def never_mind(self, name: str) -> None:
        # Its exit status says whether there was such a timer: nobody asks.
        if not self._offline:
            self._run(("systemctl", "stop", "--", f"{name}.timer"), ASK_TIMEOUT)

    def _live_status(self, unit: str) -> ServiceState | None:
        values = self._show(unit, "Id,LoadState,ActiveState,UnitFileState")
        load = values.get("LoadState", "not-found")
        if load == "not-found":
            return None
        # Reloading and starting count: the unit is up, or about to be.
        active = values.get("ActiveState") in {"active", "activating", "reloading", "refreshing"}
        enabled = values.get("UnitFileState") in _ENABLED
        return ServiceState(values.get("Id") or unit, active, enabled, load == "masked")

    def _show(self, unit: str, properties: str) -> dict[str, str]:
        shown = self._do("show", "--property", properties, "--", unit, timeout=ASK_TIMEOUT)
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def _offline_status(self, unit: str) -> ServiceState | None:
        real = self._real_unit(unit)
        if real is None:
            return None
        arguments = ("systemctl", f"--root={self.root}", "is-enabled", "--", real)
        # Its exit status is 1 for disabled and masked ones too (systemctl(1)): the word is what counts.
        _, shown, _ = self._run(arguments, ASK_TIMEOUT)
        state = shown.strip()
        return ServiceState(real, False, state in _ENABLED, state.startswith("masked"))

    def _real_unit(self, unit: str) -> str | None:
        """The unit's own name in the image: what an alias, a link to another unit file, leads to."""
        for folder in _UNIT_FOLDERS:
            place = Path(self.root) / folder / unit
            if place.is_symlink():
                target = place.readlink()
                return unit if target.name == "null" else target.name
            if place.exists():
                return unit
        return None

    def _mask(self, unit: str) -> None:
        arguments = ("systemctl", *self._where(), "mask", "--", unit)
        status, _, errors = self._run(arguments, JOB_TIMEOUT)
        # A unit file of the administrator's own under /etc can't be masked; it is disabled all the same.
        if status and "already exists" not in errors:
            raise _failed("mask", unit, status, errors)

    def _where(self) -> tuple[str, ...]:
        return (f"--root={self.root}",) if self._offline else ()

    def _do(self, verb: str, *arguments: str, timeout: float = JOB_TIMEOUT) -> str:
        status, shown, errors = self._run(("systemctl", *self._where(), verb, *arguments), timeout)
        if status:
            raise _failed(verb, arguments[-1] if arguments else "", status, errors)
        return shown


def _filed(state: ServiceState, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Enabled and masked as `state` says; unmasked first, or nothing else can be said of it."""
    verbs = ("unmask", "enable" if state.enabled else "disable", *(("mask",) if state.masked else ()))
    return [("systemctl", *where, verb, "--", state.unit) for verb in verbs]


def _full(unit: str) -> str:
    return unit if "." in unit else f"{unit}.service"


def _no_manager(doing: str, unit: str) -> HostError:
    return HostError(f"cannot {doing} {unit}: no service manager runs here")


def _failed(verb: str, unit: str, status: int, errors: str) -> HostError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    why = " ".join(lines[-2:]) if lines else f"exit status {status}"
    return HostError(f"systemctl {verb} {unit} failed: {why}".replace("  ", " "))


def run_command(arguments: tuple[str, ...], timeout: float) -> tuple[int, str, str]:
    """A Run. What it says goes into files: a daemon that it starts may keep them open."""
    import subprocess  # noqa: PLC0415 (15 ms, and an image or a namespace never needs it)

    # Its messages are looked at, so they are asked for in the C locale.
    environment = os.environ | {"LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    environment["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    with open(os.memfd_create("said"), "r+b") as said, open(os.memfd_create("errors"), "r+b") as errors:  # noqa: PTH123
        try:
            done = subprocess.run(
                arguments,
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=errors,
                timeout=timeout,
            )
        except FileNotFoundError:
            raise HostError(f"{arguments[0]} is not installed on this machine") from None
        except subprocess.TimeoutExpired:
            raise HostError(f"'{' '.join(arguments)}' did not end within {timeout:.0f} s") from None
        return done.returncode, _all_of(said), _all_of(errors)


def _all_of(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
