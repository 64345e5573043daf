# Time daemons: which are in use here, what must change in their files, and connections that go on.

tab=$(printf '\t')

# PROGRAM KIND: is it one of that kind? Its version in $version, in words.
clock_is() {
    version=
    case $2 in
    timesyncd) return 0 ;;
    esac
    said=$("$1" --version 2>&1 </dev/null)
    case "$2:$said" in
    ntpsec:*ntpsec-*) return 0 ;;
    ntpd:*ntpsec-*) return 1 ;;
    ntpd:*ntpd*[0-9].[0-9]*)
        version=$(printf '%s\n' "$said" | sed -n 's/.*ntpd \(- .* Ver\. \)\{0,1\}\([0-9][0-9.]*\)\(p\([0-9]*\)\)\{0,1\}.*/\2 \4/p' |
            sed -n '1s/\./ /gp')
        return 0
        ;;
    chrony:*"chronyd (chrony) version"*) return 0 ;;
    openntpd:*usage:*"[-f file]"*) return 0 ;;
    esac
    return 1
}

# The process that runs the program, not one that it has forked; "" for none.
clock_pid() {
    real=$(readlink -f "$1")
    for process in /proc/[0-9]*; do
        exe=$(readlink "$process/exe" 2>/dev/null)
        case "$exe" in
        "$real" | "$real (deleted)") ;;
        *) continue ;;
        esac
        parent=$(awk '$1 == "PPid:" { print $2 }' "$process/status" 2>/dev/null)
        if [ "$(readlink "/proc/$parent/exe" 2>/dev/null)" = "$exe" ]; then continue; fi
        echo "${process#/proc/}"
        return
    done
}

# Each daemon in use as a line of $work/clocks: KIND PROGRAM PID UNIT MAIN COPY VERSION, tab-separated, - for none.
clock_find() {
    : > "$work/clocks"
    while IFS="$tab" read -r kind programs mains units copies letter takes long check; do
        for program in $programs; do
            if [ ! -x "$root$program" ]; then continue; fi
            if exposed "$(readlink -f "$root$program")"; then
                refuse "$program is not started: others than root can change it (--no-daemon leaves daemons alone)"
            fi
            if clock_is "$root$program" "$kind"; then
                clock_found
                break
            fi
        done
    done < "$here/clocks"
}

clock_found() {
    pid=$(clock_pid "$root$program")
    # shellcheck disable=SC2086 # names
    unit=$(unit_of $units)
    if [ -z "$pid" ]; then
        if [ -z "$unit" ] || ! unit_enabled "$unit"; then return 0; fi
    fi
    main=
    if [ -n "$pid" ] && [ "$letter" != - ]; then
        if [ "$long" = - ]; then long=; fi
        main=$(tr '\000' '\n' < "/proc/$pid/cmdline" |
            awk_of option.awk -v letter="$letter" -v with="$takes" -v long="$long")
        case "$main" in '' | /*) ;; *) main="/$main" ;; esac
    fi
    if [ -z "$main" ]; then
        for main in $mains ''; do if [ -f "$root$main" ]; then break; fi; done
        if [ -z "$main" ]; then main="${mains%% *}"; fi
    fi
    copy=-
    for pair in $copies; do
        if [ "$main" = "${pair%%=*}" ]; then main="${pair#*=}"; fi
        if [ "$main" = "${pair#*=}" ] && [ -f "$root${pair%%=*}" ]; then copy="${pair%%=*}"; fi
    done
    case " $mains " in
    *" $main "*) ;;
    *) refuse "process $pid reads $main, which is not where $kind keeps its configuration: not ours to change (--no-daemon leaves daemons alone)" ;;
    esac
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$program" "${pid:--}" "${unit:--}" "$main" "$copy" \
        "${version:--}" "$check" >> "$work/clocks"
}

# MAIN: it and what it includes, in the daemon's order, into $work/list: where each is.
clock_list() {
    : > "$work/list"
    clock_collect "$1" 0
}

clock_collect() (
    place=$(readlink -f "$root$1")
    if [ ! -f "$place" ] || grep -qxF -e "$place" "$work/list"; then exit 0; fi
    if exposed "$place"; then
        complain "others than root can change $1: not ours to read and write (--no-daemon leaves daemons alone)"
        exit 1
    fi
    if ! tr -d '\000' < "$place" | cmp -s - "$place"; then
        complain "$1 is no text"
        exit 1
    fi
    echo "$place" >> "$work/list"
    if [ "$2" -ge 10 ]; then exit 0; fi
    {
        awk_of marked.awk -v mode=includes -v kind="$kind" -v folder="${1%/*}" -v ended=1 "$place"
        if [ "$kind" = ntpsec ] && [ "$2" = 0 ]; then echo "${1%/*}/ntp.d/*.conf"; fi
    } > "$work/groups.$2" || exit 1
    while IFS= read -r group; do
        clock_expand "$group" > "$work/expanded.$2"
        while IFS= read -r found; do clock_collect "$found" $(($2 + 1)) || exit 1; done < "$work/expanded.$2"
    done < "$work/groups.$2"
)

# Patterns, tab-separated. Of several a file name counts where it is found first.
clock_expand() (
    case "$1" in
    *"$tab"*) several=1 ;;
    *) several=0 ;;
    esac
    set -f
    IFS="$tab"
    # shellcheck disable=SC2086 # patterns
    set -- $1
    set +f
    IFS=
    for pattern in "$@"; do
        # shellcheck disable=SC2086 # a pattern
        for found in "$root"$pattern; do
            if [ -f "$found" ]; then printf '%s\n' "${found#"$root"}"; fi
        done
    done | if [ $several = 1 ]; then
        awk -F/ '!($NF in seen) { seen[$NF] = 1; print $NF "\t" $0 }' | sort | cut -f2-
    else
        cat
    fi
)

# FILE: 0 where its last line has no end.
ended() {
    if [ -s "$1" ] && [ -n "$(tail -c 1 "$1")" ]; then echo 0; else echo 1; fi
}

# What must change for each, as lines of $here/changes: PATH, a tab, the new text, a tab, a mode. Changes nothing.
clock_plan() {
    role=$(of "$here/role")
    while IFS="$tab" read -r kind program pid unit main copy version check; do
        if [ "$unit" = - ]; then unit=; fi
        if [ "$pid" = - ]; then pid=; fi
        if [ "$version" = - ]; then version=; fi
        if [ "$role" = closed ]; then
            clock_plan_off
        elif [ "$kind" = timesyncd ]; then
            if [ "$role" = server ]; then refuse "systemd-timesyncd cannot serve time: mode 'server' needs another daemon"; fi
            say "systemd-timesyncd: already client-only, it cannot serve"
        else
            clock_plan_text "$main"
            if [ "$copy" != - ]; then clock_plan_text "$copy"; fi
            clock_plan_restart
        fi
    done < "$work/clocks"
    if [ ! -s "$work/clocks" ]; then say "no time daemon is in use here: the packet filter alone does the work"; fi
}

clock_plan_off() {
    if [ -z "$unit" ]; then
        say "$kind: process $pid is no service of the init system; stop it where it was started"
        return
    fi
    if [ "$config" = verify ]; then refuse "daemon-config: verify: $unit runs or may be started, and the role says closed"; fi
    echo "$unit $([ -n "$pid" ] && echo 1 || echo 0)" >> "$here/offs"
}

# MAIN
clock_plan_text() {
    clock_list "$1" || exit 1
    : > "$work/facts"
    nts=$(of "$here/nts")
    while IFS= read -r place; do
        awk_of marked.awk -v mode=facts -v kind="$kind" -v role="$role" -v nts="$nts" -v ended=1 "$place" || exit 1
    done < "$work/list" > "$work/facts"
    awk_of block.awk -v facts="$work/facts" -v kind="$kind" -v version="$version" "$here/blocks" > "$work/block" || exit 1
    clock_notes
    main_place=$(readlink -f "$root$1" || echo "$root$1")
    if [ ! -e "$main_place" ] && [ -s "$work/block" ]; then echo "$main_place" >> "$work/list"; fi
    while IFS= read -r place; do clock_rewrite "$place"; done < "$work/list"
}

clock_rewrite() {
    is_main=0
    if [ "$1" = "$main_place" ]; then is_main=1; fi
    old="$1"
    if [ ! -e "$old" ]; then old=/dev/null; fi
    number=$(($(awk 'END { print NR }' "$here/changes") + 0))
    awk_of marked.awk -v mode=rewrite -v kind="$kind" -v role="$role" -v nts="$nts" -v main=$is_main \
        -v block="$work/block" -v ended="$(ended "$old")" "$old" > "$here/after.$number" || exit 1
    if cmp -s "$old" "$here/after.$number"; then return 0; fi
    if [ "$config" = verify ]; then refuse "daemon-config: verify: $1 does not say what the role needs"; fi
    if [ $is_main = 1 ]; then clock_check "$here/after.$number"; fi
    printf '%s\t%s\t644\n' "$1" "after.$number" >> "$here/changes"
}

# FILE: the daemon's own check of its syntax, where it has one that takes what is there now.
clock_check() {
    if [ "$check" = - ]; then return 0; fi
    # shellcheck disable=SC2086 # options
    quietly "$root$program" $check "$main_place" || return 0
    # shellcheck disable=SC2086
    quietly "$root$program" $check "$1" || refuse "$kind would refuse its new configuration"
}

clock_notes() {
    if [ "$kind" != ntpd ]; then return 0; fi
    case "$(awk_of block.awk -v show=1 -v facts="$work/facts" -v kind="$kind" -v version="$version" /dev/null)" in
    ntpd.names)
        say "ntpd 4.2.6 with servers given by name can't be closed by its configuration: it answers time"
        say "  requests of anybody, and only the packet filter stops that"
        ;;
    ntpd.pool) say "pool line: when the entry of a server expires, only the packet filter stops a stranger's next packet" ;;
    esac
}

clock_plan_restart() {
    if [ -z "$pid" ]; then return 0; fi
    if [ -z "$unit" ]; then
        say "$kind: process $pid was started by hand: restart it yourself"
    elif [ -s "$here/changes" ] || [ ! -d "$state/current" ]; then
        echo "$unit" >> "$here/restarts"
    fi
}

# Flows of the time service from before the rules: a query that has been let in once goes on being so.
purge_flows() {
    if [ "$(of "$here/conntrack")" = keep ] || [ -z "$(of "$here/role")" ]; then return 0; fi
    if ! have conntrack; then
        if [ -e /proc/net/nf_conntrack ] || [ -e /proc/net/ip_conntrack ] || [ -d /proc/sys/net/netfilter ]; then
            say "there is no conntrack tool: connection tracking entries of port 123 from before live on until"
            say "  nobody has used them for two minutes"
        fi
        return 0
    fi
    for family in ipv4 ipv6; do
        for way in --orig-port-dst --orig-port-src; do quietly conntrack -D -f $family -p udp $way 123; done
    done
    say "connection tracking entries of port 123 deleted"
}
