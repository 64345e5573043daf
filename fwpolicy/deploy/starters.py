"""What runs STATE/boot.sh when the host boots, for each init system: before the network, without Python."""

from __future__ import annotations

from fwpolicy.artifact import Artifact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNIT = "fwpolicy.service"
BOOT_FOLDER = "/etc/systemd/system/"
UNIT_PATH = f"{BOOT_FOLDER}{UNIT}"
DROP_IN_PATH = f"{BOOT_FOLDER}nftables.service.d/fwpolicy.conf"
SCRIPT_PATH = "/etc/init.d/fwpolicy"

# Before network-pre.target: the rules are there while every interface is still down
# (systemd.special(7)). After nftables.service and its like: Debian's /etc/nftables.conf begins with
# `flush ruleset`, so we load after it, and again whenever it is restarted (PartOf) or reloaded.
_UNIT = """\
[Unit]
Description=fwpolicy: the firewall policy of this host
Documentation=man:nft(8)
DefaultDependencies=no
Requires=-.mount
RequiresMountsFor={state}
After=local-fs.target systemd-modules-load.service systemd-sysctl.service
After=nftables.service netfilter-persistent.service iptables.service ip6tables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {state}/boot.sh
ExecReload=/bin/sh {state}/boot.sh

[Install]
WantedBy=sysinit.target
"""

# PartOf and ReloadPropagatedFrom follow a restart and a reload, but not a start: after it, or on a
# host that never ran nftables.service, the flush would leave the host open (measured). These lines
# belong to the command itself, so when it returns our rules are back.
_DROP_IN = """\
# Written by fwpolicy: /etc/nftables.conf may begin with `flush ruleset`.
[Service]
ExecStartPost=-/bin/sh {state}/boot.sh
ExecReload=-/bin/sh {state}/boot.sh
"""

# insserv(8) computes the order from these lines: rcS.d, before what brings interfaces up. What loads other
# rules (netfilter-persistent) comes later there and is not waited for: it wants the network first.
_LSB_HEADER = """\
### BEGIN INIT INFO
# Provides:          fwpolicy
# Required-Start:    $local_fs
# Required-Stop:
# Should-Start:      kmod procps
# X-Start-Before:    networking network
# Default-Start:     S
# Default-Stop:
# Short-Description: the firewall policy of this host
# Description:       Loads the rules that fwpolicy applied, before any interface is up.
### END INIT INFO
"""

# Where rcS has no links: iptables is 08 and network 10 there.
_CHKCONFIG_HEADER = """\
# chkconfig: 2345 09 91
# description: Loads the rules that fwpolicy applied, before any interface is up.
"""

# A start is a success where it has been done in this boot (LSB 5.0, 22.2), as for a unit that remains after
# exit; what takes an apply back may start it, and is itself run by boot.sh. The rules outlive a stop.
_SCRIPT = """\
#!/bin/sh
{header}# Written by fwpolicy.
PATH=/usr/sbin:/sbin:/usr/bin:/bin
export PATH
if [ -d /run ]; then done=/run/fwpolicy.loaded; else done=/var/run/fwpolicy.loaded; fi

load() {{
    /bin/sh {state}/boot.sh && : > "$done"
}}

case "${{1-}}" in
start)
    [ -e "$done" ] || load
    ;;
restart | reload | force-reload)
    load
    ;;
stop)
    rm -f "$done"
    ;;
status)
    if [ -e "$done" ]; then echo "fwpolicy has loaded its rules"; else echo "fwpolicy has not run"; exit 3; fi
    ;;
*)
    echo "usage: $0 {{start|stop|restart|reload|force-reload|status}}" >&2
    exit 2
    ;;
esac
"""

# openrc-run(8) keeps by itself whether it was started. Alpine's names and Debian's, none of them needed; its
# own rules: iptables, ip6tables, nftables.
_OPENRC = """\
#!/sbin/openrc-run
# Written by fwpolicy.
description="the firewall policy of this host"

depend() {{
    after localmount mountall.sh modules kmod sysctl procps iptables ip6tables nftables
    before net networking
}}

start() {{
    ebegin "Loading the firewall policy"
    /bin/sh {state}/boot.sh
    eend $?
}}

stop() {{
    # The rules stay.
    return 0
}}
"""


def _systemd(state: str) -> tuple[Artifact, ...]:
    unit = Artifact(UNIT_PATH, _UNIT.format(state=state), 0o644)
    return (unit, Artifact(DROP_IN_PATH, _DROP_IN.format(state=state), 0o644))


def _lsb(state: str) -> tuple[Artifact, ...]:
    return (Artifact(SCRIPT_PATH, _SCRIPT.format(state=state, header=_LSB_HEADER), 0o755),)


def _chkconfig(state: str) -> tuple[Artifact, ...]:
    return (Artifact(SCRIPT_PATH, _SCRIPT.format(state=state, header=_CHKCONFIG_HEADER), 0o755),)


def _openrc(state: str) -> tuple[Artifact, ...]:
    return (Artifact(SCRIPT_PATH, _OPENRC.format(state=state), 0o755),)


# By what a service manager calls its init; each takes the state directory.
STARTERS: Mapping[str, Callable[[str], tuple[Artifact, ...]]] = {
    "systemd": _systemd,
    "sysv": _lsb,
    "chkconfig": _chkconfig,
    "openrc": _openrc,
}


def is_starter(path: str) -> bool:
    """Is a file there ours alone, and nobody's to edit?"""
    return path.startswith(BOOT_FOLDER) or path == SCRIPT_PATH


def starter(files: tuple[Artifact, ...]) -> str:
    """The name of what `files` put into the boot."""
    return SCRIPT_PATH if any(each.name == SCRIPT_PATH for each in files) else UNIT
