#!/bin/sh
# pbx.sh: the ntpd of an old appliance, monlist (mode 7) and all.
set -eu
cat > /etc/ntp.conf <<'END'
driftfile /var/lib/ntp/ntp.drift
server 192.168.56.10 iburst minpoll 3 maxpoll 3
server fd00:56::10 iburst minpoll 3 maxpoll 3
enable mode7 monitor
END
systemctl enable --quiet ntp
systemctl restart ntp
