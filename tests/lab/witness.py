"""Who looks at a boot from inside: what was loaded when the network's interface was still down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwpolicy.record import record

if TYPE_CHECKING:
    from .hosts import Host

_SCRIPT = "/etc/lab-witness"
_SAID = "/run/witness"
# Without nft, or without iptables, there is nothing of theirs to see.
_LOOK = """\
#!/bin/sh
[ ! -e {said} ] || exit 0
{{ ip -brief link show {interface}; nft list tables; iptables-save; ip6tables-save; }} >{said} 2>/dev/null
exit 0
"""
# ifup(8) runs it for each interface and each family; the first time ours is still down.
_HOOK = "/etc/network/if-pre-up.d/witness"
_FROM_HOOK = '#!/bin/sh\n[ "$IFACE" != {interface} ] || exec sh {script}\n'
_UNIT = "/etc/systemd/system/witness.service"
_UNIT_TEXT = f"""\
[Unit]
DefaultDependencies=no
After=network-pre.target
Before=networking.service
[Service]
Type=oneshot
ExecStart=/bin/sh {_SCRIPT}
[Install]
WantedBy=sysinit.target
"""


@record
class Seen:
    """`down`: the interface was not up yet; `families`: for how many IP families rules of ours were there."""

    down: bool
    families: int

    @property
    def in_time(self) -> bool:
        """Was everything there before the first packet?"""
        return self.down and self.families == 2


def install(host: Host, interface: str = "host0") -> None:
    """Have the next boots of `host` looked at; it may be off."""
    host.write(_SCRIPT, _LOOK.format(said=_SAID, interface=interface), 0o755)
    if host.sysv:
        host.write(_HOOK, _FROM_HOOK.format(interface=interface, script=_SCRIPT), 0o755)
        return
    host.write(_UNIT, _UNIT_TEXT)
    host.run("systemctl", "enable", "witness")


def seen(host: Host) -> Seen:
    """What was there at this boot, of whatever loads our rules."""
    return read(host.read(_SAID))


def read(said: str) -> Seen:
    """The same from what the script has written."""
    link, _, rules = said.partition("\n")
    nft = 2 if "table inet fwpolicy" in rules.splitlines() else 0
    return Seen(" DOWN " in link, nft or rules.count(":FWPOLICY-INPUT "))
