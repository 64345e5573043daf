"""The lines that each time daemon's configuration may get, for a script that finds out on the host which."""

from __future__ import annotations

from fwpolicy.deploy.daemons import DAEMONS
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.deploy.daemons import Daemon
    from fwpolicy.ir.timeservice import TimeService

_ADDRESS = "192.0.2.1"
# For each variant of a block (block.awk): the daemon's version and its configuration.
_VARIANTS = {
    "ntpd": {
        "ntpd": ((), ""),
        "ntpd.pool": ((), "pool unseen\n"),
        "ntpd.names": ((4, 2, 6), "server unseen\n"),
        "ntpd.addresses": ((4, 2, 6), f"server {_ADDRESS}\n"),
    },
}


def blocks(service: TimeService) -> str:
    """`VARIANT, a tab, a line` for every line of every variant."""
    return "".join(
        f"{variant}\t{line}\n" for one in _wanted(service) for variant, line in _lines(one, service)
    )


def looks(service: TimeService) -> str:
    """A line for each daemon: its kind, and tab-separated where its program, its main file and the copies of
    that are, what its service is called, and its options."""
    return "".join("\t".join(_look(one)) + "\n" for one in _wanted(service))


def _wanted(service: TimeService) -> Iterator[Daemon]:
    return (one for one in DAEMONS if service.daemon in {"auto", one.kind})


def _lines(one: Daemon, service: TimeService) -> Iterator[tuple[str, str]]:
    if service.mode == "server" and not one.serves:
        return
    for variant, (version, text) in _VARIANTS.get(one.kind, {one.kind: ((), "")}).items():
        found = DaemonConfig(one.kind, version, "", (ConfigFile("", text),))
        for line in one.backend.block(service, found):
            yield variant, line.replace(f"restrict {_ADDRESS} no", "restrict HOST no")


def _look(one: Daemon) -> tuple[str, ...]:
    look = one.look
    letter, takes, long = look.option or ("", "", "")
    copies = " ".join(f"{copy}={original}" for copy, original in look.copies)
    fields = (
        " ".join(look.programs),
        " ".join(look.mains),
        " ".join(look.units),
        copies,
        letter,
        takes,
        long,
    )
    return (look.kind, *(field or "-" for field in fields), " ".join(look.check) or "-")
