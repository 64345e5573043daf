# iptables: our chains in the place of what is ours, both families or neither.

xt_program() {
    if [ "$1" = 4 ]; then echo iptables; else echo ip6tables; fi
}

# The families that the kernel has: IPv4 alone only where nothing of IPv6 is loaded.
xt_families() {
    if [ -e /proc/net/if_inet6 ]; then echo "4 6"; else echo 4; fi
}

xt_saved() {
    "$(xt_program "$1")-save"
}

# iptables-restore waits for the lock since 1.6.2, and took none before.
xt_wait() {
    iptables --version 2>/dev/null | awk '
        match($0, /v[0-9]+\.[0-9]+(\.[0-9]+)?/) {
            split(substr($0, RSTART + 1, RLENGTH - 1), v, ".")
            if (v[1] * 10000 + v[2] * 100 + v[3] >= 10602) print "-w 20"
        }'
}

# FAMILY FILE
xt_restore() {
    # shellcheck disable=SC2046 # two words, or none
    "$(xt_program "$1")-restore" --noflush $(xt_wait) < "$2"
}

xt_sets() {
    if ! have ipset; then return 0; fi
    { ipset list -n 2>/dev/null || ipset save 2>/dev/null | awk '$1 == "create" || $1 == "-N" { print $2 }'; } |
        awk '/^fwp-/'
}

# FOLDER: what is there goes into before.v4 and before.v6, ready to be put back, and before.sets.
xt_remember() {
    for family in $(xt_families); do
        xt_saved "$family" > "$1/saved.v$family" || return 1
        awk_of reload.awk -v mode=ours -v saved="$1/saved.v$family" > "$1/before.v$family" || return 1
    done
    xt_sets > "$1/before.sets"
}

# FAMILY TEXT: the text in the place of what is ours now; "" takes all of it away.
xt_replace() {
    xt_saved "$1" > "$work/now.v$1" || return 1
    awk_of reload.awk -v mode=restore -v text="$2" -v saved="$work/now.v$1" > "$work/restore.v$1" || return 1
    if [ -s "$work/restore.v$1" ]; then xt_restore "$1" "$work/restore.v$1"; fi
}

# FOLDER: rules and sets as xt_remember found them there. Tried for each family, whatever becomes of the other.
xt_back() {
    xt_failed=0
    for family in $(xt_families); do
        back="$1/before.v$family"
        if [ ! -s "$back" ]; then back=; fi
        xt_replace "$family" "$back" || xt_failed=1
    done
    xt_drop_sets "$1/before.sets"
    return $xt_failed
}

# FILE: sets of ours that it does not name go. nftables lets go of a rule's set a while after the rule.
xt_drop_sets() {
    for set_name in $(xt_sets); do
        if grep -qxF -e "$set_name" "$1"; then continue; fi
        for attempt in 1 2 3; do
            if quietly ipset destroy "$set_name"; then continue 2; fi
            sleep 1
        done
        complain "ipset $set_name is still in use, and stays (try $attempt)"
    done
}

# FOLDER: the texts there in force; what was there is in $work. Nothing has changed where it fails.
xt_load() {
    xt_remember "$work" || return 1
    xt_done=0
    if [ -s "$1/rules.ipset" ]; then ipset restore < "$1/rules.ipset" || xt_done=1; fi
    for family in $(xt_families); do
        if [ "$xt_done" != 0 ]; then break; fi
        xt_whole "$1/rules.v$family" && xt_replace "$family" "$1/rules.v$family" && xt_as_given "$family" "$1/rules.v$family" || xt_done=1
    done
    if [ "$xt_done" = 0 ]; then return 0; fi
    xt_back "$work" || complain "and what was there before could not be put back whole"
    return 1
}

# FILE: one that was cut would be closed by awk, and rules at its end be missing.
xt_whole() {
    case "$(tail -n 1 "$1")" in
    COMMIT | '# No rule of ours for this family.') return 0 ;;
    esac
    complain "$1 is cut short"
    return 1
}

# FAMILY TEXT: are as many rules there, in each chain of ours, as were given?
xt_as_given() {
    xt_saved "$1" > "$work/now.v$1" || return 1
    awk_of reload.awk -v mode=count -v saved="$2" > "$work/given" || return 1
    awk_of reload.awk -v mode=count -v saved="$work/now.v$1" > "$work/found" || return 1
    if cmp -s "$work/given" "$work/found"; then return 0; fi
    complain "$(xt_program "$1")-save lists other rules than were given"
    return 1
}

# What is in force of ours, to be told from later.
xt_listing() {
    for family in $(xt_families); do
        xt_saved "$family" > "$work/now.v$family" || return 1
        awk_of reload.awk -v mode=ours -v saved="$work/now.v$family" || return 1
    done
}

xt_remove() {
    xt_failed=0
    for family in $(xt_families); do xt_replace "$family" "" || xt_failed=1; done
    : > "$work/no.sets"
    xt_drop_sets "$work/no.sets"
    return $xt_failed
}

# Sets that only what is gone needed.
xt_tidy() {
    if [ -f "$1/rules.ipset" ]; then
        awk '$1 == "create" && $2 !~ /-n$/ { print $2 }' "$1/rules.ipset" > "$work/needed"
    else
        : > "$work/needed"
    fi
    xt_drop_sets "$work/needed"
}

xt_ahead() {
    for family in $(xt_families); do
        xt_saved "$family" > "$work/now.v$family" || return 0
        awk_of reload.awk -v mode=ahead -v saved="$work/now.v$family"
    done
}

# FOLDER: can this host do it? Refuses with what it lacks; changes nothing.
xt_check() {
    for program in iptables-save iptables-restore; do
        have $program || refuse "there is no $program on this host"
    done
    if [ "$(xt_families)" = "4 6" ]; then
        for program in ip6tables-save ip6tables-restore; do
            have $program || refuse "there is no $program, and this host has IPv6: both families or neither"
        done
    elif [ "$without_ipv6" != 1 ]; then
        refuse "this host's kernel has no IPv6: rules for IPv4 alone only with --without-ipv6"
    fi
    if [ -s "$1/rules.ipset" ]; then have ipset || refuse "the policy needs sets, and there is no ipset here"; fi
    for family in $(xt_families); do
        quietly xt_saved "$family" || refuse "$(xt_program "$family")-save fails: $(xt_saved "$family" 2>&1 >/dev/null)"
        xt_try "$family" "$1"
    done
}

# Sets belong to a namespace since Linux 3.13: before, a trial would make them here.
xt_can_try() {
    quietly unshare -n true || return 1
    if [ ! -s "$1/rules.ipset" ]; then return 0; fi
    case "$(uname -r)" in
    [0-3].*) return 1 ;;
    esac
}

# FAMILY FOLDER: the kernel's own answer in a namespace that nobody uses; where there is none, the tool's.
xt_try() {
    if xt_can_try "$2"; then
        # shellcheck disable=SC2016 # the inner shell's
        unshare -n sh -c 'if [ -s "$2/rules.ipset" ]; then ipset restore < "$2/rules.ipset" || exit 1; fi
            exec "$1-restore" --noflush < "$2/rules.v$3"' sh "$(xt_program "$1")" "$2" "$1" 2> "$work/said" &&
            return 0
    else
        "$(xt_program "$1")-restore" --test --noflush < "$2/rules.v$1" 2> "$work/said" && return 0
    fi
    complain "$(xt_program "$1")-restore would refuse the rules: $(tr '\n' ' ' < "$work/said")"
    xt_lacking "$1" "$2"
    exit 1
}

xt_lacking() {
    if grep -q -e '-m u32' "$2/rules.v$1" && ! xt_knows "$1" '-p udp -m u32 --u32 0>>22=0'; then
        complain "this host has no u32 match, which tells the NTP mode. --without-u32 tells replies by their"
        complain "  connection's state alone: what is forged with the address of a server that was asked passes"
    fi
    if grep -q -e '-m addrtype' "$2/rules.v$1" && ! xt_knows "$1" '-m addrtype --dst-type LOCAL'; then
        complain "this host has no addrtype match for this family: compile with --beside-nat, which needs none"
    fi
    if grep -q "load match .set'" "$work/said"; then
        complain "this host's $(xt_program "$1") knows no sets: say family: ipv4 in lines with large or dynamic groups"
    fi
    if [ "$1" = 6 ] && grep -q -e "load target .[A-Z]*NAT'" -e "load target .MASQUERADE'" -e "table .nat'" "$work/said"; then
        complain "this host translates no IPv6 addresses: say family: ipv4 in the lines of nat"
    fi
}

# FAMILY MATCH
xt_knows() {
    printf '*filter\n-A INPUT %s -j ACCEPT\nCOMMIT\n' "$2" > "$work/try"
    if quietly unshare -n true; then
        unshare -n "$(xt_program "$1")-restore" --noflush < "$work/try" >/dev/null 2>&1
    else
        "$(xt_program "$1")-restore" --test --noflush < "$work/try" >/dev/null 2>&1
    fi
}
