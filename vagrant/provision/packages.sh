#!/bin/sh
# packages.sh PACKAGE...: install what is missing; PACKAGE/SUITE comes from an older Debian, and stays there.
set -eu
export DEBIAN_FRONTEND=noninteractive

older() {
    printf 'deb http://deb.debian.org/debian %s main\n' "$2" > "/etc/apt/sources.list.d/$2.list"
    # With the libraries that only that Debian has.
    printf 'Package: %s libssl1.1 libopts25\nPin: release n=%s\nPin-Priority: 1001\n\n' "$1" "$2" \
        > "/etc/apt/preferences.d/$1"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 1\n' "$2" >> "/etc/apt/preferences.d/$1"
}

missing=
for wanted in "$@"; do
    package=${wanted%/*}
    if dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        continue
    fi
    if [ "$package" != "$wanted" ]; then older "$package" "${wanted#*/}"; fi
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0
apt-get update -q
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
