#!/bin/sh
# Written by fwpolicy: applies, confirms, takes back, opens and undoes. `sh tool.sh VERB`, as root.
umask 077
LC_ALL=C
PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
export LC_ALL PATH
root="${FWPOLICY_ROOT-}"
state="$root/var/lib/fwpolicy-script"
here="${0%/*}"
marker="$root/run/fwpolicy-script.applying"

# Never fails: who reads may have gone with the connection.
say() {
    printf 'fwpolicy: %s\n' "$*" 2>/dev/null || :
}

complain() {
    printf 'fwpolicy: %s\n' "$*" >&2 2>/dev/null || :
}

refuse() {
    complain "$@"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# The content of a file of ours, "" if there is none.
of() {
    if [ -f "$1" ]; then cat "$1"; fi
}

# The program that a daemon or an init script is given nothing of ours to hold.
quietly() {
    "$@" </dev/null >/dev/null 2>&1
}

is_number() {
    case "$1" in
    '' | *[!0-9]* | ????????*) return 1 ;;
    esac
}

boot_now() {
    of /proc/sys/kernel/random/boot_id
}

seconds() {
    awk '{ print int($1) }' /proc/uptime
}

# The folder for what is in between.
make_work() {
    work="$state/work.$$"
    rm -rf "$work"
    mkdir -m 700 "$work" || refuse "cannot write to $state"
}

awk_of() {
    awk_program="$1"
    shift
    awk -f "$here/$awk_program" "$@"
}
