#!/bin/sh
# network.sh NAME NUMBER: what this machine is called, and eth1, the lab's network, by Debian's own ifupdown.
set -eu
echo "$1" > /etc/hostname
hostname "$1"
grep -q " $1\$" /etc/hosts || echo "127.0.1.1 $1" >> /etc/hosts
cat > /etc/network/interfaces.d/eth1 <<END
auto eth1
iface eth1 inet static
  address 192.168.56.$2/24
iface eth1 inet6 static
  address fd00:56::$2/64
  accept_ra 0
END
ifdown --force eth1 2>/dev/null || true
ifup eth1
