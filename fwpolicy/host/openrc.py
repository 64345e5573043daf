"""OpenRC: the scripts' links stand in folders of the runlevels' names, and have no numbers."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.host.initscripts import FOLDER, InitScripts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.host.services import Commands

_RUNLEVELS = "etc/runlevels"
# Where rc-update(8) puts what names no runlevel. Ours goes where the network is: `boot`, Debian's `sysinit`.
_USUAL, _BOOT = "default", "boot"
_OURS, _NETWORK = "fwpolicy", ("networking", "network", "net.lo")
_ENDING = frozenset({"shutdown"})


class OpenRC(InitScripts):
    """rc-service(8) and rc-update(8). A state's links are the runlevels that it is in."""

    init = "openrc"

    def _call(self, name: str, verb: str) -> tuple[str, ...]:
        return ("rc-service", name, verb)

    def _links(self, name: str) -> tuple[str, ...]:
        # Of an image they lead nowhere from here, and glob() finds those by patterns only.
        links = (Path(self.root) / _RUNLEVELS).glob("*/*")
        return tuple(sorted(link.parent.name for link in links if link.name == name))

    def _is_enabled(self, links: tuple[str, ...]) -> bool:
        return any(level not in _ENDING for level in links)

    def _enabling(self, name: str) -> Commands:
        if self._is_enabled(self._links(name)):
            return ()
        return (self._inside("rc-update", "add", name, self._runlevel(name)),)

    def _runlevel(self, name: str) -> str:
        if name != _OURS:
            return _USUAL
        found = (level for script in _NETWORK for level in self._links(script) if self._is_enabled((level,)))
        return next(found, _BOOT)

    def _disabling(self, name: str) -> Commands:
        """Named one by one: its `--all` fails for each runlevel that the script is not in."""
        levels = self._links(name)
        return (self._inside("rc-update", "del", name, *levels),) if levels else ()

    def _linking(self, name: str, links: tuple[str, ...]) -> Commands:
        """By the links themselves, as rc-update(8) makes them: it fails for one that is there already."""
        folder = f"/{_RUNLEVELS}"
        gone = ("find", folder, "-name", name, "-exec", "rm", "-f", "{}", ";")
        made = (("ln", "-s", f"/{FOLDER}/{name}", f"{folder}/{level}/{name}") for level in links)
        return tuple(self._inside(*command) for command in (gone, *made))
