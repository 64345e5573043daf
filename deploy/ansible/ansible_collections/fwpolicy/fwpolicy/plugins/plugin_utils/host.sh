# shellcheck shell=sh disable=SC2154,SC2034 # options are set by their names
# What the actions run on a host, as root: sh -c THIS fwpolicy-push VERB NAME=VALUE... A bundle comes in on standard
# input. POSIX sh; of the host it needs awk, sed, sort, tail, head, wc and tar, and ssh-keygen if it is to verify. It says
# what it found in lines `fwpolicy-push: NAME VALUE`; all else is what fwpolicy or the policy's script said.
umask 077
LC_ALL=C
# Whoever became root may have brought a PATH along.
PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH

script_state=/var/lib/fwpolicy-script
tool_state=/var/lib/fwpolicy
state=/var/lib/fwpolicy-push
# A link to the number of the process whose turn it is; gone with a reboot, of RHEL 6 too, as all that could hold it.
turn=/run/fwpolicy-push.turn
if [ ! -d /run ]; then turn=/var/run/fwpolicy-push.turn; fi
# Seconds that one push waits for another.
patience=120
work=

tell() {
    printf 'fwpolicy-push: %s %s\n' "$1" "$2"
}

refuse() {
    tell why "$*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

of() {
    if [ -f "$1" ]; then cat "$1"; fi
}

leave() {
    if [ -n "$work" ]; then
        rm -rf "$work"
        rmdir "$state" 2>/dev/null
    fi
    give "$turn"
}

# VERB: first what waited is settled. Who changes something through the script takes turns with others; who only looks,
# and fwpolicy, which has a lock of its own, wait for nobody and take nothing away under a push.
begin() {
    case "$way $1" in
    "script apply" | "script confirm" | "script rollback")
        if ! take_turn "$patience"; then
            holder=$(readlink "$turn")
            refuse "process ${holder#pid:} pushes here and does not end ($turn)"
        fi
        tidy
        ;;
    *) if take_turn 0; then
        tidy
        give "$turn"
    fi ;;
    esac
}

# SECONDS: so long at most it waits.
take_turn() {
    tries=0
    until take "$turn"; do
        if [ "$tries" -ge "$1" ]; then return 1; fi
        tries=$((tries + 1))
        sleep 1
    done
}

# LINK: ours now, unless somebody alive has it. A dead one's is taken away by whoever has LINK.after, which is taken in
# the same way, and looks again: or of two that see it one could take away the other's.
take() {
    if ln -s "pid:$$" "$1" 2>/dev/null; then return 0; fi
    is_gone "$(readlink "$1")" && take "$1.after" || return 1
    if is_gone "$(readlink "$1")"; then rm -f "$1"; fi
    give "$1.after"
    ln -s "pid:$$" "$1" 2>/dev/null
}

give() {
    if [ "$(readlink "$1")" = "pid:$$" ]; then rm -f "$1"; fi
}

# HOLDER: its number may be another process's by now, or that of who asks, and has nothing yet.
is_gone() {
    pid="${1#pid:}"
    if [ -z "$pid" ]; then return 1; fi
    if [ "$pid" = "$$" ] || ! kill -0 "$pid" 2>/dev/null; then return 0; fi
    [ -r "/proc/$pid/cmdline" ] && ! grep -q fwpolicy-push "/proc/$pid/cmdline"
}

# What connections that died have left goes, too.
make_work() {
    for left in "$state"/work.*; do
        if [ -d "$left" ] && ! kill -0 "${left##*.}" 2>/dev/null; then rm -rf "$left"; fi
    done
    work="$state/work.$$"
    rm -rf "$work"
    mkdir -p "$work" || refuse "cannot write to $state"
}

options() {
    host='' size='' seconds=0 way=auto backend=auto verify=host signers='' older=0 replace=0 force=0 diff=0 extra='' generation='' before=''
    while [ $# -gt 0 ]; do
        case "$1" in
        host=* | size=* | seconds=* | way=* | backend=* | verify=* | signers=* | older=* | replace=* | force=* | \
            diff=* | extra=* | generation=* | before=*)
            # Only a name of ours is left of the first =.
            eval "${1%%=*}=\${1#*=}"
            ;;
        *) refuse "unknown option ${1%%=*}" ;;
        esac
        shift
    done
    case "$way" in
    auto)
        way=script
        if have fwpolicy && [ ! -d "$script_state/current" ] && [ ! -d "$script_state/pending" ]; then way=fwpolicy; fi
        ;;
    fwpolicy) have fwpolicy || refuse "there is no fwpolicy on this host" ;;
    esac
    tell way "$way"
}

receive() {
    make_work
    cat > "$work/bundle" || refuse "the bundle could not be written to $work"
    if [ $(($(wc -c < "$work/bundle"))) != "$size" ]; then refuse "the bundle did not arrive whole"; fi
}

# VERB, plan or apply. It takes the bundle from standard input, and writes nothing of it before it is verified.
by_fwpolicy() {
    begin "$1"
    set -- "$1" --bundle - --json --host "$host"
    if [ -n "$signers" ]; then
        trusted "$signers"
        set -- "$@" --signers "$signers"
    fi
    if [ "$older" = 1 ]; then set -- "$@" --older; fi
    if [ "$replace" = 1 ]; then set -- "$@" --replace; fi
    if [ "$force" = 1 ]; then set -- "$@" --force; fi
    if [ "$backend" != auto ]; then set -- "$@" --backend "$backend"; fi
    if [ "$1" = apply ] && [ "$seconds" = 0 ]; then set -- "$@" --no-confirm; fi
    if [ "$1" = apply ] && [ "$seconds" != 0 ]; then set -- "$@" --confirm "${seconds}s"; fi
    tell before "$(running)"
    if [ "$diff" = 1 ]; then
        for text in ruleset.nft rules.v4 rules.v6; do
            if [ -f "$tool_state/running/$text" ]; then sed "s/^/fwpolicy-push: old /" "$tool_state/running/$text"; fi
        done
    fi
    fwpolicy "$@"
}

# The generation that was applied last, "" where there is none.
running() {
    readlink "$tool_state/running" 2>/dev/null | sed "s|.*/||"
}

# --- a bundle without fwpolicy ------------------------------------------------------------------

# Two files of it: the signature and the archive.
apart() {
    if [ "$(head -n 1 "$1")" != "fwpolicy-bundle 1" ]; then refuse "this is no bundle, or its beginning is missing"; fi
    sed -n "2,/^-----END/p" "$1" > "$work/sig"
    tail -c +$(($(head -n 1 "$1" | wc -c) + $(wc -c < "$work/sig") + 1)) "$1" > "$work/tar"
}

# The signature is looked at before anything that it is of.
verified() {
    if [ "$verify" = controller ] || { [ "$verify" = auto ] && ! verifies; }; then
        tell verified controller
        return
    fi
    verifies || refuse "ssh-keygen on this host cannot verify (before OpenSSH 8.2, or not there): verify: controller"
    allowed="${signers:-/etc/fwpolicy/allowed_signers}"
    trusted "$allowed"
    ssh-keygen -Y find-principals -f "$allowed" -s "$work/sig" > "$work/principals" 2>/dev/null ||
        refuse "the signature is of nobody in $allowed"
    while IFS= read -r principal; do
        if ssh-keygen -Y verify -f "$allowed" -I "$principal" -n fwpolicy-bundle -s "$work/sig" \
            < "$work/tar" > /dev/null 2> "$work/errors"; then
            tell verified host
            tell signer "$principal"
            return
        fi
    done < "$work/principals"
    refuse "the signature does not hold: $(tail -n 1 "$work/errors")"
}

# A file that says who may sign.
trusted() {
    case "$1" in
    /*) ;;
    *) refuse "$1: signers is a path from / on" ;;
    esac
    [ -f "$1" ] || refuse "$1 is not there; it has the keys that may sign"
    if exposed "$1"; then refuse "$1: others than root can change it"; fi
}

# Where it does not know the verb it complains of the option.
verifies() {
    have ssh-keygen && : > "$work/nothing" &&
        ! ssh-keygen -Y find-principals -f "$work/nothing" -s "$work/nothing" 2>&1 < /dev/null |
        grep -qi -e "unknown option" -e "illegal option" -e "unsupported" -e "invalid option"
}

# May others than root change it, or a folder on the way?
exposed() {
    looked="$1"
    while [ -n "$looked" ]; do
        # shellcheck disable=SC2012 # one name
        ls -ldnL "$looked" 2>/dev/null | awk "
            { others = (substr(\$1, 9, 1) == \"w\") || (substr(\$1, 6, 1) == \"w\" && \$4 != 0) || \$3 != 0 }
            END { exit !others }" && return 0
        looked="${looked%/*}"
    done
    return 1
}

# What has one plain value on a line of its own.
field() {
    sed -n "s/^ \"$1\": \"\{0,1\}\([A-Za-z0-9._-]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$work/manifest"
}

# As fwpolicy does: a name may have its domain or not.
one_host() {
    [ "$1" = "$2" ] || [ "$1" = "${2%%.*}" ] || [ "${1%%.*}" = "$2" ]
}

# For this host, and no older than the last.
wanted() {
    if [ -n "$(tar -tf "$work/tar" | sort | uniq -d)" ]; then refuse "the bundle has a name twice"; fi
    tar -xOf "$work/tar" manifest.json > "$work/manifest" || refuse "the bundle has no manifest"
    sed "s/^/fwpolicy-push: manifest /" "$work/manifest"
    if [ "$(field format)" != 1 ]; then refuse "the bundle is of another version of the program"; fi
    if [ "$(field host)" != "$host" ]; then refuse "the bundle is $(field host)'s, and this is $host"; fi
    before_it=$(of "$state/now/host")
    if [ "$replace" != 1 ] && [ -d "$script_state/current" ] && ! one_host "${before_it:-$host}" "$host"; then
        refuse "the policy in force here is host $before_it's, not $host's: replace: true puts this one in its place"
    fi
    number=$(field sequence) commit=$(field commit) contents=$(field contents)
    case "$number" in
    '' | *[!0-9]* | ???????????????????*) refuse "the bundle has no number, or none that a shell can compare" ;;
    esac
    if [ "$older" != 1 ] && [ -e "$tool_state/bundle.json" ] &&
        ! grep -q "\"sequence\": [0-9]\{1,18\}[^0-9]" "$tool_state/bundle.json"; then
        refuse "$tool_state/bundle.json is damaged: which bundle was here last is not known"
    fi
    seen=$(remembered sequence) seen_commit=$(remembered commit) seen_contents=$(remembered contents)
    if [ "$older" = 1 ] || [ -z "$seen" ]; then return 0; fi
    if [ "$number" -lt "$seen" ]; then
        refuse "the bundle is number $number, older than number $seen, which was here: older: true takes it all the same"
    fi
    if [ "$number" -gt "$seen" ]; then return 0; fi
    if [ -n "$contents" ] && [ -n "$seen_contents" ]; then
        if [ "$contents" = "$seen_contents" ]; then return 0; fi
    elif [ "$commit" = "$seen_commit" ]; then
        return 0
    fi
    what="policy, which was here"
    if [ "$commit" != "$seen_commit" ]; then what="commit ($seen_commit)"; fi
    refuse "the bundle is number $number, as was another $what: older: true takes it all the same"
}

# What is known of the newest that counted here.
remembered() {
    sed -n "s/.*\"$1\": \"\{0,1\}\([^\",}]*\).*/\1/p" "$tool_state/bundle.json" 2>/dev/null
}

# What loads rules here, and the bundle's script for it.
choose_script() {
    if [ "$backend" = auto ]; then backend=$(of "$script_state/current/backend"); fi
    if [ -z "$backend" ]; then if have nft; then backend=nft; else backend=iptables; fi; fi
    tell backend "$backend"
    if ! tar -tf "$work/tar" | grep -qx "artifacts/apply-$backend\.sh"; then
        refuse "the bundle has no script for $backend"
    fi
    tar -xOf "$work/tar" "artifacts/apply-$backend.sh" > "$work/script" || refuse "the bundle cannot be opened"
}

# VERB, plan or apply.
by_script() {
    receive
    begin "$1"
    apart "$work/bundle"
    verified
    wanted
    choose_script
    # shellcheck disable=SC2086 # options, each a word
    sh "$work/script" plan $extra < /dev/null > "$work/planned"
    code=$?
    cat "$work/planned"
    case $code in
    0) tell changed 0 ;;
    2) tell changed 1 ;;
    *) exit 1 ;;
    esac
    if [ "$1" = plan ]; then return 0; fi
    if [ $code = 0 ]; then
        remember "$number" "$commit" "$contents"
        return 0
    fi
    rm -rf "$state/waits"
    write_waits || refuse "cannot write to $state"
    if [ "$seconds" = 0 ]; then set -- --no-confirm; else set -- --confirm "$seconds"; fi
    # shellcheck disable=SC2086 # options, each a word
    if ! sh "$work/script" apply "$@" $extra < /dev/null; then
        rm -rf "$state/waits"
        exit 1
    fi
    if [ "$seconds" = 0 ]; then counts; fi
}

# What counts() and a way back need, all of it or nothing.
write_waits() {
    mkdir "$work/waits" &&
        cp "$work/script" "$work/waits/script" &&
        echo "$number" > "$work/waits/number" &&
        echo "$commit" > "$work/waits/commit" &&
        echo "$contents" > "$work/waits/contents" &&
        echo "$host" > "$work/waits/host" &&
        echo "$extra" > "$work/waits/extra" &&
        of "$tool_state/bundle.json" > "$work/waits/seen" &&
        mv "$work/waits" "$state/waits"
}

# What waits for us and for the script no more: it counts, by whose word ever, or was taken back.
tidy() {
    if [ ! -d "$state/waits" ] || [ -d "$script_state/pending" ]; then return 0; fi
    # Where nothing is applied, nothing is what waited.
    digest=$(of "$script_state/current/digest")
    if [ -n "$digest" ] && [ "$digest" = "$(digest_of "$state/waits/script")" ]; then
        counts
    else
        rm -rf "$state/waits"
        rmdir "$state" 2>/dev/null
    fi
    return 0
}

# What a script calls itself, in the way in which it carries its files.
digest_of() {
    sed -n "/^    put digest <</{n;p;}" "$1"
}

# What waited is in force; what was before it is kept for a way back.
counts() {
    if [ ! -d "$state/waits" ]; then return 0; fi
    remember "$(of "$state/waits/number")" "$(of "$state/waits/commit")" "$(of "$state/waits/contents")"
    rm -rf "$state/before"
    if [ -d "$state/now" ]; then mv "$state/now" "$state/before"; fi
    mv "$state/waits" "$state/now"
}

# NUMBER COMMIT CONTENTS: as fwpolicy itself remembers it.
remember() {
    seen=$(remembered sequence)
    if [ -n "$seen" ] && [ "$seen" -ge "$1" ]; then return 0; fi
    mkdir -p "$tool_state"
    # What a full disk left of it must not take the place of what is there.
    if ! { printf '{"sequence": %s, "commit": "%s", "contents": "%s"}\n' "$1" "$2" "$3" > "$tool_state/bundle.json.new" &&
        mv "$tool_state/bundle.json.new" "$tool_state/bundle.json"; }; then refuse "cannot write to $tool_state"; fi
}

# --- afterwards ---------------------------------------------------------------------------------

waits() {
    if [ "$way" = script ]; then [ -d "$script_state/pending" ]; else [ -d "$tool_state/journal" ]; fi
}

confirm() {
    if ! waits; then
        tell waits 0
        return 0
    fi
    tell waits 1
    if [ "$way" = fwpolicy ]; then
        fwpolicy confirm --json
    else
        sh "$script_state/tool/tool.sh" confirm && counts
    fi
}

# Back to what was before: of what waits, or of generation=N if that is what is applied.
rollback() {
    if waits; then
        tell changed 1
        if [ "$way" = fwpolicy ]; then fwpolicy rollback --json; else sh "$script_state/tool/tool.sh" rollback && tidy; fi
    elif [ "$way" = fwpolicy ]; then
        generation_back
    else
        number_back
    fi
}

generation_back() {
    if [ -z "$generation" ] || [ "$(running)" != "$generation" ]; then
        tell changed 0
    elif [ -n "$before" ]; then
        tell changed 1
        fwpolicy rollback "$before" --json --no-confirm
    else
        tell changed 1
        fwpolicy remove --json
    fi
}

number_back() {
    if [ -z "$generation" ] || [ "$(of "$state/now/number")" != "$generation" ] || [ ! -d "$script_state/current" ]; then
        tell changed 0
        return 0
    fi
    tell changed 1
    if [ -f "$state/before/script" ]; then
        # shellcheck disable=SC2046 # options, each a word
        sh "$state/before/script" apply --no-confirm $(of "$state/before/extra") < /dev/null || return 1
    else
        sh "$script_state/tool/tool.sh" undo || return 1
    fi
    forget_newest
    rm -rf "$state/now"
    if [ -d "$state/before" ]; then mv "$state/before" "$state/now"; fi
    rmdir "$state" 2>/dev/null
    return 0
}

# What was the newest before the one that is taken back.
forget_newest() {
    if [ -s "$state/now/seen" ]; then
        mv "$state/now/seen" "$tool_state/bundle.json"
    else
        rm -f "$tool_state/bundle.json"
        rmdir "$tool_state" 2>/dev/null
    fi
}

# Whoever is let in knows that he is, and whether something waits.
look() {
    if waits; then tell waits 1; else tell waits 0; fi
}

status() {
    look
    if [ -f "$tool_state/bundle.json" ]; then tell bundle "$(of "$tool_state/bundle.json")"; fi
    if [ "$way" = fwpolicy ]; then
        fwpolicy status --json
    elif [ -f "$script_state/tool/tool.sh" ]; then
        sh "$script_state/tool/tool.sh" status
    else
        tell applied 0
    fi
}

main() {
    verb="$1"
    shift
    [ "$(id -u)" = 0 ] || refuse "root is needed here: become: true"
    options "$@"
    trap leave EXIT
    trap "exit 1" HUP INT TERM PIPE
    case "$verb" in
    plan | apply) "by_$way" "$verb" ;;
    confirm | rollback | look | status)
        cat > /dev/null
        begin "$verb"
        "$verb"
        ;;
    esac
}

main "$@"
