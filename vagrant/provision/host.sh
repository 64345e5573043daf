#!/bin/sh
# host.sh: ntpsec as it should not be, open to everybody, mode 6 included.
set -eu
cat > /etc/ntpsec/ntp.conf <<'END'
driftfile /var/lib/ntpsec/ntp.drift
server 192.168.56.10 iburst minpoll 1 maxpoll 3
server fd00:56::10 iburst minpoll 1 maxpoll 3
unrestrict default noquery
enable monitor
END
systemctl enable --quiet ntpsec
systemctl restart ntpsec
