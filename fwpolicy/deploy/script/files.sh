# Files as they were: in a folder with `files` (NUMBER, was it there, PATH) and a copy of each.

# FOLDER PATH: keep the file as it is, once.
keep() {
    if sed 's/^[0-9]* [01] //' "$1/files" 2>/dev/null | grep -qxF -e "$2"; then return 0; fi
    count=$(($(awk 'END { print NR }' "$1/files" 2>/dev/null) + 0))
    there=0
    if [ -e "$2" ]; then
        cp -p "$2" "$1/file.$count" || return 1
        there=1
    fi
    echo "$count $there $2" >> "$1/files"
    folder="${2%/*}"
    if [ ! -d "$folder" ]; then echo "$folder" >> "$1/folders"; fi
}

# FOLDER: folders that were not there go again, if nobody else has put anything into them.
folders_back() {
    if [ ! -f "$1/folders" ]; then return 0; fi
    while read -r folder; do quietly rmdir "$folder"; done < "$1/folders"
}

# PATH NEW: the content of NEW, with the owner, mode and label of what is there. No daemon reads a hidden file.
overwrite() {
    mkdir -p "${1%/*}"
    beside="${1%/*}/.${1##*/}.fwpolicy"
    if [ -e "$1" ]; then cp -p "$1" "$beside" || return 1; fi
    cat "$2" > "$beside" || return 1
    if [ ! -e "$1" ]; then chmod "${3-644}" "$beside"; fi
    if [ -z "$root" ] && have restorecon; then quietly restorecon "$beside"; fi
    mv -f "$beside" "$1"
}

# COPY PATH: the file as it was, its time too.
put_back() {
    mkdir -p "${2%/*}"
    beside="${2%/*}/.${2##*/}.fwpolicy"
    cp -p "$1" "$beside" && mv -f "$beside" "$2" || return 1
    if [ -z "$root" ] && have restorecon; then quietly restorecon "$2"; fi
}

# FOLDER: all of its files, as they were; what somebody wrote into one since (see FOLDER/ours.N) is kept aside.
put_all_back() {
    if [ ! -f "$1/files" ]; then return 0; fi
    files_failed=0
    while read -r number there path; do
        if [ -f "$1/ours.$number" ] && [ -f "$path" ] && ! cmp -s "$1/ours.$number" "$path" &&
            ! cmp -s "$1/file.$number" "$path"; then
            cp -p "$path" "$state/edited.${path##*/}" &&
                complain "$path was edited since: kept as $state/edited.${path##*/}"
        fi
        if [ "$there" = 1 ]; then
            cmp -s "$1/file.$number" "$path" || put_back "$1/file.$number" "$path" || files_failed=1
        else
            rm -f "$path" || files_failed=1
        fi
    done < "$1/files"
    folders_back "$1"
    return $files_failed
}

# May others than root change it, or a folder on the way?
exposed() {
    looked="$1"
    while [ -n "$looked" ] && [ "$looked" != "$root" ] && [ "$looked" != / ]; do
        # shellcheck disable=SC2012 # one name that is ours
        ls -ldnL "$looked" 2>/dev/null | awk '
            { others = (substr($1, 9, 1) == "w") || (substr($1, 6, 1) == "w" && $4 != 0) || $3 != 0 }
            END { exit !others }' && return 0
        looked="${looked%/*}"
    done
    return 1
}
