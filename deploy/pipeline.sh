#!/bin/sh
# A pipeline for whatever runs shell: sh pipeline.sh review, sh pipeline.sh release.
#
# FWPOLICY   what pip installs, unless there is a fwpolicy already: a file (./fwpolicy-0.1.0-py3-none-any.whl), an
#            address with its hash (https://...whl#sha256=...), or a version that PIP_INDEX_URL has
# INVENTORY  the inventory, or its folder (.)
# BASE       the revision that review compares with (origin/main)
# RISK       what newly opens at least so much fails: 3, 2 or 1 (3; see docs/fleet.md)
# OUT        where everything goes (build)
# KEY        release: the private key that signs, or its public half where an agent has the key
# PUSH       release: a program that is given the folder of bundles
#
# Exits as fwpolicy does: 0 done, 1 error, 3 a check failed; review goes on to its end in any case, and
# OUT/comment.md has what changes.
set -eu

INVENTORY=${INVENTORY:-.}
BASE=${BASE:-origin/main}
RISK=${RISK:-3}
OUT=${OUT:-build}

say() {
    printf '== %s\n' "$*" >&2
}

# No default: a name that nobody has registered in an index is anybody's, and the release holds the key.
named() {
    case ${FWPOLICY:-} in
    ./* | /* | *://*'#sha256='*) ;;
    ?*) [ -n "${PIP_INDEX_URL:-}" ] ;;
    *) false ;;
    esac
}

install() {
    command -v fwpolicy >/dev/null && return
    named || {
        say "no fwpolicy here, and FWPOLICY names no file, no address with #sha256=, no version for PIP_INDEX_URL"
        exit 64
    }
    say "install $FWPOLICY"
    python3 -I -m venv "$OUT/venv"
    "$OUT/venv/bin/python" -I -m pip install --quiet --disable-pip-version-check "$FWPOLICY"
    PATH=$OUT/venv/bin:$PATH
}

# The worst of all exit codes is the pipeline's: 1, then 3.
worst=0
failed() {
    if [ "$1" -ne 3 ]; then
        worst=1
    elif [ "$worst" -eq 0 ]; then
        worst=3
    fi
}

step() {
    say "$@"
    "$@" || failed "$?"
}

compare() {
    say "what changes against $BASE"
    code=0
    fwpolicy diff --all "git:$BASE" "$INVENTORY" --risk "$RISK" >"$OUT/comment.md" || code=$?
    cat "$OUT/comment.md"
    # 2: traffic differs, which is what one reviews.
    [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || failed "$code"
}

review() {
    step fwpolicy check --all "$INVENTORY"
    step fwpolicy lint --all "$INVENTORY"
    step fwpolicy compile --all "$INVENTORY" -o "$OUT/hosts"
    compare
    step fwpolicy report --all "$INVENTORY" -o "$OUT/report.html"
}

release() {
    step fwpolicy check --all "$INVENTORY"
    [ "$worst" -eq 0 ] || return 0
    step fwpolicy bundle --all "$INVENTORY" -o "$OUT/bundles" --key "$KEY"
    [ "$worst" -eq 0 ] || return 0
    [ -z "${PUSH:-}" ] || step "$PUSH" "$OUT/bundles"
}

begin() {
    mkdir -p "$OUT"
    OUT=$(cd "$OUT" && pwd)
    install
}

case ${1:-} in
review)
    begin
    review
    ;;
release)
    [ -n "${KEY:-}" ] || { say "KEY is needed: the key that signs"; exit 64; }
    begin
    release
    ;;
*)
    say "usage: sh pipeline.sh review|release"
    exit 64
    ;;
esac
exit "$worst"
