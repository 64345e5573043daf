# One process at a time: whose turn it is has its name in a symbolic link, which says who died with it.
turn="$state/turn"
# Seconds that one waits for another.
patience=120

# PID: a name that no other process ever has; PID alone where /proc tells nothing, none of a zombie.
name_of() {
    stat=
    { read -r stat < "/proc/$1/stat"; } 2>/dev/null
    # Until the last ) it is the program's own name, with anything in it.
    set -- "$1" ${stat##*) }
    case "${2-}" in
    '') echo "$1" ;;
    Z | X) ;;
    *) echo "$1:${21}:$(boot_now)" ;;
    esac
}

# NAME: of nobody alive. Who asks has nothing yet: what has its number was another's.
is_gone() {
    if [ -z "$1" ]; then return 1; fi
    pid="${1%%:*}"
    if ! is_number "$pid" || [ "$pid" = "$$" ]; then return 0; fi
    # Not every process that is there may be signalled.
    if ! kill -0 "$pid" 2>/dev/null && [ ! -d "/proc/$pid" ]; then return 0; fi
    case "$(name_of "$pid")" in
    '') return 0 ;;
    "$1" | "$pid") return 1 ;;
    esac
    [ "$1" != "$pid" ]
}

# LINK: ours now, unless somebody alive has it. A dead one's is taken away by whoever has LINK.after, which is taken in
# the same way, and looks again: or of two that see it one could take away the other's.
take() {
    if ln -s "$me" "$1" 2>/dev/null; then return 0; fi
    is_gone "$(readlink "$1")" && take "$1.after" || return 1
    if is_gone "$(readlink "$1")"; then rm -f "$1"; fi
    give "$1.after"
    ln -s "$me" "$1" 2>/dev/null
}

give() {
    if [ "$(readlink "$1")" = "$me" ]; then rm -f "$1"; fi
}

# It waits for nobody; `holder`: whose turn it is if not ours.
take_turn() {
    me=$(name_of "$$")
    mkdir -m 700 "$state" 2>/dev/null
    if older_works; then return 1; fi
    if take "$turn"; then
        sweep
        return
    fi
    holder=$(readlink "$turn")
    return 1
}

# Older scripts made a folder, and then wrote a number into it.
older_works() {
    if [ ! -d "$state/lock" ]; then return 1; fi
    if [ ! -s "$state/lock/pid" ]; then sleep 1; fi
    holder=$(of "$state/lock/pid")
    if [ -z "$holder" ] || is_gone "$holder"; then return 1; fi
    [ ! -r "/proc/$holder/cmdline" ] || grep -q fwpolicy-script "/proc/$holder/cmdline"
}

# What the dead have left. Whoever calls has the turn.
sweep() {
    rm -rf "$state/lock" "$state"/work.[0-9]*
    for link in "$turn".*; do
        if [ -h "$link" ] && take "$link"; then give "$link"; fi
    done
    return 0
}

lock() {
    have readlink || refuse "there is no readlink on this host"
    tries=0
    until take_turn; do
        if [ "$tries" -ge "$patience" ]; then
            if [ -z "$holder" ]; then refuse "cannot write to $state"; fi
            refuse "process ${holder%%:*} is at work here and does not end ($turn)"
        fi
        tries=$((tries + 1))
        sleep 1
    done
    trap leave EXIT
    # Wanted: a connection that ends with the rules does not end an apply in the middle.
    trap '' HUP PIPE
    trap 'exit 1' INT TERM
}

# With nothing applied, nothing is left.
leave() {
    rm -rf "$work"
    give "$turn"
    rmdir "$state" 2>/dev/null
}
