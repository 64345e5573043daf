"""Rules across reboots: a boot unit before the network, and a shell script that needs no Python."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.backends.nft.purged import TABLE as PURGED
from fwpolicy.deploy.drift import drift_files
from fwpolicy.deploy.journal import marker

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
root="${{FWPOLICY_ROOT-}}"
state="$root{state}"
first=current
# An apply that was not done, or not confirmed. In the same boot it is (nftables.service loads its own).
if [ -f "$state/undoing/undo.sh" ]; then sh "$state/undoing/undo.sh" boot; fi
if [ -f "$state/journal/undo.sh" ]; then
    began=$(cat "$state/journal/boot")
    now=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    if [ -d "$root/run" ] && ! cmp -s "$root{marker}" "$state/journal/id"; then now=another; fi
    if [ "$began" = "$now" ]; then
        first=running
    else
        sh "$state/journal/undo.sh" boot
    fi
fi
rm -f "$state/opened"
[ -e "$state/$first" ] || [ -e "$state/previous" ] || exit 0
for ruleset in $first/ruleset.nft previous/ruleset.nft{last}; do
    [ -f "$state/$ruleset" ] || continue
    if nft -f "$state/$ruleset"; then
        if [ "$ruleset" = "$first/ruleset.nft" ]; then
            if [ $first = current ]; then ln -sfn "$(readlink "$state/current")" "$state/running"; fi
            exit 0
        fi
        echo "fwpolicy: the current ruleset was refused; loaded $ruleset instead" >&2
        exit 1
    fi
done
echo "fwpolicy: no ruleset could be loaded; the host is open" >&2
exit 1
"""

# Without Python, for who is locked out of everything but a console.
_OPEN = """\
#!/bin/sh
# Written by fwpolicy. `open.sh [SECONDS]`: our rules out of the way now, for so long or until the next boot.
# `open.sh close`: they are back.
root="${{FWPOLICY_ROOT-}}"
state="$root{state}"
PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
case "${{1-}}" in
close)
    nft -f "$state/running/ruleset.nft" && rm -f "$state/opened"
    exit
    ;;
*[!0-9]*)
    echo "usage: open.sh [SECONDS | close]" >&2
    exit 64
    ;;
esac
for table in fwpolicy {purged}; do
    printf 'table inet %s\\ndelete table inet %s\\n' $table $table | nft -f - || exit 1
done
date -u +%Y-%m-%dT%H:%M:%SZ > "$state/opened"
[ -n "${{1-}}" ] || exit 0
timer="--quiet --collect --unit=fwpolicy-close --timer-property=AccuracySec=100ms"
systemd-run $timer --on-active="$1" -- /bin/sh "$state/open.sh" close 2>/dev/null && exit
(trap "" HUP INT TERM; sleep "$1"; exec /bin/sh "$state/open.sh" close) </dev/null >/dev/null 2>&1 &
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


def fallback(mode: str) -> str:
    """What is loaded where neither ruleset could be; `mode` is fallback_mode()'s, and not "open"."""
    return _FALLBACK.format(accepts=_SSH_ONLY if mode == "ssh-only" else "")


def opener(state_dir: str) -> Artifact:
    """The script for who is locked out of everything but a console; it needs no Python."""
    return Artifact(f"{state_dir}/open.sh", _OPEN.format(state=state_dir, purged=PURGED), 0o700)


def boot_files(policy: Policy, state_dir: str) -> tuple[Artifact, ...]:
    """The files that load the rules at boot, by absolute path; all of root's, none writable by others."""
    mode = fallback_mode(policy)
    files = [
        Artifact(
            f"{state_dir}/boot.sh",
            _SCRIPT.format(
                state=state_dir,
                marker=marker(state_dir),
                fallback=mode,
                last="" if mode == "open" else " fallback.nft",
            ),
            0o700,
        ),
        Artifact(UNIT_PATH, _UNIT.format(state=state_dir), 0o644),
        Artifact(DROP_IN_PATH, _DROP_IN.format(state=state_dir), 0o644),
    ]
    if mode != "open":
        files.append(Artifact(f"{state_dir}/fallback.nft", fallback(mode), 0o600))
    return (*files, *drift_files(policy.apply.drift, state_dir, BOOT_FOLDER))
