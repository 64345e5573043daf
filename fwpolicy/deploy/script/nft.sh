# nft: our table anew in one transaction, with the members that its groups were given meanwhile.

nft_there() {
    nft list table inet fwpolicy 2>/dev/null
}

nft_remember() {
    nft_there > "$1/before.nft" || : > "$1/before.nft"
}

nft_back() {
    printf 'table inet fwpolicy\ndelete table inet fwpolicy\n' > "$work/back.nft"
    cat "$1/before.nft" >> "$work/back.nft"
    nft -f "$work/back.nft"
}

# FOLDER: what groups that are filled at run time hold now, as commands. Elements may go on for many lines.
nft_members() {
    if [ ! -s "$1/dynamic" ]; then return 0; fi
    while read -r group; do
        nft list set inet fwpolicy "$group" 2>/dev/null | awk -v name="$group" '
            { all = all " " $0 }
            END {
                if (match(all, /elements = \{[^}]*\}/))
                    print "add element inet fwpolicy " name substr(all, RSTART + 10, RLENGTH - 10)
            }'
    done < "$1/dynamic"
}

nft_load() {
    nft_remember "$work"
    { cat "$1/rules.nft" && nft_members "$1"; } > "$work/load.nft"
    nft -f "$work/load.nft" && nft_there >/dev/null
}

nft_listing() {
    # What is filled at run time is not part of it, nor are counts.
    nft -s list table inet fwpolicy 2>/dev/null | awk '
        /elements = \{/ { inside = 1 }
        !inside && !/packets [0-9]+ bytes/ { print }
        inside && /\}/ { inside = 0 }'
}

nft_remove() {
    printf 'table inet fwpolicy\ndelete table inet fwpolicy\n' | nft -f -
}

nft_tidy() {
    :
}

nft_ahead() {
    :
}

nft_check() {
    have nft || refuse "there is no nft on this host"
    nft -c -f "$1/rules.nft" > "$work/said" 2>&1 && return 0
    # Its messages repeat the line, and what it points at.
    complain "nft would refuse the rules: $(sed -n 1p "$work/said")"
    exit 1
}
