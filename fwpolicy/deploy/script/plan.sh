# plan: what apply would do here, and nothing of it. 0 where nothing would change, 2 where something would.

plan() {
    apply_options "$@"
    : > "$here/changes"
    : > "$here/offs"
    : > "$here/restarts"
    backend=$(of "$here/backend")
    if [ -d "$state/pending" ]; then
        refuse "'$(of "$state/pending/new/name")' waits to be confirmed, $(left) s more; first: confirm, or rollback"
    fi
    apply_checks
    {
        plan_rules
        plan_persist
        while IFS="$tab" read -r path new access; do plan_text "$path" "$path" "$here/$new"; done < "$here/changes"
        while read -r unit active; do say "$unit would be stopped, and out of the boot"; done < "$here/offs"
        sort -u "$here/restarts" | while read -r unit; do say "$unit would be restarted"; done
    } > "$work/planned"
    cat "$work/planned"
    if [ -s "$work/planned" ]; then exit 2; fi
    say "nothing to change"
}

# What is in force, beside what would be.
plan_rules() {
    for part in rules.nft rules.ipset rules.v4 rules.v6 fallback.nft fallback.v4 fallback.v6 dynamic role conntrack; do
        plan_text "$part" "$state/current/$part" "$here/$part"
    done
    if [ ! -d "$state/current" ]; then return 0; fi
    if ! cmp -s "$here/name" "$state/current/name"; then say "'$(of "$state/current/name")' is applied now"; fi
    "${backend}_listing" > "$work/listing"
    if ! cmp -s "$work/listing" "$state/current/listing"; then say "the rules that are loaded are not those that were applied"; fi
}

# NAME OLD NEW: how the files differ.
plan_text() {
    old="$2" new_text="$3"
    if [ ! -f "$old" ]; then old=/dev/null; fi
    if [ ! -f "$new_text" ]; then new_text=/dev/null; fi
    if cmp -s "$old" "$new_text"; then return 0; fi
    if have diff; then
        diff -u "$old" "$new_text" | sed -e "1s|.*|--- $1 (now)|" -e "2s|.*|+++ $1 (planned)|"
    else
        say "$1 would change"
    fi
}

plan_persist() {
    if [ "$persist" = 1 ] && [ ! -f "$state/current/persist" ]; then say "the boot would load the rules"; fi
    if [ "$persist" = 0 ] && [ -f "$state/current/persist" ]; then say "the boot would load none of the rules"; fi
}
