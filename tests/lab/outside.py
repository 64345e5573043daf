"""A host as the network sees it: the probe from an attacker's namespace."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from fwpolicy.record import record

from .hosts import CHECKOUT

if TYPE_CHECKING:
    from .hosts import Host
    from .peers import Namespace, TimeServer

BROADCAST = "192.168.77.255"  # of the lab's bridge


@record
class Probed:
    """One run of the matrix over both families.

    `verdicts` and `controls`: one for each address, the control's before and after. `answered`: the
    names of what was answered, with the family; `unasked`: probes that never reached the wire, and
    why. `factor`: the largest amplification; `status`: the exit status.
    """

    status: int
    verdicts: tuple[str, ...]
    sent: int
    answered: tuple[str, ...]
    unasked: tuple[str, ...]
    factor: float
    controls: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.answered)} of {self.sent}"


def probe(attacker: Namespace, host: Host, clock: TimeServer, *options: str) -> Probed:
    """The whole matrix, `clock` being control and forged sender in both families."""
    servers = (clock.ipv4, clock.ipv6)
    words = [word for server in servers for word in ("--control", server, "--forge", server)]
    here = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "fwpolicy")
    command = (*here, "probe", host.ipv4, host.ipv6, *words)
    timing = ("--spacing", "6", "--wait", "0.5", "--broadcast", BROADCAST)
    done = attacker.run(*command, *timing, *options, "--json", check=False)
    assert done.stdout, done.stderr
    return _read(json.loads(done.stdout), done.returncode)


def _read(document: dict[str, Any], status: int) -> Probed:
    probes, hosts = document["probes"], document["hosts"]
    unasked = [each for each in probes if not each["sent"]]
    controls = [each["control"] for each in hosts]
    return Probed(
        status,
        tuple(each["verdict"] for each in hosts),
        sum(each["sent"] for each in probes),
        tuple(_name(each) for each in probes if each["outcome"] == "answered"),
        tuple(f"{_name(each)}: {each['reason']}" for each in unasked),
        document["max_factor"],
        tuple(f"{each['before']}, {each['after']}" for each in controls if each),
    )


def _name(probe_: dict[str, Any]) -> str:
    return f"IPv{probe_['family']} {probe_['name']}"
