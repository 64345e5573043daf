"""The time daemons of the lab: their units and files, how to configure them, and whether they synchronise.

No daemon can set the clock in here: adjtimex and its kin fail with EPERM. All of them select a
server and keep taking samples all the same (chronyd needs `-x` for that), so "synchronised" is what
the daemon itself says of its server, together with a sample that is newer than a given time.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from fwpolicy.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .hosts import Host

NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905, figure 4)
UNSYNCHRONISED = 16  # the stratum that says so (RFC 5905, 7.3)
# Lines that name a server; everything else of a distribution's file stays.
_SERVER = re.compile(r"^(?:pool|servers?|peer)\s.*\n", re.MULTILINE)


@record
class LabDaemon:
    """One daemon. `unit` is its service, `config` its file, both as Debian has them; `root` is its layer.

    `seconds`: how long it may take after a restart until `synchronised` (twice what was measured).
    `files`: what a guest needs besides the configuration.
    """

    root: str
    unit: str
    config: str
    default_config: Callable[[str, Iterable[str]], str]
    open_config: Callable[[Iterable[str]], str]
    synchronised: Callable[[Host, float], bool]
    seconds: int
    files: tuple[tuple[str, str], ...] = ()

    def install(self, host: Host, servers: Iterable[str], *, wide_open: bool = False) -> None:
        """Configure `host`, booted or not: the distribution's file with our servers, or wide open."""
        text = (
            self.open_config(servers) if wide_open else self.default_config(host.read(self.config), servers)
        )
        host.write_files({self.config: text, **dict(self.files)})

    def restart(self, host: Host) -> float:
        """Restart the daemon; the time just before, for `synchronised`."""
        host.run("systemctl", "reset-failed", self.unit, check=False)  # else five restarts are the limit
        since = time.time()
        host.run("systemctl", "restart", self.unit)
        return since

    def wait_synchronised(self, host: Host, since: float) -> float:
        """Wait for a sample newer than `since`; the seconds from then. AssertionError when none comes."""
        deadline = time.time() + self.seconds
        while not self.synchronised(host, since):
            assert time.time() < deadline, f"{self.unit} does not synchronise:\n{host.journal(self.unit)}"
            time.sleep(0.2)
        return time.time() - since


def _lines(servers: Iterable[str], options: str) -> str:
    return "".join(f"server {server} {options}".rstrip() + "\n" for server in servers)


def _pointed_at(options: str) -> Callable[[str, Iterable[str]], str]:
    """The distribution's file with our servers, where its first server or pool line was."""

    def default_config(distribution: str, servers: Iterable[str]) -> str:
        first = _SERVER.search(distribution)
        assert first, "the distribution's file names no server"
        before, after = distribution[: first.start()], distribution[first.start() :]
        return before + _lines(servers, options) + _SERVER.sub("", after)

    return default_config


# --- chrony: chrony.conf(5), chronyc(1) -----------------------------------------------------------

_CHRONY_OPTIONS = "iburst minpoll 1 maxpoll 2"


def _open_chrony(servers: Iterable[str]) -> str:
    wide = ("allow all", "cmdallow all", "bindcmdaddress 0.0.0.0", "bindcmdaddress ::", "local stratum 10")
    kept = ("confdir /etc/chrony/conf.d", "driftfile /var/lib/chrony/chrony.drift")
    return _lines(servers, _CHRONY_OPTIONS) + "\n".join((*kept, *wide)) + "\n"


def _chrony_synchronised(host: Host, since: float) -> bool:
    """`tracking` in CSV: reference id, name, stratum, reference time, ..., leap status.

    Its own local clock, which an open server falls back to, has the id 127.127.1.1.
    """
    said = host.run("chronyc", "-n", "-c", "tracking", check=False).stdout.strip().split(",")
    if len(said) < 14:  # "506 Cannot talk to daemon"
        return False
    return said[13] == "Normal" and said[0] != "7F7F0101" and float(said[3]) > since


# --- ntp.org and ntpsec: ntp.conf(5), ntpq(1) -----------------------------------------------------


def _open_ntp(servers: Iterable[str]) -> str:
    # Without a restrict line everybody may ask everything; mode 7 is off unless asked for.
    return _lines(servers, _NTP_OPTIONS) + "driftfile /var/lib/ntp/ntp.drift\nenable mode7 monitor\n"


def _open_ntpsec(servers: Iterable[str]) -> str:
    # Unlike ntp.org's, its built-in default is noquery, the host's own ntpq included.
    wide = "unrestrict default noquery\nenable monitor\n"
    return _lines(servers, _NTPSEC_OPTIONS) + "driftfile /var/lib/ntpsec/ntp.drift\n" + wide


_NTP_OPTIONS = "iburst minpoll 3 maxpoll 3"
_NTPSEC_OPTIONS = "iburst minpoll 1 maxpoll 3"


def _ntpd_synchronised(host: Host, since: float) -> bool:
    """System leap and stratum, and when the system peer's latest packet was received (`rec`).

    Not the system's reftime: it stands still while the clock filter prefers an older sample.
    """
    system = _ntpq(host, "0", "leap,stratum,peer")
    if system.get("leap", "3") == "3" or int(system["stratum"], 0) >= UNSYNCHRONISED or "peer" not in system:
        return False
    received = _ntpq(host, system["peer"], "rec").get("rec", "0x0.0").removeprefix("0x")
    seconds, _, fraction = received.partition(".")
    return int(seconds, 16) - NTP_EPOCH + int(fraction, 16) / 2**32 > since


def _ntpq(host: Host, association: str, names: str) -> dict[str, str]:
    """Variables as they went over the wire; nothing while the daemon does not answer."""
    said = host.run("ntpq", "-n", "-c", "raw", "-c", f"rv {association} {names}", check=False).stdout
    return dict(re.findall(r"(\w+)=([^,\s]+)", said))


# --- openntpd: ntpd.conf(5), ntpctl(8) ------------------------------------------------------------


_OPENNTPD_PUT_OFF = 600


def _open_openntpd(servers: Iterable[str]) -> str:
    return "listen on *\n" + _lines(servers, "")


def _openntpd_synchronised(host: Host, since: float) -> bool:
    """A valid peer whose latest query was answered after `since`.

    "clock synced" never comes where the clock cannot be set. A timeout halves a peer's trust
    level (at most 10), and below 6 it is not valid (ntp.c), so a valid peer's latest query was
    answered; the answer started the countdown from `poll` to `next`. An ICMP error leaves it valid,
    but puts it off for 50 minutes; between samples it waits 330 s at most.
    """
    now = time.time()
    said = host.run("ntpctl", "-s", "peers", check=False).stdout
    line = re.compile(r"^ +\*? +\d+ +\d+ +\d+ +(\d+)s +(\d+)s +-?[\d.]+ms", re.MULTILINE)
    # Both are whole seconds: one is given away.
    waits = [(int(rest), int(poll)) for rest, poll in line.findall(said)]
    return any(now - (poll - rest) - 1 > since and poll < _OPENNTPD_PUT_OFF for rest, poll in waits)


# --- systemd-timesyncd: timesyncd.conf(5), org.freedesktop.timesync1(5) ---------------------------


def _open_timesyncd(servers: Iterable[str]) -> str:
    """It cannot serve: the same as its only configuration."""
    # 16 s is the shortest interval it takes.
    return f"[Time]\nNTP={' '.join(servers)}\nPollIntervalMinSec=16\nPollIntervalMaxSec=16\n"


def _default_timesyncd(distribution: str, servers: Iterable[str]) -> str:
    assert "\n[Time]\n" in distribution
    return distribution.replace("[Time]\n", _open_timesyncd(servers))


def _timesyncd_synchronised(host: Host, since: float) -> bool:
    """The latest packet: leap first, its arrival in microseconds twelfth, then whether it was ignored."""
    object_path, interface = "/org/freedesktop/timesync1", "org.freedesktop.timesync1.Manager"
    command = ("busctl", "--json=short", "get-property", "org.freedesktop.timesync1", object_path, interface)
    said = host.run(*command, "NTPMessage", check=False).stdout
    if not said:
        return False
    message = json.loads(said)["data"]
    return message[0] != 3 and not message[12] and message[11] / 1e6 > since


DAEMONS = {
    "chrony": LabDaemon(
        "chrony",
        "chrony.service",
        "/etc/chrony/chrony.conf",
        _pointed_at(_CHRONY_OPTIONS),
        _open_chrony,
        _chrony_synchronised,
        seconds=20,
        # -F 1 is Debian's; -x: never touch the clock, else the first adjtimex is fatal.
        files=(("/etc/default/chrony", 'DAEMON_OPTS="-F 1 -x"\n'),),
    ),
    "ntp": LabDaemon(
        "ntp",
        "ntp.service",
        "/etc/ntp.conf",
        _pointed_at(_NTP_OPTIONS),
        _open_ntp,
        _ntpd_synchronised,
        seconds=30,
    ),
    # Debian's file says `minsane 3`: it needs three servers at least.
    "ntpsec": LabDaemon(
        "ntpsec",
        "ntpsec.service",
        "/etc/ntpsec/ntp.conf",
        _pointed_at(_NTPSEC_OPTIONS),
        _open_ntpsec,
        _ntpd_synchronised,
        seconds=30,
    ),
    "openntpd": LabDaemon(
        "openntpd",
        "openntpd.service",
        "/etc/openntpd/ntpd.conf",
        _pointed_at(""),
        _open_openntpd,
        _openntpd_synchronised,
        seconds=60,
    ),
    "timesyncd": LabDaemon(
        "timesyncd",
        "systemd-timesyncd.service",
        "/etc/systemd/timesyncd.conf",
        _default_timesyncd,
        _open_timesyncd,
        _timesyncd_synchronised,
        seconds=40,
        files=(
            (
                "/etc/systemd/system/systemd-timesyncd.service.d/lab.conf",
                "[Unit]\nConditionVirtualization=\n",
            ),
        ),
    ),
}
