# What is asked of an apply afterwards.

confirm() {
    settle
    if [ ! -d "$state/pending" ]; then refuse "nothing waits to be confirmed"; fi
    from="${SSH_CONNECTION-}"
    if [ -n "$from" ] && [ "$from" = "$(of "$state/pending/connection")" ]; then
        refuse "this connection is older than the apply, and an established one proves nothing: confirm from a new one (ssh -S none)"
    fi
    count_it || exit 1
    say "confirmed '$(of "$state/current/name")'"
}

rollback() {
    settle
    if [ ! -d "$state/pending" ]; then refuse "nothing waits to be confirmed; undo takes everything back"; fi
    take_back "rollback" || exit 1
}

# What is in force, and for the next boot: the folder of its texts.
in_force() {
    if [ -d "$state/pending/new" ]; then echo "$state/pending/new"; elif [ -d "$state/current" ]; then echo "$state/current"; fi
}

status() {
    force=$(in_force)
    if [ -z "$force" ]; then
        say "nothing is applied here"
        exit 2
    fi
    backend=$(of "$force/backend")
    code=0
    say "'$(of "$force/name")' ($backend), $(of "$force/digest")"
    if [ -s "$state/pending/deadline" ]; then say "waits to be confirmed, $(left) s more"; fi
    "${backend}_listing" > "$work/listing"
    if cmp -s "$work/listing" "$force/listing"; then
        say "rules: as applied"
    else
        code=2
        if [ -f "$state/opened" ]; then
            say "rules: open since $(of "$state/opened")"
        elif [ ! -s "$work/listing" ]; then
            say "rules: gone"
        else
            say "rules: changed since"
            diff "$force/listing" "$work/listing" | sed -n 's/^[<>]/  &/p'
        fi
    fi
    "${backend}_ahead" > "$work/ahead"
    while IFS= read -r line; do say "before ours: $line"; done < "$work/ahead"
    if [ -f "$force/persist" ]; then say "boot: $init loads them"; else say "boot: nothing loads them"; fi
    status_files
    exit $code
}

status_files() {
    if [ ! -f "$force/written" ]; then return 0; fi
    while read -r sum size path; do
        if [ ! -f "$path" ]; then
            say "file: $path is gone"
            code=2
        elif [ "$(cksum < "$path")" != "$sum $size" ]; then
            say "file: $path was changed since"
            code=2
        else
            say "file: $path as applied"
        fi
    done < "$force/written"
}

open_up() {
    if [ -n "${1-}" ]; then is_number "$1" || { complain "usage: open [SECONDS]"; exit 64; }; fi
    force=$(in_force)
    if [ -z "$force" ]; then refuse "nothing is applied here"; fi
    backend=$(of "$force/backend")
    "${backend}_remove" || exit 1
    date -u +%Y-%m-%dT%H:%M:%SZ > "$state/opened"
    if [ -z "${1-}" ]; then
        say "open until close, apply or the next boot"
        return
    fi
    later shut "$1"
    say "open for $1 s"
}

close_up() {
    force=$(in_force)
    if [ -z "$force" ]; then refuse "nothing is applied here"; fi
    backend=$(of "$force/backend")
    "${backend}_load" "$force" || exit 1
    rm -f "$state/opened"
}

shut() {
    sleep "$1"
    if [ ! -f "$state/opened" ]; then exit 0; fi
    lock
    make_work
    close_up
}

undo() {
    settle
    if [ -d "$state/pending" ]; then take_back "undo" || exit 1; fi
    if [ -d "$state/current" ]; then
        backend=$(of "$state/current/backend")
        undo_failed=0
        boot_off
        undo_files || undo_failed=1
        boot_reload
        "${backend}_remove" || undo_failed=1
        units_back "$state/original"
        restart_all "$state/original/restarts"
        if [ $undo_failed != 0 ]; then refuse "could not be undone whole; undo tries again"; fi
        rm -rf "$state/current" "$state/original" "$state/tool" "$state/opened"
        sync
    fi
    say "undone: as before"
}

# Lines that somebody has added since stay; with none, the file is what it was, its time too.
undo_files() {
    if [ ! -f "$state/original/files" ]; then return 0; fi
    undo_left=0
    while read -r number there path; do
        was="$state/original/file.$number"
        if [ ! -e "$path" ]; then
            if [ "$there" = 1 ]; then put_back "$was" "$path" || undo_left=1; fi
            continue
        fi
        case "$path" in
        *fwpolicy-script* | */rc.local) : > "$work/stripped" ;;
        *) awk_of marked.awk -v mode=strip -v ended="$(ended "$path")" "$path" > "$work/stripped" || undo_left=1 ;;
        esac
        if [ "$there" = 0 ] && [ ! -s "$work/stripped" ]; then
            rm -f "$path" || undo_left=1
        elif [ "$there" = 1 ] && { [ ! -s "$work/stripped" ] || cmp -s "$work/stripped" "$was"; }; then
            put_back "$was" "$path" || undo_left=1
        else
            overwrite "$path" "$work/stripped" || undo_left=1
        fi
    done < "$state/original/files"
    folders_back "$state/original"
    return $undo_left
}

# Before the network: what counts, or, in the same boot, what waits.
boot() {
    # Nobody is waited for, and nothing is taken away under who is at work in this boot.
    if take_turn; then rm -rf "$state"/incoming.[0-9]*; fi
    trap leave EXIT
    make_work
    force="$state/current"
    if [ -d "$state/confirmed" ]; then count_it; fi
    if [ -d "$state/pending" ]; then
        began=$(of "$state/pending/boot") now=$(boot_now)
        if [ -d "$root/run" ] && ! cmp -s "$marker" "$state/pending/id"; then now=another; fi
        if [ "$began" = "$now" ]; then force="$state/pending/new"; else take_back "not confirmed before a reboot"; fi
    elif [ -d "$state/undoing" ]; then
        take_back "an interrupted rollback"
    fi
    rm -f "$state/opened"
    if [ ! -d "$force" ]; then exit 0; fi
    backend=$(of "$force/backend")
    if [ -n "$backend" ] && [ ! -f "$force/persist" ]; then exit 0; fi
    if [ -n "$backend" ] && "${backend}_load" "$force"; then exit 0; fi
    complain "the rules could not be loaded"
    boot_fallback
    exit 1
}

boot_fallback() {
    if [ "$backend" != iptables ] && [ -f "$force/fallback.nft" ]; then nft -f "$force/fallback.nft"; fi
    if [ "$backend" = nft ]; then return; fi
    for family in $(xt_families); do
        if [ -f "$force/fallback.v$family" ]; then xt_replace "$family" "$force/fallback.v$family"; fi
    done
}

iptables_load() { xt_load "$@"; }
iptables_remember() { xt_remember "$@"; }
iptables_back() { xt_back "$@"; }
iptables_listing() { xt_listing; }
iptables_remove() { xt_remove; }
iptables_tidy() { xt_tidy "$@"; }
iptables_ahead() { xt_ahead; }
iptables_check() { xt_check "$@"; }

main() {
    verb="${1-}"
    if [ $# -gt 0 ]; then shift; fi
    if [ "$(id -u)" != 0 ]; then refuse "$verb needs root"; fi
    mode=live
    work=
    find_init
    case "$verb" in
    boot)
        mode=boot
        boot
        ;;
    watch | shut)
        "$verb" "$@"
        exit
        ;;
    esac
    lock
    make_work
    case "$verb" in
    apply | plan | confirm | rollback | status | undo) "$verb" "$@" ;;
    open) open_up "$@" ;;
    close) close_up ;;
    *)
        complain "usage: tool.sh apply|plan|confirm|rollback|status|open|close|undo"
        exit 64
        ;;
    esac
    exit 0
}

main "$@"
