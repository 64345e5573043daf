"""The time daemons we know: one backend file and one entry here for each.

What differs between distributions is data: paths, service names, commands.
"""

from __future__ import annotations

from fwpolicy.backends import chrony, ntpd, openntpd, timesyncd
from fwpolicy.deploy import clocks
from fwpolicy.errors import HostError
from fwpolicy.host import timedaemons
from fwpolicy.host.timedaemons import Found, Look
from fwpolicy.ir.timeservice import DaemonChange
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from fwpolicy.artifact import Artifact
    from fwpolicy.deploy.clocks import Clock
    from fwpolicy.host.files import Files
    from fwpolicy.ir.timeservice import DaemonConfig, Source, TimeService

    class Backend(Protocol):
        """The functions that every daemon's backend module has."""

        def block(self, service: TimeService, found: DaemonConfig) -> tuple[str, ...]: ...
        def change(self, service: TimeService, found: DaemonConfig) -> DaemonChange: ...
        def sources(self, found: DaemonConfig) -> tuple[Source, ...]: ...
        def snippet(self, service: TimeService) -> Artifact: ...


@record
class Daemon:
    """A kind of time daemon: how it is found, who writes its configuration, how it is asked for its clock,
    and can it be a server?"""

    look: Look
    backend: Backend
    clock: Clock
    serves: bool = True

    @property
    def kind(self) -> str:
        return self.look.kind


_NTPD_PROGRAMS = ("/usr/sbin/ntpd", "/usr/local/sbin/ntpd", "/usr/bin/ntpd")
# The options of ntpd(8) that take an argument, ntp.org's and ntpsec's together.
_NTPD_OPTION = ("c", "cDfiIJkKlpPrstTuUvVwz", "configfile")

DAEMONS: tuple[Daemon, ...] = (
    Daemon(
        Look(
            "ntpd",
            programs=_NTPD_PROGRAMS,
            mains=("/etc/ntp.conf",),
            units=("ntp", "ntpd"),
            includes=ntpd.includes,
            version=r"ntpd (\d+)\.(\d+)\.(\d+)(?:p(\d+))?",
            option=_NTPD_OPTION,
            accounts=("ntp",),
            copies=(("/run/ntp.conf.dhcp", "/etc/ntp.conf"),),
        ),
        ntpd,
        clocks.NTPD,
    ),
    Daemon(
        Look(
            "ntpsec",
            programs=_NTPD_PROGRAMS,
            mains=("/etc/ntpsec/ntp.conf", "/etc/ntp.conf"),
            units=("ntpsec", "ntpd"),
            includes=ntpd.ntpsec_includes,
            version=r"ntpsec-(?:(\d+)\.(\d+)(?:\.(\d+))?|%s)",
            option=_NTPD_OPTION,
            accounts=("ntpsec", "ntp"),
            copies=(("/run/ntpsec/ntp.conf.dhcp", "/etc/ntpsec/ntp.conf"),),
        ),
        ntpd,
        clocks.NTPD,
    ),
    Daemon(
        Look(
            "chrony",
            programs=("/usr/sbin/chronyd", "/usr/local/sbin/chronyd"),
            mains=("/etc/chrony/chrony.conf", "/etc/chrony.conf"),
            units=("chrony", "chronyd"),
            includes=chrony.includes,
            version=r"chronyd \(chrony\) version (?:(\d+)\.(\d+)(?:\.(\d+))?|%s)",
            option=("f", "fFlLPrRtTu", ""),
            check=("-p", "-f"),
            accounts=("_chrony", "chrony"),
        ),
        chrony,
        clocks.CHRONY,
    ),
    Daemon(
        Look(
            "openntpd",
            programs=("/usr/sbin/openntpd", *_NTPD_PROGRAMS),
            mains=("/etc/openntpd/ntpd.conf", "/etc/ntpd.conf"),
            units=("openntpd", "ntpd"),
            includes=openntpd.includes,
            # It knows no --version, and prints its usage; no version in it.
            version=r"usage: \S+ \[-dn\w*\] \[-f file\]",
            option=("f", "fp", ""),
            check=("-n", "-f"),
            accounts=("openntpd", "_ntp", "ntpd"),
        ),
        openntpd,
        clocks.OPENNTPD,
    ),
    Daemon(
        Look(
            "timesyncd",
            programs=("/usr/lib/systemd/systemd-timesyncd", "/lib/systemd/systemd-timesyncd"),
            mains=("/etc/systemd/timesyncd.conf", "/usr/lib/systemd/timesyncd.conf"),
            units=("systemd-timesyncd",),
            includes=timesyncd.includes,
            accounts=("systemd-timesync",),
        ),
        timesyncd,
        clocks.TIMESYNCD,
        serves=False,
    ),
)


def daemon(kind: str) -> Daemon:
    """The entry of `kind`; HostError for one we don't know."""
    for one in DAEMONS:
        if one.kind == kind:
            return one
    known = ", ".join(one.kind for one in DAEMONS)
    raise HostError(f"no time daemon of the kind '{kind}' is known; there are {known}")


def discover(files: Files, kind: str = "auto", proc: str | None = "/proc") -> tuple[Found, ...]:
    """The time daemons of the host or image, those that run first (timedaemons.discover)."""
    return timedaemons.discover(files, tuple(one.look for one in DAEMONS), kind, proc)


def change(service: TimeService, found: Found) -> DaemonChange:
    """What the found daemon needs, in the configuration that persists and in the copy that it reads now."""
    backend = daemon(found.config.kind).backend
    wanted = backend.change(service, found.config)
    if found.copy is None:
        return wanted
    live = backend.change(service, found.copy)
    paths = {file.path for file in wanted.files}
    files = (*wanted.files, *(file for file in live.files if file.path not in paths))
    note = f"{found.copy.main} is a copy with the servers that DHCP gave; both files are changed"
    return DaemonChange(files, tuple(dict.fromkeys((*wanted.notes, *live.notes, note))))


def sources(found: Found) -> tuple[Source, ...]:
    """The time sources that the daemon asks now."""
    return daemon(found.config.kind).backend.sources(found.copy or found.config)


def snippets(service: TimeService) -> tuple[Artifact, ...]:
    """What `compile` writes without a host: for "auto" one for every kind that can do it.

    PolicyError where the daemon that the policy names can't.
    """
    if service.daemon == "none":
        return ()
    if service.daemon != "auto":
        return (daemon(service.daemon).backend.snippet(service),)
    able = [one for one in DAEMONS if one.serves or service.mode != "server"]
    return tuple(one.backend.snippet(replace(service, daemon=one.kind)) for one in able)
