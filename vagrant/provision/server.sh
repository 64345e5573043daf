#!/bin/sh
# server.sh: a time server that tells everybody its own clock, and never sets it (-x).
set -eu
echo 'DAEMON_OPTS="-F 1 -x"' > /etc/default/chrony
cat > /etc/chrony/chrony.conf <<'END'
local stratum 1
allow all
driftfile /var/lib/chrony/chrony.drift
END
systemctl enable --quiet chrony
systemctl restart chrony
