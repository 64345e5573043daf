"""Rules across reboots: a boot unit before the network, and a shell script that needs no Python."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.deploy.drift import drift_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Policy

UNIT = "fwpolicy.service"
BOOT_FOLDER = "/etc/systemd/system/"
UNIT_PATH = f"{BOOT_FOLDER}{UNIT}"

DROP_IN_PATH = f"{BOOT_FOLDER}nftables.service.d/fwpolicy.conf"

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

_SCRIPT = """\
#!/bin/sh
# Written by fwpolicy. Loads the ruleset in force; if the kernel refuses it, the one before, then
# the fallback of `apply: {{on-boot-failure: {fallback}}}`. Only the first is a success.
state='{state}'
for ruleset in current/ruleset.nft previous/ruleset.nft{last}; do
    [ -f "$state/$ruleset" ] || continue
    if nft -f "$state/$ruleset"; then
        if [ "$ruleset" = current/ruleset.nft ]; then
            ln -sfn "$(readlink "$state/current")" "$state/running"
            exit 0
        fi
        echo "fwpolicy: the current ruleset was refused; loaded $ruleset instead" >&2
        exit 1
    fi
done
echo "fwpolicy: no ruleset could be loaded; the host is open" >&2
exit 1
"""

# Bare on purpose: no set, no mode match, nothing that an old kernel could lack.
_FALLBACK = """\
table inet fwpolicy
delete table inet fwpolicy
table inet fwpolicy {{
\tchain input {{
\t\ttype filter hook input priority -10; policy drop;
\t\tiifname "lo" accept
{accepts}\t}}
}}
"""
_SSH_ONLY = """\
\t\tct state established,related accept
\t\tmeta l4proto icmp accept
\t\tmeta l4proto ipv6-icmp accept
\t\ttcp dport 22 accept
"""


def fallback_mode(policy: Policy) -> str:
    """What the boot falls back on. An overlay only ever closes its own ports, so its default is open:
    a web server must not vanish because an NTP filter did not load."""
    return policy.apply.on_boot_failure or ("open" if policy.is_overlay else "ssh-only")


def boot_files(policy: Policy, state_dir: str) -> tuple[Artifact, ...]:
    """The files that load the rules at boot, by absolute path; all of root's, none writable by others."""
    mode = fallback_mode(policy)
    files = [
        Artifact(
            f"{state_dir}/boot.sh",
            _SCRIPT.format(state=state_dir, fallback=mode, last="" if mode == "open" else " fallback.nft"),
            0o700,
        ),
        Artifact(UNIT_PATH, _UNIT.format(state=state_dir), 0o644),
        Artifact(DROP_IN_PATH, _DROP_IN.format(state=state_dir), 0o644),
    ]
    if mode != "open":
        text = _FALLBACK.format(accepts=_SSH_ONLY if mode == "ssh-only" else "")
        files.append(Artifact(f"{state_dir}/fallback.nft", text, 0o600))
    return (*files, *drift_files(policy.apply.drift, state_dir, BOOT_FOLDER))
