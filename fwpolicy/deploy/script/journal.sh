# An apply under way, or one that waits to be confirmed: $state/pending, complete before the first step.
#   id boot pid connection deadline   new/ (what will count)   before.*, files, units, restarts (the way back)
# One rename decides: to `undoing`, or to `confirmed`; what is found begun is gone on with.

# What is found here that is not settled. Whoever calls holds the lock, so an apply without an end has died.
settle() {
    if [ -d "$state/confirmed" ]; then count_it; fi
    if [ -d "$state/undoing" ]; then
        take_back "an interrupted rollback" || exit 1
        return
    fi
    if [ ! -d "$state/pending" ]; then return 0; fi
    deadline=$(of "$state/pending/deadline")
    if [ -z "$deadline" ]; then
        take_back "the apply was interrupted" || exit 1
    elif [ "$(of "$state/pending/boot")" != "$(boot_now)" ]; then
        take_back "not confirmed before a reboot" || exit 1
    elif [ "$(seconds)" -ge "$deadline" ]; then
        take_back "not confirmed in time" || exit 1
    fi
}

# WHY: the host as it was before the apply; mode=live, or boot before there are services and rules.
take_back() {
    if [ -d "$state/pending" ]; then mv "$state/pending" "$state/undoing" || return 1; fi
    undoing="$state/undoing"
    backend=$(of "$undoing/new/backend")
    back_failed=0
    if ! [ -f "$undoing/was_on" ]; then boot_off; fi
    put_all_back "$undoing" || back_failed=1
    boot_reload
    if [ "$mode" = live ]; then "${backend}_back" "$undoing" || back_failed=1; fi
    units_back "$undoing"
    if [ "$mode" = live ]; then restart_all "$undoing/restarts"; fi
    rm -f "$marker"
    sync
    if [ "$back_failed" != 0 ]; then
        complain "could not be taken back whole ($1); the next command tries again"
        return 1
    fi
    complain "taken back: $1"
    forget
}

# What is taken back is forgotten; with the first apply, all of it.
forget() {
    mv "$state/undoing" "$state/undone" && rm -rf "$state/undone"
    if [ ! -d "$state/current" ]; then
        rm -rf "$state/original" "$state/tool" "$state/opened"
        sync
    fi
}

# What waits counts from now on.
count_it() {
    if [ -d "$state/pending" ]; then mv "$state/pending" "$state/confirmed" || return 1; fi
    if [ -d "$state/confirmed/new" ]; then
        rm -rf "$state/current"
        mv "$state/confirmed/new" "$state/current" || return 1
    fi
    rm -rf "$state/confirmed"
    rm -f "$marker"
    sync
    backend=$(of "$state/current/backend")
    if [ "$mode" = live ]; then "${backend}_tidy" "$state/current"; fi
}

restart_all() {
    if [ ! -f "$1" ]; then return 0; fi
    while read -r unit; do
        unit_restart "$unit" || complain "$unit could not be restarted"
    done < "$1"
}

# After SECONDS, whoever lives then: VERB ARGUMENT.
later() {
    if [ -z "$root" ] && [ "$init" = systemd ] && have systemd-run &&
        quietly systemd-run --unit="fwpolicy-script-$1-$$" /bin/sh "$state/tool/tool.sh" "$@"; then
        return 0
    fi
    set -- sh "$state/tool/tool.sh" "$@"
    if have setsid; then set -- setsid "$@"; fi
    # Nothing of the connection's is kept open, or it would not end.
    (trap '' HUP INT TERM; exec "$@" </dev/null >/dev/null 2>&1) &
}

# Nobody of this apply lives any more, or its time is over: taken back.
watch() {
    while [ "$(of "$state/pending/id")" = "$1" ]; do
        deadline=$(of "$state/pending/deadline")
        if [ -n "$deadline" ]; then
            if [ "$(seconds)" -ge "$deadline" ]; then break; fi
        elif is_gone "$(of "$state/pending/pid")"; then
            break
        fi
        sleep 1
    done
    if [ "$(of "$state/pending/id")" != "$1" ]; then exit 0; fi
    lock
    make_work
    if [ "$(of "$state/pending/id")" = "$1" ]; then settle; fi
}
