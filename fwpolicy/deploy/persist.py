"""Rules across reboots: what the host's init system starts, and a shell script that needs no Python."""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.backends.nft.purged import TABLE as PURGED
from fwpolicy.deploy.drift import PACKAGED, drift_files
from fwpolicy.deploy.journal import marker
from fwpolicy.deploy.starters import BOOT_FOLDER, STARTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.policy.model import Policy

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
# A link that leads nowhere is a generation that was lost, and not none.
for link in $first previous; do
    if [ -e "$state/$link" ] || [ -h "$state/$link" ]; then remembered=yes; fi
done
[ "${{remembered-}}" = yes ] || exit 0
# nft takes a text that is empty, or was cut after its first lines, and loads nothing.
load() {{
    case "$1" in
    *.v4) sh "$state/rules.sh" load "$state/${{1%.v4}}" ;;
    *) nft -f "$state/$1" && nft list tables | grep -q '^table inet fwpolicy$' ;;
    esac
}}
for ruleset in $first/ruleset.nft $first/rules.v4 previous/ruleset.nft previous/rules.v4{last}; do
    [ -f "$state/$ruleset" ] || continue
    if load "$ruleset"; then
        if [ "${{ruleset%/*}}" = "$first" ]; then
            if [ $first = current ]; then ln -sfn "$(readlink "$state/current")" "$state/running"; fi
            exit 0
        fi
        echo "fwpolicy: the current ruleset is lost, damaged or refused; loaded $ruleset instead" >&2
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
# `open.sh close [OPENING]`: they are back; with an OPENING, only if none came after it.
root="${{FWPOLICY_ROOT-}}"
state="$root{state}"
PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
case "${{1-}}" in
close)
    if [ -n "${{2-}}" ] && [ "$2" != "$(cat "$state/opened" 2>/dev/null)" ]; then exit 0; fi
    if [ -f "$state/running/rules.v4" ]; then
        sh "$state/rules.sh" load "$state/running/rules" || exit
    else
        nft -f "$state/running/ruleset.nft" || exit
        if ! nft list tables | grep -q '^table inet fwpolicy$'; then
            echo "fwpolicy: $state/running/ruleset.nft is damaged, and the host still open: apply again" >&2
            exit 1
        fi
    fi
    rm -f "$state/opened"
    exit
    ;;
*[!0-9]*)
    echo "usage: open.sh [SECONDS | close]" >&2
    exit 64
    ;;
esac
tables="fwpolicy {purged}"
if [ -f "$state/running/rules.v4" ]; then
    sh "$state/rules.sh" take-out || exit 1
    tables={purged}
    command -v nft >/dev/null || tables=
fi
for table in $tables; do
    printf 'table inet %s\\ndelete table inet %s\\n' $table $table | nft -f - || exit 1
done
opening="$(date -u +%Y-%m-%dT%H:%M:%SZ) $$"
echo "$opening" > "$state/opened"
if [ -f "$state/journal/waits" ]; then
    echo "fwpolicy: when what waits to be confirmed is taken back, the rules before it come back" >&2
fi
systemctl stop fwpolicy-close.timer 2>/dev/null
[ -n "${{1-}}" ] || exit 0
timer="--quiet --collect --unit=fwpolicy-close --timer-property=AccuracySec=100ms"
systemd-run $timer --on-active="$1" -- /bin/sh "$state/open.sh" close "$opening" 2>/dev/null && exit
exec </dev/null >/dev/null 2>&1
(trap "" HUP INT TERM; sleep "$1"; exec /bin/sh "$state/open.sh" close "$opening") &
"""

# Bare on purpose: no set, no mode match, nothing that an old kernel could lack. By its name, which need not
# be there to load, as it must for the `iif "lo"` of what was refused before this.
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


# The same for iptables; others' rules are beside it, so what is let in returns to them.
_FALLBACK_XT = """\
*filter
:FWPOLICY-INPUT - [0:0]
-A FWPOLICY-INPUT -i lo -j RETURN
{accepts}-A FWPOLICY-INPUT -j DROP
-I INPUT 1 -j FWPOLICY-INPUT
COMMIT
"""
_SSH_ONLY_XT = """\
-A FWPOLICY-INPUT {state} ESTABLISHED,RELATED -j RETURN
-A FWPOLICY-INPUT -p {icmp} -j RETURN
-A FWPOLICY-INPUT -p tcp -m tcp --dport 22 -j RETURN
"""


def fallback_texts(policy: Policy, state: str = "-m conntrack --ctstate") -> tuple[tuple[str, str], ...]:
    """What iptables falls back on, by file name; `state`: how it asks for a connection's."""
    mode = fallback_mode(policy)
    if mode == "open":
        return ()
    accepts = _SSH_ONLY_XT if mode == "ssh-only" else ""
    return tuple(
        (f"fallback.{name}", _FALLBACK_XT.format(accepts=accepts.format(icmp=icmp, state=state)))
        for name, icmp in (("v4", "icmp"), ("v6", "ipv6-icmp"))
    )


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


def boot_files(
    policy: Policy, state_dir: str, init: str = "systemd", program: str = PACKAGED
) -> tuple[Artifact, ...]:
    """The files that load the rules at boot, by absolute path; all of root's, none writable by others.
    `init` is one of STARTERS; `program` is the fwpolicy that a timer runs."""
    mode = fallback_mode(policy)
    files = [
        Artifact(
            f"{state_dir}/boot.sh",
            _SCRIPT.format(
                state=state_dir,
                marker=marker(state_dir),
                fallback=mode,
                last="" if mode == "open" else " fallback.nft fallback.v4",
            ),
            0o700,
        ),
        *STARTERS[init](state_dir),
    ]
    if mode != "open":
        files.append(Artifact(f"{state_dir}/fallback.nft", fallback(mode), 0o600))
    if init == "systemd":
        files += drift_files(policy.apply.drift, state_dir, BOOT_FOLDER, program)
    return tuple(files)
