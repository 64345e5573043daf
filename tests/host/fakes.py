"""A service manager in memory, with everything that `fwpolicy.host.services.Services` promises."""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.host.services import ServiceState
from fwpolicy.record import replace


class FakeServices:
    """Units by name; `aliases` lead to them. `calls` lists what was asked, `fail` makes a verb refuse."""

    def __init__(self, *states: ServiceState, aliases: dict[str, str] | None = None) -> None:
        self.init = "systemd"
        self.units = {state.unit: state for state in states}
        self.aliases = aliases or {}
        self.main_pids: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail: set[tuple[str, str]] = set()

    def status(self, units: tuple[str, ...]) -> ServiceState | None:
        return next((state for unit in units if (state := self.units.get(self._real(unit)))), None)

    def main_pid(self, unit: str) -> int | None:
        return self.main_pids.get(self._real(unit))

    def restart(self, unit: str) -> None:
        if self._asked("restart", unit).masked:
            raise HostError(f"systemctl restart {unit} failed: Unit {unit} is masked.")
        self._set(unit, active=True)

    def reload_manager(self) -> None:
        self.calls.append(("reload", ""))

    def stop_and_disable(self, unit: str) -> None:
        self._asked("stop_and_disable", unit)
        self._set(unit, active=False, enabled=False, masked=True)

    def enable(self, unit: str) -> None:
        if self._asked("enable", unit).masked:
            raise HostError(f"systemctl enable {unit} failed: Unit {unit} is masked.")
        self._set(unit, enabled=True)

    def restore(self, state: ServiceState) -> None:
        self._asked("restore", state.unit)
        self.units[self._real(state.unit)] = state

    def forgetting(self, unit: str, *, at_boot: bool = False) -> tuple[tuple[str, ...], ...]:
        return ()

    def returning(self, states, restarts) -> tuple[tuple[str, ...], ...]:
        return ()

    def returning_at_boot(self, states) -> tuple[tuple[str, ...], ...]:
        return ()

    def later(self, name: str, seconds: float, command: tuple[str, ...]) -> bool:
        return False

    def never_mind(self, name: str) -> None:
        self.calls.append(("never_mind", name))

    def _real(self, unit: str) -> str:
        full = unit if "." in unit else f"{unit}.service"
        return self.aliases.get(full, full)

    def _asked(self, verb: str, unit: str) -> ServiceState:
        self.calls.append((verb, unit))
        state = self.units.get(self._real(unit))
        if (verb, unit) in self.fail or state is None:
            raise HostError(f"systemctl {verb} {unit} failed")
        return state

    def _set(self, unit: str, **changes: bool) -> None:
        real = self._real(unit)
        self.units[real] = replace(self.units[real], **changes)
