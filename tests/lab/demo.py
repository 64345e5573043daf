"""`make demo`: an open time server becomes a client that answers nobody, on a host made for the purpose.

Boots a Debian host with a wide-open ntpd, a time server and an attacker on a bridge of their own,
and shows what the attacker gets before and after `fwpolicy apply ntp-client`. Nothing of this machine
is changed: its firewall, network and clock are not touched, and the host is gone at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from . import guest, outside
from .daemons import DAEMONS
from .hosts import Lab
from .roots import Roots, default_directory

if TYPE_CHECKING:
    from .hosts import Host
    from .outside import Probed
    from .peers import Namespace, TimeServer

POLICY = "ntp-client"
KIND = "ntp"  # ntp.org's ntpd, the daemon that made NTP amplification known
TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux"}


class DemoError(Exception):
    """The demo did not show what it promises."""


def main() -> int:
    """0 when everything was as promised."""
    obstacle = _obstacle()
    if obstacle:
        print(f"demo: {obstacle}", file=sys.stderr)
        return 1
    try:
        _show()
    except KeyboardInterrupt:
        print("demo: interrupted; the throw-away host is gone", file=sys.stderr)
        return 130
    except (DemoError, AssertionError) as error:  # what the lab says of a command is an AssertionError
        print(f"demo: FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def _obstacle() -> str | None:
    if os.geteuid() != 0:
        return "it boots a container, which takes root: sudo make demo"
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    return f"missing here: apt install {' '.join(missing)}" if missing else None


def _show() -> None:
    say("One policy on a throw-away host. Nothing of this machine is changed.")
    roots = Roots(default_directory())
    try:
        _prepare(roots)
        with (
            Lab(roots, flood=True) as lab,
            lab.time_server("clock", 251, 252) as clock,
            lab.namespace("attacker", 66) as attacker,
        ):
            _tell(lab, clock, attacker)
    finally:
        roots.close()


def _prepare(roots: Roots) -> None:
    step("A Debian root for it (the first time this takes about half a minute)")
    for name in ("base", "chrony", KIND):
        began = time.monotonic()
        roots.get(name)
        say(f"    {name}: {time.monotonic() - began:.1f} s")


def _tell(lab: Lab, clock: TimeServer, attacker: Namespace) -> None:
    step("Boot it: Debian 12 with a wide-open ntpd, beside a time server and an attacker")
    host = lab.host("demo", 1, KIND)
    DAEMONS[KIND].install(host, clock.servers, wide_open=True)
    host.install_fwpolicy()
    say(f"    booted in {host.start():.1f} s: {host.ipv4} and {host.ipv6}")

    step("What the attacker gets, with every kind of question over IPv4 and IPv6")
    before = _probe(host, attacker, clock)
    require(before.answered, "the host should be open before the policy is applied")

    step(f"fwpolicy plan {POLICY}: what would change, and nothing is touched")
    say(_indented(guest.fwpolicy(host, "plan", POLICY, expect=2)))

    step(f"fwpolicy apply {POLICY}")
    say(_indented(guest.fwpolicy(host, "apply", POLICY)))
    since = time.time()

    step("The same questions again, while the daemon asks its own servers")
    with ThreadPoolExecutor(1) as executor:
        synchronised = executor.submit(DAEMONS[KIND].wait_synchronised, host, since)
        after = _probe(host, attacker, clock)
        say("    waiting for the daemon to call itself synchronised")
        seconds = synchronised.result()
    say(_indented(host.run("ntpq", "-pn", "127.0.0.1").stdout))
    say(_indented(guest.fwpolicy(host, "status")))
    _judge(after, seconds)


def _probe(host: Host, attacker: Namespace, clock: TimeServer) -> Probed:
    probed = outside.probe(attacker, host, clock)
    strongest = f"; the strongest answer was {probed.factor:g} times its question" if probed.factor else ""
    say(f"    {probed} probes answered{strongest}")
    return probed


def _judge(after: Probed, seconds: float) -> None:
    require(not after.answered, f"still answered: {', '.join(after.answered)}")
    require(set(after.verdicts) == {"CLOSED"}, f"the probe's verdicts are {after.verdicts}")
    require(not after.unasked, f"not everything was asked: {after.unasked}")
    say(f"\n{after} probes answered, synchronised after {seconds:.1f} s")


def require(held: object, otherwise: str) -> None:
    """DemoError(otherwise) unless `held`."""
    if not held:
        raise DemoError(otherwise)


def say(text: str) -> None:
    """A line at once, whoever reads."""
    print(text, flush=True)


def step(text: str) -> None:
    """The heading of a step."""
    say(f"\n==> {text}")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
