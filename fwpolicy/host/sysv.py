"""SysV init: links in the folders of the runlevels, and whichever tool the distribution keeps them with."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.errors import HostError
from fwpolicy.host.initscripts import FOLDER, InitScripts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.host.services import Commands, Run

# S is what every boot runs first; boot.d is SUSE's name for its folder.
_LEVELS = "S0123456"
_STARTING = "S12345"
_INSSERV = ("/sbin/insserv", "/usr/lib/insserv/insserv")
_SBIN = ("usr/sbin", "sbin", "usr/bin", "bin", "usr/lib/insserv")


class Linker:
    """One of the tools: the commands, without what leads into an image, for a script's links."""

    program = ""

    def enabling(self, name: str) -> Commands:
        """Started where its own header says."""
        raise NotImplementedError

    def disabling(self, name: str, starts: str) -> Commands:
        """Started nowhere; `starts` are the runlevels that start it now."""
        raise NotImplementedError

    def linking(self, name: str, starts: str, stops: str) -> Commands:
        """Started and stopped in these runlevels, whatever is there now."""
        raise NotImplementedError

    def unlinking(self, name: str) -> Commands:
        """No links at all."""
        raise NotImplementedError


class UpdateRcD(Linker):
    """update-rc.d(8). `defaults` makes links where there are none; `enable` and `disable` turn them."""

    program = "update-rc.d"
    _levels = "S2345"

    def enabling(self, name: str) -> Commands:
        return ((self.program, name, "defaults"), (self.program, name, "enable"))

    def disabling(self, name: str, starts: str) -> Commands:
        return (self._turned(name, "disable", starts),)

    def linking(self, name: str, starts: str, stops: str) -> Commands:
        turned = (self._turned(name, verb, at) for verb, at in (("enable", starts), ("disable", stops)))
        return ((self.program, name, "defaults"), *(each for each in turned if len(each) > 3))

    def unlinking(self, name: str) -> Commands:
        return ((self.program, "-f", name, "remove"),)

    def _turned(self, name: str, verb: str, levels: str) -> tuple[str, ...]:
        return (self.program, name, verb, *(level for level in levels if level in self._levels))


class Chkconfig(Linker):
    """chkconfig(8): its `off` alone leaves the runlevels that nobody named."""

    program = "chkconfig"

    def enabling(self, name: str) -> Commands:
        return ((self.program, "--add", name), (self.program, name, "on"))

    def disabling(self, name: str, starts: str) -> Commands:
        return ((self.program, "--level", starts, name, "off"),)

    def linking(self, name: str, starts: str, stops: str) -> Commands:
        turned = (
            (self.program, "--level", at, name, how) for at, how in ((starts, "on"), (stops, "off")) if at
        )
        return ((self.program, "--add", name), *turned)

    def unlinking(self, name: str) -> Commands:
        return ((self.program, "--del", name),)


class Insserv(Linker):
    """insserv(8), which knows all links of a script or none."""

    program = "insserv"

    def enabling(self, name: str) -> Commands:
        return ((self.program, name),)

    def disabling(self, name: str, starts: str) -> Commands:  # noqa: ARG002
        return self.unlinking(name)

    def linking(self, name: str, starts: str, stops: str) -> Commands:
        if not starts:
            return self.unlinking(name)
        kinds = (("start", starts), ("stop", stops))
        return ((self.program, ",".join((name, *(f"{kind}={','.join(at)}" for kind, at in kinds if at)))),)

    def unlinking(self, name: str) -> Commands:
        return ((self.program, "-r", name),)


class SysV(InitScripts):
    """service(8) and the first tool there is. A state's links are two words, of the runlevels that start it,
    "2345", and of those that stop it, "016"."""

    init = "sysv"

    def __init__(self, root: str = "/", run: Run | None = None) -> None:
        super().__init__(root, run)
        tools: tuple[Linker, ...] = (UpdateRcD(), Chkconfig(), Insserv())
        self._tool = next((tool for tool in tools if self._has(tool.program)), None)
        if isinstance(self._tool, Chkconfig):
            self.init = "chkconfig"

    def _has(self, program: str) -> bool:
        return any((Path(self.root) / folder / program).exists() for folder in _SBIN)

    def _linker(self) -> Linker:
        if self._tool is None:
            raise HostError(
                "none of update-rc.d, chkconfig and insserv is here: nothing can be put into the boot"
            )
        return self._tool

    def _call(self, name: str, verb: str) -> tuple[str, ...]:
        return ("service", name, verb) if self._has("service") else (f"/{FOLDER}/{name}", verb)

    def _links(self, name: str) -> tuple[str, ...]:
        starts, stops = (self._levels(kind, name) for kind in "SK")
        return (starts, stops) if starts or stops else ()

    def _levels(self, kind: str, name: str) -> str:
        return "".join(level for level in _LEVELS if any(self._linked(level, kind, name)))

    def _linked(self, level: str, kind: str, name: str) -> Iterator[Path]:
        for folder in (f"etc/rc{level}.d", *(("etc/init.d/boot.d",) if level == "S" else ())):
            yield from (Path(self.root) / folder).glob(f"{kind}[0-9][0-9]{name}")

    def _is_enabled(self, links: tuple[str, ...]) -> bool:
        return bool(links) and any(level in _STARTING for level in links[0])

    def _enabling(self, name: str) -> Commands:
        return self._led(self._linker().enabling(name))

    def _disabling(self, name: str) -> Commands:
        starts = self._levels("S", name)
        return self._led(self._linker().disabling(name, starts)) if starts else ()

    def _linking(self, name: str, links: tuple[str, ...]) -> Commands:
        tool = self._linker()
        return self._led(tool.linking(name, *links) if links else tool.unlinking(name))

    def _settling(self) -> Commands:
        """insserv(8) keeps the numbers that a script made necessary until it is gone, not only unlinked."""
        places = (place for place in _INSSERV if (Path(self.root) / place[1:]).exists())
        numbered = isinstance(self._tool, (UpdateRcD, Insserv))
        return tuple(self._inside(place) for place in places) if numbered else ()

    def _led(self, commands: Commands) -> Commands:
        return tuple(self._inside(*command) for command in commands)
