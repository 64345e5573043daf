"""`reload.restore` for hosts without Python, as a program for awk(1): gawk, mawk and busybox's.

    iptables-save | awk -f fwpolicy.awk phase=1 - phase=2 fwpolicy.rules.v4 | iptables-restore --noflush

What was counted is not counted on.
"""

from __future__ import annotations

from fwpolicy.artifact import Artifact
from fwpolicy.backends.iptables.names import CHAINS

FILE_NAME = "fwpolicy.awk"
_PROGRAM = r"""# From what iptables-save prints (phase 1) and the rules of fwpolicy (phase 2) to one text for
# iptables-restore --noflush: jumps and chains of an earlier load go when the new ones come, at once.
#   iptables-save | awk -f fwpolicy.awk phase=1 - phase=2 fwpolicy.rules.v4 | iptables-restore --noflush

function leads_to_us(rule) {
    gsub(/"([^"\\]|\\.)*"/, "\"\"", rule)
    return rule ~ / -[jg] @/
}

function gone(table,    names, count, i, flag) {
    count = split(old[table], names, " ")
    for (flag = 1; flag <= 2; flag++)
        for (i = 1; i <= count; i++)
            if (!((table, names[i]) in wanted)) print (flag == 1 ? "-F " : "-X ") names[i]
}

/^#/ { next }
phase == 1 {
    sub(/^\[[0-9]+:[0-9]+\] /, "")
    if (/^\*/) table = substr($1, 2)
    else if (/^:@/) old[table] = old[table] " " substr($1, 2)
    else if (/^-A / && $2 !~ /^@/ && leads_to_us($0)) jumps[table] = jumps[table] "-D" substr($0, 3) "\n"
    if (old[table] jumps[table] != "") ours[table] = 1
    next
}
/^\*/ { table = substr($1, 2); open = 1; delete ours[table]; print; printf "%s", jumps[table]; next }
/^:/ { wanted[table, substr($1, 2)] = 1; print; next }
open { gone(table); open = 0 }
{ print }
END {
    for (table in ours) {
        print "*" table
        printf "%s", jumps[table]
        gone(table)
        print "COMMIT"
    }
}
"""


def program() -> Artifact:
    """The program as a file."""
    return Artifact(FILE_NAME, _PROGRAM.replace("@", CHAINS))
