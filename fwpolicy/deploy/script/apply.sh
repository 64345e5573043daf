# apply: all of it or nothing, and nothing before it is known that the host can do it.

apply_usage() {
    complain "usage: apply [--confirm SECONDS | --no-confirm] [--no-daemon] [--no-persist] [--without-u32] [--without-ipv6]"
    exit 64
}

apply_options() {
    wait=$(of "$here/confirm") persist=1 daemon=1 without_u32=0 without_ipv6=0
    while [ $# -gt 0 ]; do
        case "$1" in
        --no-confirm) wait=0 ;;
        --confirm)
            shift
            is_number "${1-}" || apply_usage
            wait="$1"
            ;;
        --no-daemon) daemon=0 ;;
        --no-persist) persist=0 ;;
        --without-u32) without_u32=1 ;;
        --without-ipv6) without_ipv6=1 ;;
        *) apply_usage ;;
        esac
        shift
    done
}

# Everything that can be refused. Changes nothing.
apply_checks() {
    for program in awk cksum cmp grep readlink sed sort tail tr; do
        have $program || refuse "there is no $program on this host"
    done
    if [ -h "$root/var/lib/fwpolicy/running" ] || [ -h "$root/var/lib/fwpolicy/current" ]; then
        refuse "fwpolicy itself has applied a policy here: first fwpolicy remove"
    fi
    if [ -d "$state/current" ] && [ "$(of "$state/current/backend")" != "$backend" ]; then
        refuse "a policy is applied here with $(of "$state/current/backend"): first undo it"
    fi
    if [ "$without_u32" = 1 ] && [ -f "$here/plain.v4" ]; then
        for family in 4 6; do mv -f "$here/plain.v$family" "$here/rules.v$family"; done
    fi
    "${backend}_check" "$here"
    config=$(of "$here/config")
    if [ -s "$here/clocks" ] && [ "$daemon" = 1 ] && [ "$config" != leave ]; then
        clock_find
        clock_plan
    fi
    if [ "$persist" = 1 ]; then plan_boot; fi
}

plan_boot() {
    if [ $init = none ]; then refuse "no init system is known here that could load rules at boot: --no-persist does without"; fi
    if [ $init = rclocal ]; then
        make_rc_local "$here"
        say "rc.local loads the rules at boot, after the network: nothing here can do it before"
    fi
    boot_files | while IFS="$tab" read -r path template access; do
        cmp -s "$path" "$here/$template" || printf '%s\t%s\t%s\n' "$path" "$template" "$access" >> "$here/changes"
    done
}

# The way back, whole and durable.
apply_journal() {
    journal="$state/pending.new"
    rm -rf "$journal" "$state/tool.new" "$state/undone"
    mkdir -m 700 "$journal" "$journal/new" "$state/tool.new" && mkdir -m 700 -p "$state/original" || return 1
    "${backend}_remember" "$journal" || return 1
    while IFS="$tab" read -r path new access; do
        keep "$journal" "$path" && keep "$state/original" "$path" || return 1
    done < "$here/changes"
    while read -r unit active; do
        keep_unit "$journal" "$unit" "$active" && keep_unit "$state/original" "$unit" "$active" || return 1
    done < "$here/offs"
    : >> "$state/original/restarts"
    sort -u "$here/restarts" "$state/original/restarts" > "$work/restarts" || return 1
    cat "$work/restarts" > "$state/original/restarts"
    sort -u "$here/restarts" > "$journal/restarts"
    for part in name digest backend dynamic role conntrack rules.nft rules.ipset rules.v4 rules.v6 \
        fallback.nft fallback.v4 fallback.v6; do
        if [ -f "$here/$part" ]; then cp "$here/$part" "$journal/new/$part" || return 1; fi
    done
    if [ "$persist" = 1 ]; then : > "$journal/new/persist"; fi
    if [ -f "$state/current/persist" ]; then : > "$journal/was_on"; fi
    cp "$here"/*.sh "$here"/*.awk "$state/tool.new/" || return 1
    echo "$$-$(seconds)-$(date +%s)" > "$journal/id"
    boot_now > "$journal/boot"
    echo "$me" > "$journal/pid"
    echo "${SSH_CONNECTION-}" > "$journal/connection"
    sync
    rm -rf "$state/tool"
    mv "$state/tool.new" "$state/tool" || return 1
    if [ -d "$root/run" ]; then cp "$journal/id" "$marker"; fi
    mv "$journal" "$state/pending" || return 1
    sync
}

apply_steps() {
    pending="$state/pending"
    while IFS="$tab" read -r path new access; do
        cp "$here/$new" "$pending/ours.$(number_of "$path")"
        overwrite "$path" "$here/$new" "$access" || return 1
    done < "$here/changes"
    if [ "$persist" = 1 ] && [ ! -f "$pending/was_on" ]; then
        boot_on || { complain "the boot does not take us up"; return 1; }
    fi
    "${backend}_load" "$pending/new" || return 1
    rm -f "$state/opened"
    "${backend}_listing" > "$pending/new/listing"
    apply_written > "$pending/new/written"
    while read -r unit active; do
        unit_off "$unit" || { complain "$unit could not be stopped and disabled"; return 1; }
        say "$unit: stopped, and out of the boot"
    done < "$here/offs"
    purge_flows
    while read -r unit; do
        unit_restart "$unit" || { complain "$unit could not be restarted"; return 1; }
        say "$unit: restarted"
    done < "$pending/restarts"
}

# Checksum, size and path of every file that we have a hand in, for status.
apply_written() {
    if [ ! -f "$state/original/files" ]; then return 0; fi
    while read -r number there path; do
        if [ -f "$path" ]; then echo "$(cksum < "$path") $path"; fi
    done < "$state/original/files"
}

# PATH: its number in the journal.
number_of() {
    sed -n 's/^\([0-9]*\) [01] /\1 /p' "$pending/files" | while read -r number path_there; do
        if [ "$path_there" = "$1" ]; then echo "$number"; fi
    done
}

apply() {
    apply_options "$@"
    : > "$here/changes"
    : > "$here/offs"
    : > "$here/restarts"
    settle
    backend=$(of "$here/backend")
    if [ -d "$state/pending" ]; then
        refuse "'$(of "$state/pending/new/name")' waits to be confirmed, $(left) s more; first: confirm, or rollback"
    fi
    apply_checks
    apply_journal || refuse "the way back could not be written down in $state: nothing was changed"
    later watch "$(of "$state/pending/id")"
    if ! apply_steps; then
        take_back "a step failed"
        exit 1
    fi
    if [ "$wait" = 0 ]; then
        count_it || exit 1
        say "applied '$(of "$state/current/name")' ($backend)"
        return
    fi
    echo $(($(seconds) + wait)) > "$state/pending/deadline.new"
    mv "$state/pending/deadline.new" "$state/pending/deadline"
    say "applied '$(of "$state/pending/new/name")' ($backend); taken back in $wait s unless confirmed from a new connection:"
    say "  sh $state/tool/tool.sh confirm"
}

left() {
    echo $(($(of "$state/pending/deadline") - $(seconds)))
}
