#!/bin/sh
# synchronised.sh DAEMON: wait until ntpd has a peer that it goes by, and say which. ntpsec and ntp.org alike.
set -eu
for _ in $(seq 90); do
    # ntpq's tally code for the peer that the clock goes by is '*' (ntpq(8)).
    if peer=$(ntpq -pn 127.0.0.1 2>/dev/null | grep '^\*'); then
        echo "$1: $peer"
        exit 0
    fi
    sleep 1
done
ntpq -pn 127.0.0.1 || true
echo "$1 does not synchronise" >&2
exit 1
