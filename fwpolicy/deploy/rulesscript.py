"""Rules of iptables without Python: what the boot, undo.sh and open.sh run.

iptables-restore replaces a whole table or adds to it; what changes ours beside others' rules is made by awk
from what iptables-save prints, as backends/iptables/reload.py makes it (tests/kernel/test_rulesscript.py).
"""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.deploy.script.pieces import piece

NAME = "rules.sh"

_SCRIPT = r"""#!/bin/sh
# Written by fwpolicy. Rules of ours in iptables and ip6tables; what is others' stays as it is.
# rules.sh load BASE         those of BASE.v4 and BASE.v6, after sets.ipset beside them; both or neither
# rules.sh put-back FOLDER   as FOLDER/rules.v4 and rules.v6 have them; sets that FOLDER/sets does not name go
# rules.sh take-out          none; sets stay, with what they hold
# rules.sh changes | ours   for tests: of a text, "#-- there --" and what was saved; of what was saved
PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
LC_ALL=C
export PATH LC_ALL

program='@AWK@'

# TEXT SAVED: what iptables-restore --noflush is given to make of one the other, a transaction a table.
changes() {
    printf '%s\n#-- there --\n%s\n' "$1" "$2" | awk -v text=/dev/fd/0 "$program"
}

# SAVED: the part that is ours, as a text.
ours() {
    printf '%s\n' "$1" | awk -v mode=ours "$program"
}

# COMMAND TEXT
restore() {
    there=$("$1-save") || return 1
    wanted=$(changes "$2" "$there") || return 1
    [ -n "$wanted" ] || return 0
    printf '%s\n' "$wanted" | "$1-restore" --noflush $waits
}

# TEXT4 TEXT6: as it was, of both families as much as goes.
back() {
    failed=0
    restore iptables "$1" || failed=1
    restore ip6tables "$2" || failed=1
    return "$failed"
}

sets() {
    command -v ipset >/dev/null 2>&1 || return 0
    ipset list -name | awk 'substr($0, 1, 4) == "fwp-"'
}

# NAMES: sets of ours that are not among them go. The kernel lets go of a rule's set a while after the rule.
forget_sets() {
    left=0
    for name in $(sets); do
        case "
$1
" in
        *"
$name
"*) continue ;;
        esac
        for wait in 0 1 1 stop; do
            ipset destroy "$name" 2>/dev/null && break
            if [ "$wait" = stop ]; then
                echo "fwpolicy: ipset $name is still in use" >&2
                left=1
            else
                sleep "$wait"
            fi
        done
    done
    return "$left"
}

# TEXT: a table that was cut would be closed by awk, and rules at its end be missing.
whole() {
    case "$1" in
    *"
COMMIT" | *"
# No rule of ours for this family.") return 0 ;;
    esac
    echo "fwpolicy: rules of $base are cut short, and not loaded" >&2
    return 1
}

load() {
    base=$1
    text4=$(cat "$1.v4") && text6=$(cat "$1.v6") || return 1
    whole "$text4" && whole "$text6" || return 1
    there4=$(iptables-save) && there6=$(ip6tables-save) || return 1
    names=$(sets) || return 1
    if [ ! -f "${1%/*}/sets.ipset" ] || ipset restore <"${1%/*}/sets.ipset"; then
        restore iptables "$text4" && restore ip6tables "$text6" && return
    fi
    back "$(ours "$there4")" "$(ours "$there6")"
    forget_sets "$names"
    return 1
}

put_back() {
    text4=$(cat "$1/rules.v4") && text6=$(cat "$1/rules.v6") && names=$(cat "$1/sets") || return 1
    back "$text4" "$text6" && forget_sets "$names"
}

# Since 1.6.2 iptables-restore waits for the lock.
waits=$(iptables --version 2>/dev/null | awk '{
    if (!match($0, /v[0-9]+\.[0-9]+(\.[0-9]+)?/)) next
    split(substr($0, RSTART + 1, RLENGTH - 1), version, ".")
    if (version[1] * 10000 + version[2] * 100 + version[3] >= 10602) print "-w @PATIENCE@"
}')

case "${1-}" in
load) load "$2" ;;
put-back) put_back "$2" ;;
take-out) back "" "" ;;
changes) awk -v text=/dev/fd/0 "$program" ;;
ours) ours "$(cat)" ;;
*)
    echo "usage: rules.sh load BASE | put-back FOLDER | take-out" >&2
    exit 64
    ;;
esac
"""


def loader(state_dir: str) -> Artifact:
    """The script, which needs sh and awk."""
    lines = piece("reload.awk").splitlines(keepends=True)
    # Its comments have quotes, which would end the shell's.
    program = "".join(line for line in lines if line.lstrip()[:1] != "#")
    text = _SCRIPT.replace("@AWK@", program).replace("@PATIENCE@", "20")
    return Artifact(f"{state_dir}/{NAME}", text, 0o700)
