"""A stranger who knocks all the time, and a listener that is there as soon as the network is."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from ..lab import netns

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..lab.hosts import Host
    from ..lab.peers import Namespace

PORT = 8080
POLICY = "version: 1\nname: web\nbackends: [nft, iptables]\ninput: {{default: drop, allow: [{allow}]}}\n"
_COMMAND = f"/usr/bin/python3 -m http.server {PORT} --bind ::"
_UNIT = f"""\
[Unit]
DefaultDependencies=no
After=networking.service
[Service]
ExecStart={_COMMAND}
[Install]
WantedBy=multi-user.target
"""
# Long before anything of a usual runlevel.
_SCRIPT = f"""\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          listener
# Required-Start:    networking
# Required-Stop:
# Default-Start:     S
# Default-Stop:
### END INIT INFO
[ "$1" = start ] || exit 0
start-stop-daemon --start --background --exec {_COMMAND.replace(" ", " -- ", 1)}
"""


_OUR_UNIT, _OUR_SCRIPT = "/etc/systemd/system/fwpolicy.service", "/etc/init.d/fwpolicy"
# However slow the machine is, the stranger has a second.
_HEARD = f'until ss -ltn | grep -q ":{PORT} "; do sleep 0.1; done; sleep 1'
# What is changed of what we install, so that it comes late.
_LATE_UNIT = {
    "Wants=network-pre.target\n": "After=networking.service\n",
    "Before=network-pre.target shutdown.target\n": "Before=shutdown.target\n",
    "RemainAfterExit=yes\n": f"RemainAfterExit=yes\nExecStartPre=/bin/sh -c '{_HEARD}'\n",
    "WantedBy=sysinit.target\n": "WantedBy=multi-user.target\n",
}
_LATE_SCRIPT = {
    "# X-Start-Before:    networking network\n": "",
    "# Default-Start:     S\n": "# Default-Start:     2 3 4 5\n",
    "start)\n": f"start)\n    {_HEARD}\n",
}


def install_listener(host: Host) -> None:
    """From the next boot on it listens on PORT; the host may be off."""
    if host.sysv:
        host.write("/etc/init.d/listener", _SCRIPT, 0o755)
        host.run("update-rc.d", "listener", "defaults")
        return
    host.write("/etc/systemd/system/listener.service", _UNIT)
    host.run("systemctl", "enable", "listener")


def _wait_listening(host: Host, seconds: float = 60) -> None:
    """Without a listener it means nothing that nobody is let in."""
    deadline = time.monotonic() + seconds
    while f":{PORT} " not in host.run("ss", "--listening", "--tcp", "--numeric").stdout:
        assert time.monotonic() < deadline, f"{host.name}: nobody listens on {PORT}"
        time.sleep(0.1)


def connections(host: Host, stranger: Namespace, meanwhile: Callable[[], object]) -> int:
    """How many connections to PORT a stranger gets during `meanwhile`, and until half a second after somebody
    listens there."""
    ended, let_in = threading.Event(), 0

    def knock() -> None:
        nonlocal let_in
        while not ended.is_set():
            with socket.socket() as one:
                one.settimeout(0.02)
                try:
                    one.connect((host.ipv4, PORT))
                    let_in += 1
                except OSError:
                    ended.wait(0.002)

    thread = threading.Thread(target=lambda: netns.call(knock, stranger.path))
    thread.start()
    try:
        meanwhile()
        _wait_listening(host)
        time.sleep(0.5)
    finally:
        ended.set()
        thread.join()
    return let_in


def come_late(host: Host) -> None:
    """Put our unit or script into the place that a usual service has, as late as one may be."""
    path, changes = (_OUR_SCRIPT, _LATE_SCRIPT) if host.sysv else (_OUR_UNIT, _LATE_UNIT)
    text = host.read(path)
    for old, new in changes.items():
        assert text.count(old) == 1, f"{path}: {old!r}"
        text = text.replace(old, new)
    host.write(path, text, 0o755 if host.sysv else 0o644)
    if host.sysv:
        host.run("update-rc.d", "-f", "fwpolicy", "remove")
        host.run("update-rc.d", "fwpolicy", "defaults")
    else:
        host.run("systemctl", "reenable", "fwpolicy")
