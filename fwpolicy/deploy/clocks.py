"""How each kind of time daemon says whether its clock is synchronised, and when it last heard so.

Everything is about the daemon's server, not about the kernel's clock: where the clock cannot be set (a
container) a daemon goes on choosing servers and taking samples all the same.
"""

from __future__ import annotations

import re

from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # The tool's arguments -> what it prints, "" where it fails.
    Ask = Callable[[tuple[str, ...]], str]

# Seconds from 1900 to 1970 (RFC 5905, figure 4); eras are 2^32 long.
_NTP_EPOCH = 2_208_988_800
_ERA = 1 << 32
_UNSYNCHRONISED = 16
# chrony's reference id of the local clock, which it falls back to under `local stratum`: 127.127.1.1.
_LOCAL = "7F7F0101"
# After an ICMP error openntpd puts a peer off for 50 minutes and calls it valid; else it waits 330 s at most.
_PUT_OFF = 600


@record
class Clock:
    """`tools`: where the daemon's own tool may be. `answered(ask, now)`: when (Unix time) the latest answer
    came of a server that it is synchronised with; None where it is not synchronised, or does not say."""

    tools: tuple[str, ...]
    answered: Callable[[Ask, float], float | None]


def _chrony(ask: Ask, now: float) -> float | None:  # noqa: ARG001
    """chronyc(1), `tracking` in CSV: reference id, name, stratum, reference time, ..., leap status."""
    said = ask(("-n", "-c", "tracking")).strip().split(",")
    if len(said) < 14 or said[13] == "Not synchronised" or said[0] in (_LOCAL, "00000000"):
        return None
    return float(said[3]) if re.fullmatch(r"\d+(\.\d+)?", said[3]) else None


def _ntpd(ask: Ask, now: float) -> float | None:  # noqa: ARG001
    """ntpq(1): the system's leap and stratum, and when its peer's latest packet came (`rec`).

    Not the system's reference time: that stands still while the clock filter prefers an older sample.
    """
    system = _variables(ask, "0", "leap,stratum,peer")
    leap, stratum, peer = (_number(system.get(name, "")) for name in ("leap", "stratum", "peer"))
    if leap in (None, 3) or stratum is None or stratum >= _UNSYNCHRONISED or not peer:
        return None
    received = _variables(ask, str(peer), "rec").get("rec", "")
    stamp = re.fullmatch(r"0x([0-9a-f]{1,8})\.([0-9a-f]{1,8})", received)
    if not stamp or not int(stamp[1], 16):
        return None
    seconds = int(stamp[1], 16) - _NTP_EPOCH
    return (seconds if seconds >= 0 else seconds + _ERA) + int(stamp[2], 16) / _ERA


def _variables(ask: Ask, association: str, names: str) -> dict[str, str]:
    """As they went over the wire."""
    said = ask(("-n", "-c", "raw", "-c", f"rv {association} {names}"))
    return dict(re.findall(r"(\w+)=([^,\s]+)", said))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _openntpd(ask: Ask, now: float) -> float | None:
    """ntpctl(8): of a valid peer the latest query was answered, which began the countdown from `poll` to
    `next`. (A timeout halves its trust level, at most 10; below 6 it is not valid.)"""
    line = re.compile(r"^ +\*? +\d+ +\d+ +\d+ +(\d+)s +(\d+)s +-?[\d.]+ms", re.MULTILINE)
    waits = [(int(rest), int(poll)) for rest, poll in line.findall(ask(("-s", "peers")))]
    # Both are whole seconds: one is given away.
    return max((now - (poll - rest) - 1 for rest, poll in waits if poll < _PUT_OFF), default=None)


def _timesyncd(ask: Ask, now: float) -> float | None:  # noqa: ARG001
    """org.freedesktop.timesync1(5), NTPMessage: leap first, its arrival in microseconds twelfth, then
    whether it was ignored."""
    import json  # noqa: PLC0415

    name, interface = "org.freedesktop.timesync1", "org.freedesktop.timesync1.Manager"
    # Nobody is to start it by our question.
    quiet = ("--auto-start=no", "--json=short")
    said = ask((*quiet, "get-property", name, "/org/freedesktop/timesync1", interface, "NTPMessage"))
    try:
        message = json.loads(said)["data"]
        leap, arrival, ignored = int(message[0]), int(message[11]), bool(message[12])
    except (ValueError, LookupError, TypeError):
        return None
    return None if leap == 3 or ignored or not arrival else arrival / 1e6


CHRONY = Clock(("/usr/bin/chronyc", "/usr/local/bin/chronyc"), _chrony)
NTPD = Clock(("/usr/bin/ntpq", "/usr/sbin/ntpq", "/usr/local/bin/ntpq", "/usr/local/sbin/ntpq"), _ntpd)
OPENNTPD = Clock(("/usr/sbin/ntpctl", "/usr/local/sbin/ntpctl"), _openntpd)
TIMESYNCD = Clock(("/usr/bin/busctl", "/bin/busctl"), _timesyncd)
