#!/bin/sh
# lxc-packages.sh: what `make vagrant-test` takes, from the distribution. Where LXC is new here, nothing of it
# is started, now or at the next boot: its lxc-net.service would make a bridge and load NAT rules.
set -eu
export DEBIAN_FRONTEND=noninteractive
helper=/usr/sbin/policy-rc.d

installed() {
    dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing=
for package in vagrant vagrant-lxc vagrant-libvirt lxc rsync openssh-client; do
    installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

apt-get update -q
new_lxc=no
installed lxc || new_lxc=yes
if [ ! -e "$helper" ]; then
    trap 'rm -f "$helper"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$helper"
    chmod 755 "$helper"
fi
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
if [ $new_lxc = yes ] && command -v systemctl >/dev/null; then
    systemctl disable lxc.service lxc-net.service lxc-monitord.service 2>/dev/null || true
fi
