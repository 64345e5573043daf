#!/bin/sh
# Compiled by fwpolicy from @NAME@ for hosts without Python. Do not edit: change the policy and compile it again.
#   ssh HOST sh -s < THIS                      apply; taken back unless confirmed from a new connection:
#   ssh HOST sh -s confirm < THIS              also rollback, status, open [SECONDS], close, undo
#   ssh HOST sh -s -- apply --no-confirm < THIS    also --confirm SECONDS, --no-daemon, --no-persist,
#                                              --without-u32, --without-ipv6
#   ssh HOST sh -s plan < THIS                 what apply would change; takes its options
# POSIX sh, awk, sed and the tools of the firewall; nothing is done before the last line has arrived.

put() {
    cat > "$box/$1" || failed=1
}

unpack() {
@PIECES@
}

carried() {
    umask 077
    LC_ALL=C
    PATH="$PATH:/usr/sbin:/sbin:/usr/bin:/bin"
    export LC_ALL PATH
    state="${FWPOLICY_ROOT-}/var/lib/fwpolicy-script"
    verb=apply
    case "${1-}" in
    '' | -*) ;;
    *)
        verb="$1"
        shift
        ;;
    esac
    case "$verb" in
    apply | plan | confirm | rollback | status | open | close | undo) ;;
    *)
        echo "fwpolicy: unknown verb: apply, plan, confirm, rollback, status, open, close or undo" >&2
        return 64
        ;;
    esac
    if [ "$(id -u)" != 0 ]; then
        echo "fwpolicy: $verb needs root" >&2
        return 1
    fi
    case "$verb" in
    confirm | rollback | status | open | close | undo)
        if [ -f "$state/tool/tool.sh" ]; then
            sh "$state/tool/tool.sh" "$verb" "$@"
            return
        fi
        echo "fwpolicy: nothing was applied here" >&2
        if [ "$verb" = status ]; then return 2; fi
        return 1
        ;;
    esac
    failed=
    box="$state/incoming.$$"
    mkdir -p "${FWPOLICY_ROOT-}/var/lib" && mkdir -m 700 -p "$state" && mkdir -m 700 "$box" && unpack
    if [ $? != 0 ] || [ -n "$failed" ]; then
        echo "fwpolicy: cannot write to $state" >&2
        rm -rf "$box"
        return 1
    fi
    sh "$box/tool.sh" "$verb" "$@"
    code=$?
    rm -rf "$box"
    rmdir "$state" 2>/dev/null
    return $code
}

carried "$@" </dev/null; exit $?
